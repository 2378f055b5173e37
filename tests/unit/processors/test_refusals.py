"""Dead letters: enough to find the raw message and to understand the refusal, nothing of what must not be shown."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import orjson
import pytest

from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.samples import CHARS, ROWS
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.ledger import DeadLetter
from tests.unit.processors.raw import KEY, NOW, ORDER, Sample, accumulated, events, metrics

OLD = NOW - 30 * 86_400_000
SECRET = "canary-7f3a"


def letters(*messages: bytes, contract: Contract = ORDER) -> list[DeadLetter]:
    """What is refused of the messages."""
    return accumulated(messages, contracts={(contract.name, contract.version): contract}).dead


def test_a_letter_recognises_its_raw_message_by_length_and_a_keyed_hash() -> None:
    one, other = letters(b"{", b"[")
    key = blake2b(b"sg raw message\0local", key=KEY, digest_size=32).digest()
    assert (one.size, one.hash) == (1, blake2b(b"{", key=key, digest_size=16).hexdigest())
    assert one.hash != other.hash != DistinctHasher(KEY, "other").fingerprint(b"[")
    assert one.hash != blake2b(b"{", digest_size=16).hexdigest()


def test_a_letter_names_the_rows_it_stands_for() -> None:
    rows = [
        {"country": f"c{n}", "time": OLD if n % 3 == 0 else NOW, "segment": "gold" if n % 2 else None}
        for n in range(10)
    ]
    old, bad = letters(events(rows, context={"service.name": "shop"}))
    assert old.which is not None
    assert bad.which is not None
    assert (old.reason, old.rows, old.which.of, old.which.rows().tolist()) == ("too_old", 4, 10, [0, 3, 6, 9])
    # a row is in one letter only: the first reason counts
    assert (bad.reason, bad.which.rows().tolist()) == ("bad_value", [1, 5, 7])
    assert (old.contract, old.service, old.event, old.again) == (1, "shop", "order", 0)
    assert [row.row for row in old.sample] == [0, 3, 6][:ROWS]
    assert old.sample[0].at_ms == OLD


def test_a_letter_of_metrics_names_its_points() -> None:
    head = MetricHead("requests", "counter", "1", ("route",))
    (letter,) = letters(
        metrics(
            [Sample(head, ("/a",), NOW), Sample(head, ("jane@example.com",), OLD, count=7, sum=9.0)],
            {"service": "shop"},
        )
    )
    assert letter.which is not None
    assert (letter.rows, letter.which.rows().tolist(), letter.service) == (7, [1], "shop")
    (row,) = letter.sample
    assert (row.metric, row.fields) == ("requests", {"route": "[email]", "count": 7.0, "sum": 9.0})


def test_a_sample_shows_what_the_contract_admits_and_no_more() -> None:
    row = {
        "country": "mail jane@example.com", "segment": SECRET, "amount": 2.5, "customer": SECRET, "note": SECRET,
        "shoe_size": SECRET,
    }  # fmt: skip
    (letter,) = letters(events([row, {"amount": None, "segment": "free"}]))
    assert letter.reason == "bad_value"
    assert letter.sample[0].fields == {
        "country": "mail [email]",
        "segment": f"[not in the set, {len(SECRET)} characters]",
        "amount": 2.5,
        "customer": "[unique]",
    }
    assert SECRET not in letter.encode().decode()


def test_a_batch_that_is_refused_whole_shows_a_sample_where_its_contract_is_known() -> None:
    strict = replace(ORDER, fields={**ORDER.fields, "channel": Field("dimension")})
    (missing,) = letters(events([{"country": "AU"}] * 9), contract=strict)
    assert (missing.reason, missing.which, len(missing.sample)) == ("missing_field", None, ROWS)
    assert missing.sample[0].fields == {"country": "AU"}
    (unknown,) = letters(events([{"country": SECRET}], context={"service": "shop"}), contract=replace(ORDER, version=7))
    assert (unknown.reason, unknown.contract, unknown.service, unknown.sample) == ("unknown_contract", 1, "shop", ())
    assert SECRET not in unknown.encode().decode()


def test_a_letter_stays_small_whatever_is_refused() -> None:
    wide = Contract("wide", 1, {f"f{n}": Field("dimension", optional=True) for n in range(250)})
    (letter,) = letters(
        events([{f"f{n}": "\U0001f600" * 4_000 for n in range(250)} | {"time": OLD}] * 50, wide), contract=wide
    )
    assert len(letter.encode()) < 20_000
    assert all(len(str(value)) <= CHARS for row in letter.sample for value in row.fields.values())


@pytest.mark.parametrize("personal", ["canary@example.com", "4111111111111111", "203.0.113.77", "2001:db8::77"])
def test_personal_data_in_a_refused_row_is_cleaned_before_it_is_cut_short(personal: str) -> None:
    text = "x" * (CHARS - 8) + " " + personal
    (letter,) = letters(events([{"country": text, "time": OLD}], context={"service": personal}))
    said = orjson.loads(letter.encode())
    assert personal not in letter.encode().decode()
    assert said["service"].startswith("[")
    assert personal[:6] not in said["sample"][0]["fields"]["country"]
