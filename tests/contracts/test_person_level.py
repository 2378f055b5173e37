"""What is of one person, everywhere: every column, and every field on the wire. A new one fails here until it is classified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import pytest

from streamgauge.schemas import key_notes, keys, ledger, rollups, scrubbed_events, state
from streamgauge.schemas.topics import TOPICS
from tests.support.tables import Store
from tests.support.wire_examples import EXAMPLES

PERSON_COLUMNS: Final = {
    "distinct_landing.hash",  # a Null table: hashes become part of a sketch, and none is stored
    "events_landing.pseudonyms",  # a Null table
    "events.pseudonyms",  # `forget` finds rows by it, and deletes them whole
    "erasure_tokens.token",  # in memory, and only while a request runs
}
"""Columns by which one person can be told from others. There must be no others."""

ORIGIN: Final = "topic partition block_from block_to region incarnation"
BLOCK: Final = "region topic incarnation partition block_from block_to rows points parts inserted_at"
ROLLUP: Final = "materialization_version metric series_id window count sum min max last hist"
SKETCH: Final = "materialization_version metric series_id window state"
EVENT: Final = "materialization_version event contract policy at labels measures texts"
COLUMNS: Final[Mapping[str, str]] = {
    "blocks": BLOCK,
    "rollups_blocks_feed": BLOCK,
    "distinct_blocks_feed": BLOCK,
    "events_blocks_feed": BLOCK,
    "rollups_landing": f"materialization_version metric series_id entry window count sum min max last_ms last hist {ORIGIN}",
    "distinct_landing": f"materialization_version metric series_id entry window {ORIGIN}",
    **{f"rollups_{tier}{feed}": ROLLUP for tier in ("10s", "1m", "1h", "1d") for feed in ("", "_feed")},
    **{f"distinct_{tier}{feed}": SKETCH for tier in ("10s", "1m", "1h", "1d") for feed in ("", "_feed")},
    "events_landing": f"{EVENT} {ORIGIN}",
    "events_feed": f"{EVENT} pseudonyms",
    "events": EVENT,
    "erasure_tokens": "receipt at",
    "erasures": "id kind state revision begun_at at region field events tenants subjects keys destroyed found deleted left "
    "old_parts detached_parts",
    "ledger": "region topic incarnation partition offset_from offset_to messages batches points refused_points tiers days "
    "day_points refused scrubbed skipped min_window max_window committed_at sequence_gaps sequence_repeats day_sums "
    "day_magnitudes policies events noticed unnoticed",
    **{f"key_inbox{feed}": "region family key rule first_seen last_seen shapes" for feed in ("", "_feed")},
    "dead": "region topic incarnation partition offset reason rows event detail at contract service size hash which sample again",
    "metrics": "metric family type unit labels entry kind inserted_at",
    "migrations": "number name checksum applied at",
    "releases": "event tier window k contributors withheld shown hidden decided_at",  # `contributors` names a field
    "series": "family series_id labels inserted_at service environment version instance region country tenant segment "
    "operation status error_type",
    "versions": "metric from_window to_window version inserted_at",
}  # fmt: skip
"""All other columns: of groups, of blocks, of messages, of a request. A row of `events` is about a person, and goes as one;
a view `*_feed` holds nothing. `dead.hash` and `dead.sample` are of a whole message, and name nobody."""

PERSON_FIELDS: Final = {"DistinctRows.hash", "ScrubbedEvents.pseudonyms"}
"""Fields on the wire by which one person can be told from others: of topics of their own, which never leave the region."""

FIELDS: Final[Mapping[type, str]] = {
    rollups.RollupMessage: "region version raw metrics rows labels",
    rollups.RollupRows: "metric series_id entry window count sum min max last last_ms hist",
    rollups.Histograms: "per_row keys counts",
    rollups.RollupMetric: "name type family unit labels granularity",
    rollups.SeriesLabels: "series_id family labels",
    rollups.RawRange: "topic partition start end",
    rollups.DistinctRows: "metric series_id entry window",
    scrubbed_events.ScrubbedEvents: "region source version event contract policy times labels measures texts",
    ledger.LedgerEntry: "region topic partition start end messages batches points committed_ms refused scrubbed skipped "
    "min_window max_window sequence_gaps sequence_repeats sums incarnation policies events noticed unnoticed",
    key_notes.KeyNote: "family key rule shape",
    ledger.DeadLetter: "region topic partition offset reason rows at_ms event detail contract service size hash which sample "
    "again incarnation",
    ledger.SampleRow: "row at_ms fields metric",
    state.StateMessage: "region topic partition form end streams part parts replays incarnation",
    state.StreamState: "digest next heard_s holes",
    state.Hole: "start end since_s",
    keys.KeysMessage: "region topic partition form end slice_s keys part parts",
    keys.Keys: "low high at",  # keyed hashes of an order or a request, for a day
}  # fmt: skip

RAW: Final = {"events", "metrics", "again"}
"""Kinds of message in raw topics."""


@pytest.mark.clickhouse
def test_no_column_of_the_store_is_of_one_person_but_those_that_are_known(store: Store) -> None:
    found = set(store.rows("SELECT table, name FROM system.columns WHERE database = '" + store.database + "'"))
    known = {(table, column) for table, columns in COLUMNS.items() for column in columns.split()}
    known |= {(table, column) for table, _, column in (one.partition(".") for one in PERSON_COLUMNS)}
    assert found - known == set(), "is it of one person? Then `forget` has to know it; classify it above"
    assert known - found == set(), "this is no more"


def test_no_field_on_the_wire_is_of_one_person_but_those_that_are_known() -> None:
    found = {f"{one.__name__}.{each.name}" for one in FIELDS for each in dataclasses.fields(one)}
    known = {f"{one.__name__}.{name}" for one, names in FIELDS.items() for name in names.split()} | PERSON_FIELDS
    assert found - known == set(), "is it of one person? Then it must not be in rollups; classify it above"
    assert known - found == set(), "this is no more"


def test_every_kind_of_message_is_among_them() -> None:
    beside = {"rollups", "distinct", "events_scrubbed", "ledger", "dead", "state", "keys", "contract"}
    assert set(EXAMPLES) == RAW | beside, "what does this kind hold of a person?"
    assert {topic.kind for topic in TOPICS} == {"events", "metrics", "contracts"} | beside - {"keys", "contract"}


def test_rollups_hold_nothing_of_one_person() -> None:
    assert not [one for one in PERSON_COLUMNS if one.startswith("rollups")]
    assert not [one for one in PERSON_FIELDS if one.startswith("Rollup")]
