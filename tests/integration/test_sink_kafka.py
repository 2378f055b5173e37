"""Sinks on a real broker and a real store: killed, frozen, refused, slowed down; every point counts once in every tier."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.topics import DEAD, RAW_TOPICS, SCRUBBED, STATE
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.ddl import literal
from tests.support.sink_region import POINTS, Region, settled, until
from tests.support.store_gate import StoreGate

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults]


def landing(fate: str) -> Callable[[str], str]:
    """This fate for inserts of points, and none for anything else."""
    return lambda request: fate if "rollups_landing" in request else "pass"


@pytest.mark.parametrize("where", ["insert", "commit"])
def test_a_sink_killed_around_its_insert_stores_the_very_same_range_again_once(region: Region, where: str) -> None:
    region.send(3)
    killed = region.start(module="tests.support.killed_sink", KILL_AT=where)
    region.says("stored from offset 0")
    until(lambda: region.points() == 3 * POINTS, 20, region.log)
    region.send(4)
    assert killed.wait(20) == -signal.SIGKILL
    offset, metadata = region.committed()
    assert metadata.startswith(f"pending {offset}-"), "the intent was written"
    assert region.points() == (3 if where == "insert" else 7) * POINTS
    region.send(2)
    region.start("next")
    words = metadata.split()
    region.says(f"offsets {words[1]} are stored again", "next")
    region.all_stored()
    assert region.end("next") == 0
    assert region.committed() == (9, f"stored topic {words[-1]}")


VISIT = Contract(
    "visit", 1,
    {"place": Field("dimension"), "number": Field("measure", "number"), "customer": Field("unique")},
    time="at", store_events=True,
)  # fmt: skip
VISITS = 300


def test_single_events_of_a_worker_are_in_once_though_the_sink_is_killed_between_insert_and_commit(
    region: Region,
) -> None:
    region.make_topics((*RAW_TOPICS, STATE))
    (region.directory / "visit.json").write_bytes(VISIT.dump())
    contracts = {"STREAMGAUGE_CONTRACTS": str(region.directory / "visit.json")}
    region.start("worker", command="process", **contracts)
    killed = region.start(module="tests.support.killed_sink", KILL_AT="commit", KILL_OF=SCRUBBED.kind, **contracts)
    at = datetime.now(UTC).isoformat()
    rows = [f"{at},{('DE', 'FR')[n % 2]},{n},customer {n}" for n in range(VISITS)]
    (region.directory / "visits.csv").write_text("\n".join(["at,place,number,customer", *rows]))
    environ = region.deployment.environ | {"STREAMGAUGE_REGION": region.name}
    words = region.deployment.command("replay", "visits.csv", "--contract", "visit.json")
    subprocess.run(words, env=environ, cwd=region.directory, check=True, capture_output=True)
    assert killed.wait(40) == -signal.SIGKILL
    topic = SCRUBBED.name(region.name)
    offset, metadata = region.committed(topic)
    assert metadata.startswith(f"pending {offset}-"), "it is in, and nobody has said so"
    assert region.rows("SELECT count() > 0 FROM events") == [(1,)]  # its view may not have been made yet
    region.start("next", **contracts)
    region.says(f"{topic}/0: offsets {metadata.split()[1]} are stored again", "next")
    until(lambda: region.rows("SELECT count() FROM events") == [(VISITS,)], 30, lambda: region.log("next"))
    viewed = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'visit_events'"
    until(lambda: region.rows(viewed) == [(1,)], 30)
    assert region.rows(
        "SELECT uniqExact(number), sum(number), uniqExact(customer), countIf(place = 'DE'),"
        " countIf(position(customer, '_k1_') = 3) FROM visit_events"
    ) == [(VISITS, VISITS * (VISITS - 1) / 2, VISITS, VISITS // 2, VISITS)]
    sent = "SELECT sum(events) FROM ledger FINAL WHERE region = {name:String}"
    until(lambda: region.rows(sent) == [(VISITS,)], 20)
    verified = subprocess.run(
        region.deployment.command("verify", "--json"), env=environ, check=False, capture_output=True
    )
    account = json.loads(verified.stdout)
    assert account["events"] == {"ledger": VISITS, "stored": VISITS, "repeated": 0}
    # other regions of this store have points that no worker accounts for, so the verdict as a whole is theirs
    chain = [one for one in account["blocks"] if one["topic"] == topic]
    assert chain
    assert not any(one["missing"] or one["repeated"] for one in chain)
    assert region.end("worker") == 0
    assert region.end("next") == 0


def test_a_thawed_zombie_doubles_nothing_and_learns_that_it_is_fenced(region: Region, gate: StoreGate) -> None:
    gate.when = landing("hold")
    region.send(5)
    zombie = region.start(STREAMGAUGE_STORE=gate.url)
    assert gate.held.acquire(timeout=30), "its intent is written, its insert is on its way"
    zombie.send_signal(signal.SIGSTOP)
    region.send(5)
    region.start("second")
    region.says("are stored again", "second", within=30)
    region.all_stored()
    gate.when = landing("pass")
    gate.open.set()
    zombie.send_signal(signal.SIGCONT)
    until(lambda: "fenced" in region.log(), 20, region.log)
    region.send(5)
    region.all_stored()
    assert region.end() == 0
    assert region.end("second") == 0
    region.all_stored()


def test_a_store_slower_than_the_session_costs_no_membership(region: Region, gate: StoreGate) -> None:
    gate.when = landing("hold")
    region.send(3)
    region.start(STREAMGAUGE_STORE=gate.url)
    assert gate.held.acquire(timeout=30)
    region.send(3)
    time.sleep(7)  # longer than the session: it is the silence that is tested
    gate.when = landing("pass")
    gate.open.set()
    region.all_stored()
    assert region.log().count(f"{region.topic}/0: stored from offset") == 1, "assigned once"
    assert "lost" not in region.log()
    assert region.end() == 0


def test_answers_that_get_lost_are_asked_for_again_and_count_once(region: Region, gate: StoreGate) -> None:
    fates = iter(["lose", "lose", "pass", "lose"])
    gate.when = lambda request: next(fates, "pass") if "rollups_landing" in request else "pass"
    region.send(3)
    region.start(STREAMGAUGE_STORE=gate.url)
    region.all_stored()
    region.send(3)
    region.all_stored()
    assert "is unknown, trying again" in region.log()
    assert region.end() == 0


def test_memory_is_bounded_while_the_store_is_away_and_reading_goes_on_afterwards_even_after_a_rebalance(
    region: Region, gate: StoreGate
) -> None:
    region.send()
    first = region.start(STREAMGAUGE_STORE=gate.url, STREAMGAUGE_BLOCK_BYTES="256KiB")
    region.all_stored()
    before = resident(first.pid)
    gate.when = landing("away")
    region.send(10_000)
    region.says("trying again")
    time.sleep(3)  # as long as it takes to read everything, if nothing stopped it
    grown = resident(first.pid) - before
    assert grown < 24 << 20, f"{grown >> 20} MiB more, where the messages would take 45"
    region.start("second", STREAMGAUGE_STORE=gate.url, STREAMGAUGE_BLOCK_BYTES="256KiB")
    until(lambda: "stored from" in region.log("second") or "no partition is left" in region.log("second"), 20)
    assert region.end("second") == 0
    gate.when = lambda _: "pass"
    region.all_stored(within=60)
    assert region.end() == 0


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_without_a_store_it_ends_at_once_and_says_what_to_do(region: Region) -> None:
    start = time.monotonic()
    region.start(STREAMGAUGE_STORE="http://127.0.0.1:1")
    assert region.exits() == 1
    assert time.monotonic() - start < 15
    assert "no ClickHouse answers at http://127.0.0.1:1" in region.log()
    assert "Traceback" not in region.log()


def test_with_a_wrong_password_it_ends_at_once_and_says_so(region: Region, gate: StoreGate) -> None:
    gate.when = lambda _: "refuse"
    region.start(STREAMGAUGE_STORE=gate.url, STREAMGAUGE_STORE_PASSWORD="hunter2")
    assert region.exits() == 1
    assert "STREAMGAUGE_STORE_PASSWORD" in region.log()
    assert "hunter2" not in region.log()


def test_a_password_that_is_changed_under_way_counts_nothing_as_handled_and_heals_without_a_restart(
    region: Region, gate: StoreGate
) -> None:
    region.send()
    region.start(module="tests.support.killed_sink", STREAMGAUGE_STORE=gate.url)
    region.all_stored()
    gate.when = lambda _: "refuse"
    region.send(3)
    region.says("code 516")
    assert "STREAMGAUGE_STORE_PASSWORD" in region.log()
    assert region.committed()[1].startswith("pending 1-"), "begun, and not handled"
    gate.when = lambda _: "pass"
    region.all_stored()
    assert region.end() == 0


def test_a_database_that_is_made_later_and_a_table_that_is_gone_for_a_while_heal_without_a_restart(
    region: Region,
) -> None:
    region.send(2)
    database = f"{region.name}-db"
    region.start(module="tests.support.killed_sink", STREAMGAUGE_DATABASE=database)
    region.says("streamgauge migrate")
    assert region.committed()[0] < 0, "it has not even joined the group"
    environ = region.deployment.environ | {"STREAMGAUGE_DATABASE": database}
    migrate = subprocess.run(region.deployment.command("migrate"), env=environ, capture_output=True, check=False)
    assert migrate.returncode == 0, migrate.stderr
    region.all_stored(database=database)
    region.rows("RENAME TABLE rollups_landing TO elsewhere", database)
    region.send(2)
    region.says("insert into rollups_landing is refused")
    region.rows("RENAME TABLE elsewhere TO rollups_landing", database)
    region.all_stored(database=database)
    assert region.end() == 0


def test_lost_offsets_are_never_taken_for_a_beginning(region: Region) -> None:
    region.send(3)
    region.start()
    region.all_stored()
    assert region.end() == 0
    settled(region.admin.delete_consumer_groups([f"sg-{region.name}-sink"]))
    region.start()
    assert region.exits() == 1
    assert "has its blocks up to offset 3" in region.log()
    assert "--reset-offsets" in region.log()
    region.set_offset(3)
    region.send()
    region.start()
    region.all_stored()
    assert region.end() == 0


def test_a_topic_made_anew_is_noticed_and_stored_from_its_beginning_once_offsets_are_set(region: Region) -> None:
    region.send(5)
    running = region.start()
    region.all_stored()
    settled(region.admin.delete_topics([region.topic]))
    until(lambda: region.topic not in region.admin.list_topics(timeout=10).topics, 20)
    settled(region.admin.create_topics([NewTopic(region.topic, 1, 1)]))
    region.send(8)  # the old position, 5, is somewhere in the middle of these
    assert running.wait(30) == 1
    assert "was made anew" in region.log()
    assert region.points() == 5 * POINTS
    region.start("again")
    assert region.exits("again") == 1, "the group's offsets went with the topic"
    region.set_offset(0)
    region.start("last")
    until(lambda: region.points() >= region.sent, 30, lambda: region.log("last"))
    assert {tier: region.points(tier) for tier in TIER_NAMES} == dict.fromkeys(TIER_NAMES, region.sent)
    assert region.end("last") == 0


def test_a_contract_that_is_published_shortens_what_the_tables_keep_of_its_event(region: Region) -> None:
    region.start()
    region.says("stored from offset")
    rule = f"window + toIntervalSecond(86400) WHERE metric IN ({literal(region.name)})"

    def tables() -> list[str]:
        found = region.rows("SELECT name, engine_full FROM system.tables WHERE position(engine_full, 'TTL') > 0")
        return sorted(str(name) for name, engine in found if rule in str(engine))

    declared = Contract(region.name, 1, {}, retention_tiers={"10s": "1d"})
    publish(Producer(region.config), region.name, [declared])
    until(lambda: tables() == ["rollups_10s"], 20, region.log)
    region.send(5)
    until(lambda: region.points() == region.sent, 20, region.log)
    publish(Producer(region.config), region.name, [replace(declared, version=2, retention_tiers={})])
    until(lambda: tables() == [], 20, region.log)


def test_garbage_becomes_a_dead_row_that_is_kept_and_stops_nothing(region: Region) -> None:
    region.send()
    region.send(value=b"garbage")
    region.send(value=b"")
    region.send()
    region.send(topic=DEAD.name(region.name), value=b"\xff")
    region.start()
    region.all_stored()
    sql = "SELECT topic, offset, reason, at > now() - 600 FROM dead FINAL WHERE region = {name:String} ORDER BY topic, offset"
    expected = [
        (DEAD.name(region.name), 0, "bad_json", 1),
        (region.topic, 1, "bad_json", 1),
        (region.topic, 2, "empty", 1),
    ]
    until(lambda: region.rows(sql) == expected, 20, lambda: str(region.rows(sql)))
    assert region.end() == 0


def test_at_its_end_a_sink_stores_what_it_has(region: Region) -> None:
    region.start(STREAMGAUGE_BLOCK_INTERVAL="10m")
    region.says("stored from offset 0")
    region.send(3)
    reader = Consumer({**region.config, "group.id": region.name, "isolation.level": "read_committed"})
    until(lambda: reader.get_watermark_offsets(TopicPartition(region.topic, 0), timeout=10)[1] == 3, 10)
    reader.close()
    time.sleep(1)  # nobody says when a message was delivered
    assert region.points() == 0
    assert region.end() == 0
    region.all_stored()


def test_a_store_that_hangs_does_not_hold_up_the_end_and_the_next_start_stores_the_rest(
    region: Region, gate: StoreGate
) -> None:
    gate.when = landing("hold")
    region.send(3)
    region.start(STREAMGAUGE_STORE=gate.url)
    assert gate.held.acquire(timeout=30)
    assert region.end(within=8) == 0
    assert "the next start" in region.log()
    gate.when = landing("pass")
    gate.open.set()
    region.start("next", STREAMGAUGE_STORE=gate.url)
    region.says("are stored again", "next")
    region.all_stored()
    assert region.end("next") == 0


def test_a_sink_too_many_waits_for_its_turn_and_takes_over(region: Region) -> None:
    region.send(2)
    region.start("first")
    region.all_stored()
    region.start("second")
    region.start("third")
    until(
        lambda: all(
            "no partition is left" in region.log(n) or "stored from" in region.log(n) for n in ("second", "third")
        ),
        30,
    )
    region.send(2)
    region.all_stored()
    for name in ("first", "second"):
        assert region.end(name) == 0
    region.send(2)
    region.all_stored()
    assert region.end("third") == 0


def test_a_sink_that_gets_partitions_while_the_store_is_away_waits_for_it(region: Region, gate: StoreGate) -> None:
    gate.when = lambda request: "away" if "block_to" in request else "pass"
    region.send(3)
    sink = region.start(STREAMGAUGE_STORE=gate.url)
    region.says("cannot be taken over, trying again")
    assert sink.poll() is None
    gate.when = landing("pass")
    region.all_stored()
    assert region.end() == 0
