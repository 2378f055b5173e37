"""Replaying: only what surely is what was refused is sent, and everything else is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.dead_letters import (
    Origin,
    fields_text,
    letter_json,
    of_earlier_life,
    parse_origin,
    parse_since,
    rows_text,
    topic_name,
)
from streamgauge.console.dead_replay import SKIPPED, ReplayAccount, replay_letters
from streamgauge.console.raw_log import Absence, RawMessage
from streamgauge.schemas.again import Again
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.row_sets import RowSet

EVENTS, TOPICS = "sg.eu.events.v1", frozenset({"sg.eu.events.v1", "sg.eu.metrics.v1"})


def fingerprint(value: bytes | None) -> str:
    """Any hash will do here."""
    return sha256(value or b"").hexdigest()


def recognises(value: bytes | None, hash_: str) -> bool:
    """Whether the hash is of this value."""
    return fingerprint(value) == hash_


def letter_of(value: bytes, offset: int, reason: str = "too_old", **changes: object) -> DeadLetter:
    """The letter of a raw message."""
    letter = DeadLetter("eu", EVENTS, 0, offset, reason, 3, 1, size=len(value), hash=fingerprint(value))
    return replace(letter, **changes)  # type: ignore[arg-type]  # fields of DeadLetter


class Log:
    """A raw topic in memory that has lost what stands before `start`."""

    def __init__(self, *values: bytes, start: int = 0) -> None:
        self.values = values
        self.start = start

    def find(self, origin: Origin) -> RawMessage | Absence:
        """See RawLog."""
        if origin.offset < self.start:
            return Absence.GONE
        return RawMessage(b"k", self.values[origin.offset]) if origin.offset < len(self.values) else Absence.NEVER


def replayed(
    log: Log,
    *letters: DeadLetter,
    backfill: bool = False,
    earlier: Callable[[DeadLetter], bool] = lambda _: False,
) -> tuple[ReplayAccount, list[tuple[bytes | None, Again]]]:
    """The account, and what was sent."""
    account = ReplayAccount(len(letters))
    sent: list[tuple[bytes | None, Again]] = []

    def send(letter: DeadLetter, raw: RawMessage, again: Again) -> None:
        account.sent += 1
        account.points += letter.rows
        sent.append((raw.value, again))

    replay_letters(letters, log, send, recognises, TOPICS, account, backfill, lambda share, _: None, earlier)
    return account, sent


def test_a_letter_is_sent_as_its_message_with_reason_rows_and_leave() -> None:
    rows = RowSet(9, "bits", "AQE=")
    account, sent = replayed(Log(b"a", b"b"), letter_of(b"b", 1, which=rows), backfill=True)
    assert sent == [(b"b", Again(1, "too_old", rows, backfill=True))]
    assert (account.sent, account.points, account.complete) == (1, 3, True)


def test_the_refusal_of_a_replay_is_sent_from_its_copy_under_the_origin() -> None:
    _, sent = replayed(Log(b"a", b"b", b"a", start=1), letter_of(b"a", 0, again=2))
    assert sent == [(b"a", Again(0, "too_old", copy=2))]


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (letter_of(b"a", 0), "gone"),
        (letter_of(b"x", 1), "differs"),
        (letter_of(b"b", 1, size=2), "differs"),
        (letter_of(b"b", 7), "never"),
        (letter_of(b"b", 1, hash=""), "no_hash"),
        (letter_of(b"b", 1, reason="bad_again"), "bad_again"),
        (letter_of(b"b", 1, topic="sg.eu.rollups.v1"), "not_raw"),
        (letter_of(b"b", 1, topic="sg.us.events.v1"), "not_raw"),
    ],
)
def test_what_is_not_surely_the_refused_message_is_never_sent(letter: DeadLetter, why: str) -> None:
    account, sent = replayed(Log(b"a", b"b", start=1), letter)
    assert sent == []
    assert (account.gone, account.skipped) == ((1, {}) if why == "gone" else (0, {why: 1}))
    assert not account.complete
    assert why == "gone" or SKIPPED[why]


def test_the_same_bytes_at_the_same_offset_of_a_topic_that_was_made_anew_are_not_sent() -> None:
    lives = {EVENTS: "now", "sg.eu.dead.v1": "of-the-letters"}
    letters = [letter_of(b"a", 0, incarnation=life) for life in ("now", "earlier", "of-the-letters", "")]
    account, sent = replayed(Log(b"a"), *letters, earlier=lambda letter: of_earlier_life(letter, lives))
    assert len(sent) == 3
    assert account.skipped == {"anew": 1}
    assert SKIPPED["anew"]
    # where nobody says which life it is, the bytes decide alone
    assert not any(of_earlier_life(letter, {}) for letter in letters)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([b"a", b"b"]), st.sampled_from(["too_old", "bad_again"]))))
def test_every_letter_is_accounted_for_once(given: list[tuple[int, bytes, str]]) -> None:
    letters = [letter_of(value, offset, reason) for offset, value, reason in given]
    account, sent = replayed(Log(*[b"a", b"b"] * 3, start=2), *letters)
    assert account.sent + account.gone + sum(account.skipped.values()) == len(letters)
    assert len(sent) == account.sent
    there = {(offset, value) for offset, value in enumerate([b"a", b"b"] * 3) if offset >= 2}
    expected = Counter(value for offset, value, reason in given if reason == "too_old" and (offset, value) in there)
    assert Counter(value for value, _ in sent) == expected


def test_origins_are_written_short_and_read_both_ways() -> None:
    one = Origin(EVENTS, 2, 1201)
    assert one.text("eu") == "events:2:1201"
    assert parse_origin("events:2:1201", "eu") == parse_origin(f"{EVENTS}:2:1201", "eu") == one
    assert one.text("us") == f"{EVENTS}:2:1201"
    assert topic_name("metrics", "eu") == "sg.eu.metrics.v1"
    for wrong in ("events", "events:1", "events:x:1", ":1:2", "events:1:-2", "events:1:2:3"):
        with pytest.raises(InputError, match="TOPIC:PARTITION:OFFSET"):
            parse_origin(wrong, "eu")


def test_since_is_a_duration_or_an_instant() -> None:
    assert parse_since("2h", 10_000_000) == 2_800_000
    assert parse_since("forever", 10_000_000) == 0
    assert parse_since("1970-01-01T00:00:01", 0) == parse_since("1970-01-01T01:00:01+01:00", 0) == 1_000
    with pytest.raises(InputError, match="24h"):
        parse_since("yesterday", 0)


def test_rows_are_shown_as_ranges_and_not_without_end() -> None:
    assert rows_text(None) == "all"
    assert rows_text(RowSet(12, "bits", "BQg=")) == "0, 2, 11 of 12"
    assert rows_text(RowSet(40, "u4", "BQAAAAgAAAA=")) == "5-7 of 40"
    assert rows_text(RowSet(64, "bits", "VVVVVVVVVVU=")).endswith("22 … (32 rows) of 64")
    assert fields_text({"a": 1.0, "b": None}) == "a=1.0  b="


def test_json_of_a_letter_has_its_origin_and_no_key_of_the_wire() -> None:
    body = letter_json(letter_of(b"b", 1))
    assert (body["origin"], body["reason"], "v" in body) == ("events:0:1", "too_old", False)
