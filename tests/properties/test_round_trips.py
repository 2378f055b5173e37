"""What is encoded comes back as it was, whatever it was."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.keys import KeysMessage, decode_keys
from streamgauge.schemas.ledger import (
    DeadLetter,
    LedgerEntry,
    decode_dead,
    decode_ledger,
)
from streamgauge.schemas.rollups import RollupMessage, decode_rollups, encode
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed, encode_scrubbed
from streamgauge.schemas.state import StateMessage, decode_state
from tests.properties.messages import (
    MODERATE,
    Events,
    Metrics,
    column_values,
    dead_letters,
    event_values,
    events,
    keys_messages,
    ledger_entries,
    metrics,
    points_of,
    rollup_messages,
    row_values,
    scrubbed_events,
    state_messages,
)


@MODERATE
@given(events())
def test_events_come_back_with_their_missing_values(sent: Events) -> None:
    batch = decode(sent.encode())
    assert isinstance(batch, EventBatch)
    assert (batch.origin, batch.event, batch.contract) == (sent.origin, sent.event, sent.contract)
    assert batch.times.tolist() == sent.times
    assert {name: column_values(column) for name, column in batch.fields.items()} == sent.fields
    assert batch.unknown_keys == 0


@MODERATE
@given(metrics())
def test_points_come_back_with_extremes_last_values_and_buckets(sent: Metrics) -> None:
    batch = decode(sent.encode())
    assert isinstance(batch, MetricBatch)
    assert (batch.origin, list(batch.metrics), batch.series) == (sent.origin, sent.heads, sent.series)
    assert points_of(batch) == [replace(one, last_ms=one.last_ms or one.window_ms) for one in sent.points]
    assert batch.unknown_keys == 0


@MODERATE
@given(rollup_messages())
def test_rollups_and_distinct_hashes_come_back(sent: RollupMessage) -> None:
    got = decode_rollups(encode(sent))
    assert (got.region, got.version, got.raw, got.labels) == (sent.region, sent.version, sent.raw, sent.labels)
    assert type(got.rows) is type(sent.rows)
    assert row_values(got.rows, got.metrics) == row_values(sent.rows, sent.metrics)
    assert set(got.metrics) <= set(sent.metrics)


@MODERATE
@given(rollup_messages())
def test_what_was_decoded_encodes_to_the_same_bytes(sent: RollupMessage) -> None:
    once = encode(sent)
    assert encode(decode_rollups(once)) == once


@MODERATE
@given(scrubbed_events())
def test_scrubbed_events_come_back_row_by_row(sent: ScrubbedEvents) -> None:
    once = encode_scrubbed(sent)
    got = decode_scrubbed(once)
    assert event_values(got) == event_values(sent)
    columns = {name: getattr(sent, name) for name in ("times", "labels", "measures", "pseudonyms", "texts")}
    assert replace(got, **columns) == sent
    assert encode_scrubbed(got) == once


@MODERATE
@given(ledger_entries)
def test_ledger_entries_come_back(sent: LedgerEntry) -> None:
    got = decode_ledger(sent.encode())
    assert got == sent
    assert got.total == sum(sent.points.values())


@MODERATE
@given(dead_letters)
def test_dead_letters_come_back(sent: DeadLetter) -> None:
    assert decode_dead(sent.encode()) == sent


@MODERATE
@given(state_messages)
def test_states_come_back(sent: StateMessage) -> None:
    assert decode_state(sent.encode()) == sent


@MODERATE
@given(keys_messages())
def test_keys_come_back(sent: KeysMessage) -> None:
    got = decode_keys(sent.encode())
    for column in ("low", "high", "at"):
        assert getattr(got.keys, column).tolist() == getattr(sent.keys, column).tolist()
    assert replace(got, keys=sent.keys) == sent
