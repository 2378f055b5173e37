"""Erasure step by step: whatever stops it, a receipt tells so, and the same request again finishes it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest

from streamgauge.console.erasure import (
    BEGUN,
    DONE,
    FORGET,
    Deletion,
    ErasureUnfinished,
    Receipt,
    Request,
    choose_tenants,
    erase,
    shown,
    tokens_of,
)
from streamgauge.processors.pseudonyms import live_pseudonyms
from streamgauge.schemas.errors import InputError, StoreUnavailable
from tests.unit.processors.rings import TODAY, ring_with

RECEIPT = Receipt(
    "r",
    FORGET,
    "eu",
    "customer_id",
    ("order", "visit"),
    ("", "acme"),
    1,
    ("k1",),
    (),
    TODAY,
    TODAY,
    {"order": 2, "visit": 1},
)


class Fake:
    """A store of rows by event, that goes away at its n-th call. A deletion takes three looks."""

    def __init__(self, rows: dict[str, int], fails_at: int = -1, stuck: bool = False) -> None:
        self.rows = rows
        self.written: list[Receipt] = []
        self.calls: list[str] = []
        self.fails_at = fails_at
        self.stuck = stuck
        self._looks = 0

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.fails_at:
            raise StoreUnavailable("gone")

    def put(self, receipt: str, tokens: Iterable[str], now_ms: int) -> None: ...

    def clear(self, receipt: str) -> None: ...

    def count(self, receipt: str, name: str) -> dict[str, int]:
        self._call("count")
        return dict(self.rows)

    def delete(self, receipt: str, name: str) -> None:
        self._call("delete")
        self._looks = 3

    def deletion(self, receipt: str) -> Deletion:
        self._call("deletion")
        self._looks -= 1
        if self._looks <= 0:
            self.rows.clear()
        return Deletion(self._looks <= 0 and not self.stuck, max(0, self._looks), self.stuck)

    def remains(self) -> tuple[int, int]:
        self._call("remains")
        return 4, 1

    def write(self, receipt: Receipt) -> None:
        self._call(f"write {receipt.state}")
        self.written.append(receipt)


def run(store: Fake, receipt: Receipt = RECEIPT) -> Receipt:
    return erase(store, receipt, count(TODAY + 1).__next__, lambda _: None, lambda _, __: None)


def test_the_receipt_is_begun_first_and_done_last() -> None:
    store = Fake({"order": 2, "visit": 1})
    done = run(store)
    assert store.calls == [
        *("write begun", "count", "delete", "deletion", "deletion", "deletion", "count", "remains", "write done")
    ]
    assert (done.state, done.deleted, done.left) == (DONE, {"order": 2, "visit": 1}, 0)
    assert (done.old_parts, done.detached_parts, done.at_ms) == (4, 1, TODAY + 1)
    assert [one.state for one in store.written] == [BEGUN, DONE]


@pytest.mark.parametrize("fails_at", range(1, 10))
def test_wherever_the_store_goes_away_no_receipt_says_done_and_running_again_finishes(fails_at: int) -> None:
    store = Fake({"order": 2, "visit": 1}, fails_at)
    with pytest.raises(StoreUnavailable):
        run(store)
    assert [one.state for one in store.written] == [BEGUN] * (fails_at > 1)
    assert store.rows or store.written, "nothing is deleted without a receipt"
    assert run(store).state == DONE
    assert store.rows == {}


def test_a_deletion_that_fails_is_said_and_its_receipt_stays_begun() -> None:
    store = Fake({"order": 2}, stuck=True)
    with pytest.raises(ErasureUnfinished, match="latest_fail_reason"):
        run(store)
    assert [one.state for one in store.written] == [BEGUN]


def test_where_nothing_is_nothing_is_deleted() -> None:
    store = Fake({})
    assert run(store, RECEIPT).state == DONE
    assert "delete" not in store.calls


def test_pseudonyms_are_those_of_every_key_event_and_tenant() -> None:
    ring = ring_with(TODAY)
    request = Request("email", ("order", "visit"), ("", "acme"), "eu")
    wanted = {
        one.token
        for event in request.events
        for tenant in request.tenants
        for one in live_pseudonyms(ring, "eu", tenant, f"{event}.email", "a@example.com")
    }
    assert len(wanted) == 8
    assert set(tokens_of(ring, request, ["A@Example.com", "a@example.com"])) == wanted
    assert tokens_of(ring, request, ["  "]) == []


def test_a_receipt_names_no_tenant_that_rows_do_not_name() -> None:
    there = ["", "acme", "the [email] one"]
    assert choose_tenants([], there) == ("", "acme", "the [email] one")
    assert shown(choose_tenants(["boss@acme.example", "acme"], there), there) == ("[not shown]", "acme")
    with pytest.raises(InputError, match="tenants are: acme"):
        choose_tenants(["initech"], ["", "acme"])


def test_a_receipt_says_when_to_run_it_again() -> None:
    said: dict[str, Any] = RECEIPT.json()
    assert said["again_after"] == "2026-09-29"
