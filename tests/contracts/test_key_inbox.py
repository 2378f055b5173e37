"""The inbox on the real engine: what is new, what is suspicious, and what has left it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streamgauge.console.cli import main
from streamgauge.schemas.key_notes import KeyNote
from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.store import Store, StoreAddress
from tests.support.door import DoorProcess

pytestmark = pytest.mark.clickhouse

NOW = time.time_ns() // 1_000_000
ENTRY = LedgerEntry("eu", "sg.eu.events.v1", 0, 0, 1, 1, 1, {}, NOW)
OLD, RECENT = NOW - 20 * DAY_MS, NOW - 2 * DAY_MS
TOLD = {
    OLD: [("m", "route", "", "/a"), ("m", "peer", "email", "a@a+.a+"), ("m", "gone", "phone", "+9{5}")],
    RECENT: [
        ("m", "peer", "email", "a+@a+.a+"),
        ("m", "zone", "", "a9"),
        ("m", "client", "ip_prefix", "9.9.9.9"),
        ("order", "size", "unknown_field", "9{2}"),
        ("order", "reply_to", "unknown_field:email", "a@a+.a+"),
        ("order", "colour", "unknown_field", "a+"),
    ],
    NOW: [("order", "colour", "declared", ""), ("order", "amount", "declared", "")],
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a store in which the same was told twice."""
    with DoorProcess(tmp_path_factory.mktemp("store")) as door:
        store = Store(StoreAddress(door.address, "default", Secret(""), "streamgauge"))
        migrate(store, Retention())
        for token in "ab":
            entries = [
                replace(ENTRY, start=at, end=at + 1, committed_ms=at, noticed=tuple(KeyNote(*one) for one in notes))
                for at, notes in TOLD.items()
            ]
            store.insert_ledger(entries, token)
        yield door.address


def asked(capsys: pytest.CaptureFixture[str], address: str, *words: str) -> tuple[int, list[tuple[str, str, str]]]:
    """The exit code, and family, key and rule of all that is listed."""
    code = main(["inbox", "--store", address, "--json", *words])
    keys = json.loads(capsys.readouterr().out)["keys"]
    return code, [(one["family"], one["key"], one["rule"]) for one in keys]


def test_new_keys_are_listed_suspicious_ones_first_and_declared_ones_not(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, keys = asked(capsys, address)
    assert code == 0
    assert keys == [
        ("m", "peer", "email"),
        ("order", "reply_to", "unknown_field:email"),
        ("m", "client", "ip_prefix"),
        ("m", "zone", ""),
        ("order", "size", "unknown_field"),
    ]


def test_keys_are_chosen_by_time_rule_and_suspicion(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(asked(capsys, address, "--since", "30d")[1]) == 7
    assert [key for _, key, _ in asked(capsys, address, "--rule", "email")[1]] == ["peer", "reply_to"]
    assert [key for _, key, _ in asked(capsys, address, "--suspicious")[1]] == ["peer", "reply_to"]
    assert [key for _, key, _ in asked(capsys, address, "--suspicious", "--since", "30d")[1]] == [
        "peer",
        "reply_to",
        "gone",
    ]


def test_a_finding_is_an_exit_code_where_it_is_asked_for(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, address, "--fail-on-new")[0] == 1
    assert asked(capsys, address, "--fail-on-new", "--rule", "iban") == (0, [])


def test_it_says_when_and_how_values_look(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inbox", "--store", address]) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if " peer " in line]
    assert line.split()[:6] == ["!", "m", "peer", "email", "a+@a+.a+", "a@a+.a+"]
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(OLD / 1000)) in line
    assert said.err == "5 keys, 2 suspicious\n"
