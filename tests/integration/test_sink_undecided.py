"""Intents that a sink finds on a real broker beside a real store: what it decides itself, where it stops, what a person says."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streamgauge.schemas.topics import ROLLUPS
from streamgauge.sinks.decisions import Why
from streamgauge.sinks.partition import content_of, decode_stored
from streamgauge.sinks.ranges import Place
from tests.support.sink_region import POINTS, Region, points, settled, until

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults]

STRANGE = "0123456789abcdef"
"""A fingerprint of other messages."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def life(region: Region) -> str:
    """The topic's id."""
    return str(positions(region)[f"{region.topic}/0"]["life"])


def asked(region: Region, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`streamgauge sink-offset`."""
    environ = region.deployment.environ | {"STREAMGAUGE_REGION": region.name} | environ
    command = region.deployment.command("sink-offset", *words)
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def positions(region: Region, **environ: str) -> dict[str, dict[str, Any]]:
    """What the command shows, by place."""
    shown = asked(region, "--json", **environ)
    if "does not exist" in shown.stderr:  # the broker does not know yet what it has made
        until(lambda: asked(region, "--json", **environ).stdout, 20)
        shown = asked(region, "--json", **environ)
    assert shown.stdout, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    assert shown.returncode == (1 if any(one["why"] for one in found) else 0), shown.stderr
    return {one["place"]: one for one in found}


def resolve(region: Region, answer: str, *words: str) -> subprocess.CompletedProcess[str]:
    return asked(region, "--resolve", f"{region.topic}/0", answer, *words)


def stored(region: Region, messages: int) -> None:
    """A sink stores so many messages as one block each, and ends."""
    region.start("before")
    for _ in range(messages):
        region.send()
        region.all_stored()
    assert region.end("before") == 0


def test_an_offset_that_was_set_back_is_not_counted_twice_and_a_person_sets_it_right(region: Region) -> None:
    stored(region, 3)
    region.set_offset(1)
    region.send()
    region.start()
    assert region.exits() == 1
    assert "has blocks up to offset 3, but the group's offset is 1" in region.log()
    found = positions(region)[f"{region.topic}/0"]
    assert (found["why"], found["committed"], found["store_until"]) == (Why.TWICE.value, "by_hand", 3)
    assert resolve(region, "insert-again", "--yes").returncode == 2
    assert resolve(region, "stored").returncode == 130, "nobody said yes"
    assert region.committed() == (1, "")
    done = resolve(region, "stored", "--yes")
    assert done.returncode == 0, done.stderr
    assert region.committed()[0] == 3
    region.start()
    region.all_stored()
    assert region.end() == 0


def test_nothing_is_resolved_while_a_sink_is_a_member_of_the_group(region: Region) -> None:
    region.send()
    region.start()
    region.all_stored()
    before = region.committed()
    region.send()
    region.all_stored()
    until(lambda: region.committed()[0] == 2, 20)
    refused = resolve(region, "stored", "--yes")
    assert refused.returncode == 2, "nothing is pending"
    assert before[1] == region.committed()[1]
    assert region.end() == 0
    region.set_offset(2, f"pending 2-4 format 2 content {STRANGE} at {now_ms()} topic {life(region)}")
    region.start(module="tests.support.killed_sink")  # it waits for a message at offset 3
    region.says("offsets 2-4 are stored again")
    refused = resolve(region, "stored", "--yes")
    assert refused.returncode == 1
    assert "stop all sinks" in refused.stderr
    assert region.committed()[1].startswith("pending 2-4 ")
    assert region.end() == 0
    assert resolve(region, "insert-again", "--yes").returncode == 0
    assert "content any" in region.committed()[1]
    region.send(2)
    region.start()
    region.all_stored()
    assert region.end() == 0


@pytest.mark.parametrize("begun", ["not at all", "in the store"])
def test_an_intent_of_format_1_is_ended_with_its_own_token(region: Region, begun: str) -> None:
    region.send(3)
    metadata = f"pending 0-3 format 1 topic {life(region)}"
    for name in ["first"] if begun == "not at all" else ["first", "second"]:
        region.set_offset(0, metadata)
        region.start(name)
        region.says("offsets 0-3 are stored again", name)
        region.all_stored()
        until(lambda: region.committed()[0] == 3, 20)
        assert region.end(name) == 0
    assert region.rows("SELECT incarnation, block_from, block_to FROM blocks WHERE region = {name:String}") == [
        ("", 0, 3)
    ]
    region.send(2)
    region.start()
    region.all_stored()
    assert region.end() == 0


def test_other_messages_under_a_pending_range_are_stored_if_the_store_has_nothing_of_it_and_only_committed_if_it_has(
    region: Region,
) -> None:
    region.send(3)
    metadata = f"pending 0-3 format 2 content {STRANGE} at {now_ms()} topic {life(region)}"
    for name in ("first", "second"):
        region.set_offset(0, metadata)
        region.start(name)
        region.says("hold other messages than when the block was begun", name)
        region.all_stored()
        until(lambda: region.committed()[0] == 3, 20)
        assert region.end(name) == 0
    region.send(2)
    region.start()
    region.all_stored()
    assert region.end() == 0


def test_the_fingerprint_is_of_what_the_broker_holds(region: Region) -> None:
    region.start(module="tests.support.killed_sink", KILL_AT="insert")
    region.says("stored from offset 0")
    region.send()
    region.all_stored()
    region.send()
    region.exits()
    offset, metadata = region.committed()
    one = decode_stored(ROLLUPS.kind, Place(region.name, region.topic, "", 0), 1, points(region.name, 1), 0)
    assert (offset, metadata.split()[:6]) == (1, ["pending", "1-2", "format", "2", "content", content_of([one])])
    assert abs(int(metadata.split()[7]) - now_ms()) < 60_000


def test_a_range_that_was_cut_in_another_way_stops_and_says_how_to_go_on(region: Region) -> None:
    stored(region, 2)
    region.set_offset(1, f"pending 1-4 format 2 content {STRANGE} at {now_ms()} topic {life(region)}")
    region.send(3)
    region.start()
    assert region.exits() == 1
    assert "cut in another way" in region.log()
    assert positions(region)[f"{region.topic}/0"]["why"] == Why.CUT.value
    assert region.points() == 2 * POINTS


@pytest.mark.parametrize("begun", ["in the store", "not at all"])
def test_a_begun_range_whose_messages_have_expired_is_committed_if_it_is_in_and_else_stops(
    region: Region, begun: str
) -> None:
    if begun == "in the store":
        region.send(3)
        region.start("before")
        region.all_stored()
        assert region.end("before") == 0
        blocks = region.rows("SELECT block_from, block_to FROM blocks WHERE region = {name:String} ORDER BY 1")
        start, end = blocks[-1]
    else:
        region.send(3)
        start, end = 0, 3
    region.set_offset(start, f"pending {start}-{end} format 2 content {STRANGE} at {now_ms()} topic {life(region)}")
    settled(region.admin.delete_records([TopicPartition(region.topic, 0, 3)]))
    region.start()
    if begun == "not at all":
        assert region.exits() == 1
        assert "no longer there" in region.log()
        assert region.points() == 0
        return
    region.says(f"offsets {start}-{end} are in the store already")
    region.send(2)
    region.all_stored()
    assert region.end() == 0


def test_a_begun_range_whose_token_may_be_forgotten_stops_and_goes_on_once_the_window_is_right(region: Region) -> None:
    database = f"{region.name}-db"
    environ = {"STREAMGAUGE_DATABASE": database}

    def migrate() -> None:
        command = region.deployment.command("migrate")
        subprocess.run(command, env=region.deployment.environ | environ, capture_output=True, check=True)

    migrate()
    region.rows("ALTER TABLE rollups_1h MODIFY SETTING non_replicated_deduplication_window = 1", database)
    region.start("before", **environ)
    for _ in range(3):
        region.send()
        region.all_stored(database=database)
    assert region.end("before") == 0
    region.set_offset(3, f"pending 3-4 format 2 content {STRANGE} at 1 topic {life(region)}")
    region.send()
    region.start(**environ)
    assert region.exits() == 1
    assert "may have forgotten its token" in region.log()
    found = positions(region, **environ)[f"{region.topic}/0"]
    assert (found["why"], found["pending"]["covered"]) == (Why.UNCOVERED.value, False)
    migrate()
    assert positions(region, **environ)[f"{region.topic}/0"]["does"] == "again"
    region.start(**environ)
    region.all_stored(database=database)
    assert region.end() == 0
