"""Erasure on the real engine: a person's rows are found under all keys and tenants, deleted, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from streamgauge.console.erasure import Deletion
from streamgauge.console.erasure_store import EventStore
from streamgauge.processors.keyring import DAY_MS, day_of
from streamgauge.processors.keyring_file import create_ring
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.tools import Tools
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.errors import StoreUnavailable
from streamgauge.schemas.scrubbed_events import decode_scrubbed
from streamgauge.schemas.topics import SCRUBBED
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.ranges import Place, Range
from tests.support.door import DoorProcess, until
from tests.support.people import ANY, REGION, People
from tests.unit.processors.raw import committed, events
from tests.unit.processors.rings import TODAY, YESTERDAY, ring_with

pytestmark = pytest.mark.clickhouse

DAY_BEFORE = YESTERDAY - DAY_MS
ALICE = "alice@example.com"
SPELLINGS = ["alice@example.com", "  Alice@Example.COM ", "alice＠example.com"]
EVENTS = ("order_placed", "refunded", "visited")
CONTRACT = '{"name":"signed_up","version":1,"owner":"shop","purpose":"analytics","fields":{"phone":{"kind":"unique"}}}'


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    with DoorProcess(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest.fixture(scope="module")
def nobody(door: DoorProcess, tmp_path_factory: pytest.TempPathFactory) -> People:
    """Without rows, under two keys: the second is in force from today on."""
    return People(door, "nobody", ring_with(TODAY), tmp_path_factory.mktemp("ring") / "keys.json")


@pytest.fixture
def people(
    nobody: People, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> People:
    """The same, emptied for this test."""
    monkeypatch.chdir(tmp_path)
    nobody.reset()
    nobody.capsys = capsys
    return nobody


@pytest.fixture(scope="module")
def alices(door: DoorProcess, tmp_path_factory: pytest.TempPathFactory) -> People:
    """For tests that change nothing: her rows, and some of others."""
    found = People(door, "alices", ring_with(TODAY), tmp_path_factory.mktemp("ring") / "keys.json")
    found.insert([*hers(found), *others(found, 30)])
    found.client.command("INSERT INTO blocks (region, topic) VALUES ('eu', 'sg.eu.events_scrubbed.v1')")
    return found


@pytest.fixture
def quiet(
    alices: People, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> People:
    """The same, in this test's directory."""
    monkeypatch.chdir(tmp_path)
    alices.capsys = capsys
    return alices


@pytest.fixture
def alice(tmp_path: Path) -> str:
    """The file that names her."""
    path = tmp_path / "alice.txt"
    path.write_text(f"{ALICE}\n")
    return str(path)


def hers(people: People, later_ms: int = 0) -> list[list[Any]]:
    """In three events, under two keys, of two tenants and of none."""
    return [
        people.row(event, at + later_ms, {"email": spelling}, tenant, {"country": "JP"}, version=version)
        for event in EVENTS
        for at in (DAY_BEFORE + 5, YESTERDAY + 7, TODAY + 9)
        for tenant in ("", "acme", "globex")
        for spelling, version in ((ALICE, 1), ("ALICE@example.com", 2))
    ]


def others(people: People, count: int) -> list[list[Any]]:
    days = (DAY_BEFORE, YESTERDAY, TODAY)
    return [
        people.row(EVENTS[n % 3], days[n % 3] + n, {"email": f"u{n % 997}@example.com"}, ("", "acme", "globex")[n % 3])
        for n in range(count)
    ]


def test_one_person_is_forgotten_in_all_events_keys_and_tenants_and_nobody_else(people: People, alice: str) -> None:
    rest = others(people, 10_000)
    people.insert([*rest[:5_000], *hers(people), *rest[5_000:]])
    everything = (
        "SELECT groupBitXor(cityHash64(event, at, toString(labels), toString(pseudonyms))), count() FROM events"
    )
    people.client.command("CREATE OR REPLACE TABLE apart AS events")
    people.client.insert("apart", rest, settings=ANY)
    wanted = people.rows(everything.replace("events", "apart"))

    dry = orjson.loads(people("forget", "email", "--values", alice, "--dry-run", "--json"))
    assert (dry["found"], dry["state"]) == (dict.fromkeys(EVENTS, 18), "begun")
    assert people.value("SELECT count() FROM events") == 10_054, "a dry run changes nothing"
    assert people.value("SELECT count() FROM erasures") == 0

    receipt = orjson.loads(people("forget", "email", "--values", alice, "--yes", "--json"))
    assert people.rows(everything) == wanted
    assert (receipt["found"], receipt["deleted"], receipt["left"]) == (dry["found"], dry["found"], 0)
    assert (receipt["state"], receipt["keys"], receipt["tenants"]) == ("done", ["k1", "k2"], ["", "acme", "globex"])
    kept = people.rows("SELECT id, state, deleted, left FROM erasures FINAL")
    assert kept == [(receipt["id"], "done", dict.fromkeys(EVENTS, 18), 0)]

    again = orjson.loads(people("forget", "email", "--values", alice, "--yes", "--json"))
    assert (again["found"], again["state"]) == ({}, "done"), "running it again is safe"
    assert people.rows(everything) == wanted
    people.client.command("TRUNCATE TABLE events")
    people("forget", "email", "--values", alice, "--yes", "--tenant", "acme")


def test_what_a_worker_sends_and_a_sink_stores_is_found(people: People, tmp_path: Path) -> None:
    contract = Contract(
        "order_placed",
        1,
        {"phone": Field("unique"), "email": Field("unique"), "client.ip": Field("unique"), "note": Field("free_text")},
        store_events=True,
    )
    given = {"phone": "+49 30 1234567", "email": "Alice@Example.com", "client.ip": "::ffff:10.1.2.3"}
    typed = {"phone": "030 1234567", "email": ALICE, "client.ip": "10.1.2.3"}
    messages = [
        events([{"time": at, "note": "ok", **(given if n % 3 else {"phone": f"+4930{n:07}"})} for n in range(9)], contract,
               {"service": "shop", **({"tenant_id": tenant} if tenant else {})})
        for at in (YESTERDAY, TODAY) for tenant in ("", "acme")
    ]  # fmt: skip
    hasher = DistinctHasher(people.ring, REGION, phone_region="DE", now_ms=TODAY)
    contract = replace(contract, fields={name: replace(one, optional=True) for name, one in contract.fields.items()})
    found, entry = committed(
        messages, TODAY + 1, Tools(Scrubber(), hasher, TimePolicy()), contracts={("order_placed", 1): contract}
    )
    assert entry.events == 36
    sent = [decode_scrubbed(one.value) for one in found if one.topic.split(".")[-2] == SCRUBBED.kind]
    block = Range(Place(REGION, SCRUBBED.name(REGION), "life", 0), 0, 9)
    people.store.insert_block(event_insert(sent, block), block.token)
    assert people.value("SELECT count() FROM events") == 36
    words = ("--values", str(tmp_path / "value"), "--phone-region", "DE", "--json")
    for name, value in typed.items():
        (tmp_path / "value").write_text(value)
        assert orjson.loads(people("forget", name, *words, "--dry-run"))["found"] == {"order_placed": 24}, name
    assert orjson.loads(people("forget", "client.ip", *words, "--yes"))["left"] == 0
    assert people.value("SELECT count() FROM events") == 12


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_address_finds_the_same_rows(quiet: People, spelling: str, tmp_path: Path) -> None:
    (tmp_path / "values").write_text(f"\ufeff{spelling}\r\n\n", encoding="utf-8")
    found = orjson.loads(quiet("forget", "email", "--values", str(tmp_path / "values"), "--dry-run", "--json"))
    assert found["found"] == dict.fromkeys(EVENTS, 18)


def test_only_the_events_and_tenants_that_are_named_are_searched(people: People, alice: str) -> None:
    people.insert(hers(people))
    words = ("--event", "refunded", "--event", "visited", "--tenant", "acme", "--yes", "--json")
    receipt = orjson.loads(people("forget", "email", "--values", alice, *words))
    assert receipt["deleted"] == {"refunded": 6, "visited": 6}
    assert people.rows(
        "SELECT event, labels['tenant'] AS t, count() FROM events GROUP BY event, t ORDER BY event, t"
    ) == [
        *(("order_placed", tenant, 6) for tenant in ("", "acme", "globex")),
        *((event, tenant, 6) for event in ("refunded", "visited") for tenant in ("", "globex")),
    ]


def test_neither_value_nor_token_is_left_anywhere_in_the_store(people: People, alice: str) -> None:
    people.insert([*hers(people), *others(people, 3)])
    tokens = [
        token
        for (token,) in people.rows("SELECT DISTINCT pseudonyms['email'] FROM events WHERE labels['country'] = 'JP'")
    ]
    assert len(tokens) == 18
    people("forget", "email", "--values", alice, "--yes")
    assert people.value("SELECT count() FROM erasure_tokens") == 0
    people.client.command("SYSTEM FLUSH LOGS")
    seen = people.rows("SELECT command FROM system.mutations WHERE database = currentDatabase()") + people.rows(
        "SELECT toString(tuple(*)) FROM erasures"
    )
    if people.value("SELECT count() FROM system.tables WHERE database = 'system' AND name = 'query_log'"):
        seen += people.rows("SELECT concat(query, formatted_query, exception) FROM system.query_log")
    text = "\n".join(str(one) for one in seen) + people.said
    assert "DELETE WHERE" in text
    assert [secret for secret in (*tokens, ALICE) if secret in text] == []


def test_a_crash_after_the_deletion_leaves_a_begun_receipt_that_the_next_run_finishes(
    people: People, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.insert([*hers(people), *others(people, 3)])
    written = EventStore.write

    def crash(self: EventStore, receipt: Any) -> None:
        if receipt.state == "done":
            raise StoreUnavailable("the store went away")
        written(self, receipt)

    monkeypatch.setattr(EventStore, "write", crash)
    people("forget", "email", "--values", alice, "--yes", code=1)
    ((begun, state, found),) = people.rows("SELECT id, state, found FROM erasures FINAL")
    assert (state, found) == ("begun", dict.fromkeys(EVENTS, 18))
    assert f"receipt {begun}: begun" in people.said
    assert people.value("SELECT count() FROM erasure_tokens") == 0

    monkeypatch.setattr(EventStore, "write", written)
    people("forget", "email", "--values", alice, "--dry-run")
    assert f"--receipt {begun}" in people.said
    receipt = orjson.loads(people("forget", "email", "--values", alice, "--yes", "--receipt", begun, "--json"))
    assert receipt["deleted"] == dict.fromkeys(EVENTS, 18)
    assert people.rows("SELECT id, state FROM erasures FINAL") == [(begun, "done")]
    people("forget", "email", "--values", alice, "--yes", "--receipt", begun, code=2)
    assert "is done" in people.said


def test_an_interrupt_leaves_a_begun_receipt_and_says_how_to_go_on(
    people: People, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.insert(hers(people))

    def interrupted(self: EventStore, receipt: str) -> Deletion:
        raise KeyboardInterrupt

    monkeypatch.setattr(EventStore, "deletion", interrupted)
    people("forget", "email", "--values", alice, "--yes", code=130)
    ((begun, state),) = people.rows("SELECT id, state FROM erasures FINAL")
    assert state == "begun"
    assert f"--receipt {begun}" in people.said


def test_a_store_that_restarts_meanwhile_waits_for_nothing_and_the_same_request_finishes(
    alice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DoorProcess(tmp_path / "door") as door:
        people = People(door, "restarted", ring_with(TODAY), tmp_path / "keys.json")
        people.insert(hers(people)[:3])
        people.client.command("SYSTEM STOP MERGES events")
        (wanted,) = {row[7]["email"] for row in hers(people)[:1]}
        store = EventStore(people.client, door.address, "restarted")
        store.put("r1", [wanted], TODAY)
        store.delete("r1", "email")
        assert not store.deletion("r1").done
    with DoorProcess(tmp_path / "door") as door:
        people.client = door.client(database="restarted")
        people.door, people.address, people.capsys = door, door.address, capsys
        store = EventStore(people.client, door.address, "restarted")
        assert until(lambda: store.deletion("r1").done)
        assert people.value("SELECT count() FROM events") == 3
        assert orjson.loads(people("forget", "email", "--values", alice, "--yes", "--json"))["deleted"] == {
            "order_placed": 3
        }


def test_rows_that_come_in_while_others_are_deleted_are_deleted_too(
    people: People, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.insert(hers(people))
    late = [hers(people, 1)[:2]]
    begin = EventStore.delete

    def delete(self: EventStore, receipt: str, name: str) -> None:
        begin(self, receipt, name)
        if late:
            people.insert(late.pop())

    monkeypatch.setattr(EventStore, "delete", delete)
    receipt = orjson.loads(people("forget", "email", "--values", alice, "--yes", "--json"))
    assert people.value("SELECT count() FROM events") == 0
    assert receipt["deleted"] == {"order_placed": 20, "refunded": 18, "visited": 18}

    people.insert(hers(people, 2))
    late.extend(hers(people, later)[:1] for later in range(3, 12))
    people("forget", "email", "--values", alice, "--yes", code=1)
    assert "keep coming in" in people.said


def test_an_export_has_all_rows_of_the_person_and_nothing_of_others(people: People, alice: str, tmp_path: Path) -> None:
    people.insert(others(people, 500))
    people.insert(
        [people.row("order_placed", TODAY + 1, {"email": ALICE, "seller": "bob"}, texts={"note": "call [phone]"})]
    )
    people.insert(hers(people))
    target = tmp_path / "answer.jsonl"
    people("export-subject", "email", "--values", alice, "--output", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    rows = [orjson.loads(line) for line in target.read_bytes().splitlines()]
    assert len(rows) == 55
    (sold,) = [row for row in rows if row["withheld"]]
    assert (sold["withheld"], sold["texts"], sold["at"]) == (
        ["seller"],
        {"note": "call [phone]"},
        f"{day_of(TODAY)}T00:00:00.001Z",
    )
    assert sold["pseudonym"] == {"email": people.token("order_placed", "email", ALICE, TODAY)}
    assert people.token("order_placed", "seller", "bob", TODAY) not in target.read_text()
    assert {row["labels"].get("country") for row in rows if row is not sold} == {"JP"}
    assert people.rows("SELECT kind, state, found['order_placed'] FROM erasures FINAL") == [("export", "done", 19)]
    people("export-subject", "email", "--values", alice, "--output", str(target), code=2)
    assert "there already" in people.said
    assert len(people("export-subject", "email", "--values", alice, "--output", "-").splitlines()) == 55


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("emial", "--values", "alice.txt", "--yes"), "no event has a unique field emial; unique fields are: email"),
        (("email", "--values", "alice.txt", "--yes", "--event", "bought"), "bought has no unique field email; these have: order"),
        (("email", "--values", "alice.txt", "--yes", "--tenant", "initech"), "no row is of the tenant initech; tenants are: ac"),
        (("email", "--values", "empty.txt", "--yes"), "empty.txt is empty"),
        (("email", "--values", "bytes.txt", "--yes"), "not UTF-8"),
        (("email", "--values", "alice.txt"), "nobody can be asked here"),
        (("email", "--yes"), "whom is this about?"),
        (("--values", "alice.txt", "--yes"), "which unique field"),
        (("email=alice@example.com",), "never stands on the command line"),
        (("email", "alice@example.com"), "never stands on the command line"),
        (("--subject", "email=alice@example.com"), "never stands on the command line"),
        (("email", "--values", "alice@example.com", "--yes"), "never stands on the command line"),
        (("email", "--values", "alice@example.com" * 99, "--yes"), "cannot be read"),
        (("email", "--values", "alice.txt", "--yes", "--receipt", "nix"), "there is no receipt nix"),
        (("email", "--values", "alice.txt", "--yes", "--region", "us"), "the store holds data of eu, not of us"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_no_value_is_repeated(
    quiet: People, alice: str, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    quiet("forget", *words, code=2)
    assert said in quiet.said
    assert ALICE not in quiet.said
    assert quiet.value("SELECT count() FROM events") == 84
    assert quiet.value("SELECT count() FROM erasures") == 0


def test_a_field_that_only_a_contract_knows_has_no_rows(quiet: People, alice: str, tmp_path: Path) -> None:
    (tmp_path / "signed_up.json").write_text(CONTRACT)
    words = ("--dry-run", "--json", "--contracts", str(tmp_path / "signed_up.json"))
    receipt = orjson.loads(quiet("forget", "phone", "--values", alice, *words))
    assert (receipt["found"], receipt["events"]) == ({}, ["signed_up"])


def test_without_the_right_keys_nobody_is_searched(people: People, alice: str) -> None:
    people.insert(hers(people))
    people("forget", "email", "--values", alice, "--yes", code=2, keys=False)
    assert "no key for pseudonyms" in people.said
    people.keys.unlink()
    create_ring(people.keys, ring_with(), 0)
    people("forget", "email", "--values", alice, "--yes", code=2)
    assert "pseudonyms of k2, and this ring has only k1" in people.said
    assert people.value("SELECT count() FROM events") == 54


def test_rows_of_a_destroyed_key_are_not_found_and_it_is_said(people: People, alice: str) -> None:
    people.insert(hers(people))
    people.keys.unlink()
    create_ring(people.keys, people.ring.destroyed("k1", TODAY), 0)
    receipt = orjson.loads(people("forget", "email", "--values", alice, "--yes", "--json"))
    assert (receipt["keys"], receipt["destroyed"]) == (["k2"], ["k1"])
    assert receipt["deleted"] == dict.fromkeys(EVENTS, 6)
    assert "k1 was destroyed: whom its 36 rows are about can never be told again" in people.said
    people.keys.unlink()
    nobody = people.ring.destroyed("k1", TODAY).destroyed("k2", TODAY)
    create_ring(people.keys, nobody, 0)
    people("forget", "email", "--values", alice, "--yes", code=2)
    assert "every key of the ring was destroyed" in people.said


def test_a_tenant_behind_a_replaced_name_is_found_by_that_name(people: People, alice: str) -> None:
    row = people.row("order_placed", TODAY, {"email": ALICE}, "boss@acme.example")
    row[5]["tenant"] = "[email]"
    people.insert([row])
    assert orjson.loads(people("forget", "email", "--values", alice, "--dry-run", "--json"))["found"] == {}
    assert "say it with --tenant" in people.said
    words = ("--tenant", "boss@acme.example", "--yes", "--json")
    assert orjson.loads(people("forget", "email", "--values", alice, *words))["deleted"] == {"order_placed": 1}
    assert people.rows("SELECT tenants FROM erasures") == [(["[not shown]"],)] * 2, "it is nobody's business"


def test_a_store_that_is_away_or_not_migrated_is_said(people: People, alice: str) -> None:
    people.insert(hers(people)[:1])
    people.client.command("RENAME TABLE erasure_tokens TO elsewhere")
    people("forget", "email", "--values", alice, "--yes", code=1)
    people.client.command("RENAME TABLE elsewhere TO erasure_tokens")
    assert "streamgauge migrate" in people.said
    people.address = "http://127.0.0.1:1"
    people("forget", "email", "--values", alice, "--yes", code=1)
    assert "no ClickHouse answers" in people.said


def test_a_value_is_typed_unseen_and_the_person_is_asked(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.insert(hers(people))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[Any] = []

    def prompt(text: str, hide_input: bool, err: bool) -> str:
        asked.append((text, hide_input, err))
        return ALICE

    def refuse(text: str, abort: bool, err: bool) -> bool:
        asked.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr(click, "confirm", refuse)
    people("forget", "email", code=130)
    assert asked == [("email of whom", True, True), "54 rows: delete them for ever?"]
    assert people.value("SELECT count() FROM events") == 54
    assert people.value("SELECT count() FROM erasures") == 0, "nothing was begun"
