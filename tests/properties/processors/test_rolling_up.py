"""Whatever arrives, in whatever order and however it is cut into transactions, adds up to what plain counting gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.histogram import bucket_of
from streamgauge.schemas.windows import TIERS, tier_index
from tests.unit.processors.raw import KEY, NOW, ORDER, ORDER_2, Sample, committed, events, metrics, tools
from tests.unit.processors.totals import Cell, CellKey, Totals

DAY = 86_400_000
KEPT = (DAY, 3 * DAY, -1, -1)
POLICY = TimePolicy(retention_ms=KEPT)
AGES = (0, 1, 9_999, 10_000, 59_999, 61_000, DAY, DAY + 1, 2 * DAY, 3 * DAY + 1, 7 * DAY, 7 * DAY + 1, 30 * DAY)
FUTURE = (0, -600_000, -600_001, -DAY)
FAMILY = ("service", "environment", "region", "tenant", "country", "operation", "status")

Row = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """A batch of events before it is encoded."""

    contract: Contract
    context: Mapping[str, str]
    rows: Sequence[Row]
    backfill: bool

    def message(self) -> bytes:
        """As it travels."""
        return events(self.rows, self.contract, self.context, self.backfill)


words = st.sampled_from(["AU", "NZ", "jp", "jane@example.com", "joe@example.org", "", None, "ü"])
numbers = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 1e-200, -1e150, 1e200, -1e300, 5e-324]),
    st.floats(-1e9, 1e9),
)
people = st.sampled_from(["c1", "c2", " c2 ", "c3", "", "  ", None])


def fields_of(contract: Contract) -> st.SearchStrategy[Row]:
    """Rows of a contract, where any field may be missing."""
    values: dict[str, st.SearchStrategy[Any]] = {"dimension": words, "measure": numbers, "unique": people}
    given: dict[str, st.SearchStrategy[Any]] = {
        name: values.get(one.kind, words) for name, one in contract.fields.items()
    }
    if "segment" in given:
        given["segment"] = st.sampled_from(["free", "pro", None, "other"])
    times = st.sampled_from([*(NOW - age for age in AGES), *(NOW - age for age in FUTURE)])
    return st.fixed_dictionaries({"time": times}, optional=given)


contexts = st.dictionaries(
    st.sampled_from(
        ["service", "service.name", "environment", "country", "tenant", "instance", "version", "shoe_size"]
    ),
    st.sampled_from(["shop", "eu", "t1", "t2", ""]),
    max_size=4,
)
batches = st.one_of(
    *(
        st.builds(
            Batch, st.just(contract), contexts, st.lists(fields_of(contract), min_size=1, max_size=8), st.booleans()
        )
        for contract in (ORDER, ORDER_2)
    )
)


def clean(value: str | None) -> str:
    """What scrubbing makes of the words above."""
    return "[email]" if value and "@" in value else value or ""


def labels_of(context: Mapping[str, str]) -> dict[str, str]:
    """The context's part of the labels."""
    known = {"service": context["service.name"]} if "service.name" in context else {}
    known |= context
    return {key: known[key] for key in FAMILY if key in known}


def entry_of(time: int, finest: int) -> int:
    """The finest tier that keeps an instant."""
    return next(tier for tier in range(finest, len(TIERS)) if KEPT[tier] < 0 or time >= NOW - KEPT[tier])


def hash_of(event: str, field: str, tenant: str, value: str) -> int:
    """The documented keyed hash, computed anew."""
    purpose = f"sg distinct\0local\0{tenant}\0{event}.{field}".encode()
    subkey = blake2b(purpose, key=KEY, digest_size=32).digest()
    return int.from_bytes(blake2b(value.strip().encode(), key=subkey, digest_size=8).digest(), "little") or 1


def refusal(batch: Batch, row: Row) -> str | None:
    """Why a row is refused; the first reason counts."""
    if not batch.backfill and row["time"] < NOW - 7 * DAY:
        return "too_old"
    if not batch.backfill and row["time"] > NOW + 600_000:
        return "in_the_future"
    if row.get("segment") == "other":
        return "bad_value"
    return None


@dataclass
class Expected:
    """What plain counting gives."""

    cells: dict[CellKey, Cell]
    distinct: dict[CellKey, set[int]]
    refused: Counter[str]
    points: int = 0


def count(given: Sequence[Batch]) -> Expected:
    """Plain counting, row by row."""
    found = Expected({}, {}, Counter())
    for batch in given:
        contract, tenant = batch.contract, labels_of(batch.context).get("tenant", "")
        for row in batch.rows:
            present = {m: row[m] for m in contract.of_kind("measure") if row.get(m) is not None}
            if reason := refusal(batch, row):
                found.refused[reason] += 1 + len(present)
                continue
            found.points += 1 + len(present)
            labels = labels_of(batch.context)
            labels |= {name: clean(row.get(name)) for name in contract.of_kind("dimension")}
            entry = entry_of(row["time"], tier_index(contract.granularity))
            window = row["time"] // TIERS[entry].width_ms * TIERS[entry].width_ms // 1000
            place = (tuple(sorted((k, v) for k, v in labels.items() if v)), entry, window)
            cell = found.cells.setdefault((contract.name, *place), Cell(min=0.0, max=0.0))
            cell.count += 1
            cell.sum += 1
            for name, value in present.items():
                cell = found.cells.setdefault((f"{contract.name}.{name}", *place), Cell())
                cell.count += 1
                cell.sum += value
                cell.min, cell.max = min(cell.min, value), max(cell.max, value)
                cell.hist[bucket_of(value)] += 1
            for name in contract.of_kind("unique"):
                if (row.get(name) or "").strip():
                    hashes = found.distinct.setdefault((f"{contract.name}.{name}", *place), set())
                    hashes.add(hash_of(contract.name, name, tenant, row[name]))
    return found


def transactions(messages: Sequence[bytes], cuts: set[int]) -> Totals:
    """Commit after each of the cuts, as one worker does over time."""
    shared, index, totals = tools(POLICY), SeriesIndex(), Totals()
    edges = sorted({0, len(messages), *(cut % len(messages) for cut in cuts)})
    for start, end in pairwise(edges):
        made, entry = committed(messages[start:end], with_tools=shared, index=index, start=start)
        totals.read(made)
        assert totals.ledger[-1] == entry
    return totals


several = st.lists(batches, min_size=1, max_size=5)
cutting = st.sets(st.integers(0, 4), max_size=3)


@settings(max_examples=250)
@given(several, cutting)
def test_events_add_up_to_what_plain_counting_gives(given: list[Batch], cuts: set[int]) -> None:
    totals, expected = transactions([one.message() for one in given], cuts), count(given)
    assert totals.cells == expected.cells
    assert totals.distinct == expected.distinct
    assert totals.refused == +expected.refused
    assert totals.points == expected.points


@settings(max_examples=100)
@given(several, cutting, st.randoms(use_true_random=False))
def test_the_order_of_batches_never_changes_a_rollup(given: list[Batch], cuts: set[int], source: Any) -> None:
    shuffled = list(given)
    source.shuffle(shuffled)
    one, other = (transactions([b.message() for b in some], cuts) for some in (given, shuffled))
    assert one.cells == other.cells
    assert one.distinct == other.distinct
    assert one.refused == other.refused


@settings(max_examples=100)
@given(several)
def test_points_by_day_and_tier_are_those_of_the_rows(given: list[Batch]) -> None:
    totals = transactions([one.message() for one in given], set())
    days: Counter[tuple[int, int]] = Counter()
    for (_, _, entry, window), cell in totals.cells.items():
        days[entry, window // 86_400] += cell.count
    (written,) = totals.ledger
    assert written.points == dict(days)
    windows = [window for _, _, _, window in totals.cells]
    assert (written.min_window, written.max_window) == (min(windows, default=0), max(windows, default=0))
    # what skipped a tier is counted under each tier it skipped
    finest = {"order": 0, "order.amount": 0, "order.items": 0}
    assert sum(written.skipped.values()) <= sum(
        cell.count * (tier - min(tier, finest.get(metric, 0))) for (metric, _, tier, _), cell in totals.cells.items()
    )


@settings(max_examples=60)
@given(several, st.integers(300, 3_000), st.integers(1, 3))
def test_however_small_the_messages_nothing_is_lost(given: list[Batch], size: int, parts: int) -> None:
    messages = [one.message() for one in given]
    whole = Totals().read(committed(messages, with_tools=tools(POLICY))[0])
    policy = OutputPolicy(rollup_partitions=3, distinct_partitions=2, max_bytes=size, max_parts=parts)
    cut = Totals().read(committed(messages, with_tools=tools(POLICY), policy=policy)[0])
    assert (cut.cells, cut.distinct) == (whole.cells, whole.distinct)


HEADS = (
    MetricHead("requests", "counter", "1", ("route", "code")),
    MetricHead("depth", "gauge", "", ("route",)),
    MetricHead("latency", "histogram", "s", ("route",), "1m"),
    MetricHead("plain", "counter", "", (), "1h"),
)
values = st.sampled_from([0.0, 1.0, -2.0, 0.25, 1e9])


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A point of one of the metrics."""
    head = draw(st.sampled_from(HEADS))
    labels = tuple(draw(st.sampled_from(["/a", "/b", "", "jane@example.com"])) for _ in head.labels)
    ages = [age for age in AGES if age <= 7 * DAY + 1]
    window = (NOW - draw(st.sampled_from(ages))) // 10_000 * 10_000
    n, total = draw(st.integers(0, 5)), draw(values)
    if head.type == "counter":
        return Sample(head, labels, window, n, total)
    low, high, last = draw(values), draw(values), draw(values)
    buckets = (
        draw(st.dictionaries(st.integers(-5, 5), st.integers(1, 9), max_size=3)) if head.type == "histogram" else {}
    )
    return Sample(head, labels, window, n, total, low, high, last, window + draw(st.integers(0, 3)), buckets)


metric_batches = st.lists(
    st.tuples(st.lists(samples(), min_size=1, max_size=8), contexts, st.booleans()), min_size=1, max_size=4
)
MetricBatches = list[tuple[list[Sample], dict[str, str], bool]]


def count_metrics(given: MetricBatches) -> Expected:
    """Plain merging, point by point."""
    found = Expected({}, {}, Counter())
    for points, context, backfill in given:
        for one in points:
            if not backfill and one.window < NOW - 7 * DAY:
                found.refused["too_old"] += one.count
                continue
            found.points += one.count
            labels = labels_of(context)
            if one.head.type == "gauge" and "instance" in context:
                labels["instance"] = context["instance"]
            labels |= {name: clean(value) for name, value in zip(one.head.labels, one.labels, strict=True)}
            entry = entry_of(one.window, tier_index(one.head.granularity))
            window = one.window // TIERS[entry].width_ms * TIERS[entry].width_ms // 1000
            key = (one.head.name, tuple(sorted((k, v) for k, v in labels.items() if v)), entry, window)
            cell = found.cells.setdefault(key, Cell())
            cell.count += one.count
            cell.sum += one.sum
            cell.min, cell.max = min(cell.min, one.min), max(cell.max, one.max)
            cell.last = max(cell.last, (one.last_ms, one.last))
            cell.hist.update(one.buckets)
    return found


def without_last_of_counters(totals: Mapping[CellKey, Cell]) -> dict[CellKey, Cell]:
    """A counter has no last value; its batch may carry one for the sake of another metric."""
    return {
        key: Cell(cell.count, cell.sum, 0.0, 0.0) if key[0] in {"requests", "plain"} else cell
        for key, cell in totals.items()
    }


@settings(max_examples=250)
@given(metric_batches, cutting, st.randoms(use_true_random=False))
def test_metrics_add_up_and_the_latest_value_wins_in_any_order(
    given: MetricBatches, cuts: set[int], source: Any
) -> None:
    messages = [metrics(points, context, backfill) for points, context, backfill in given]
    source.shuffle(messages)
    totals, expected = transactions(messages, cuts), count_metrics(given)
    assert without_last_of_counters(totals.cells) == without_last_of_counters(expected.cells)
    assert +totals.refused == +expected.refused
    assert totals.points == expected.points


@settings(max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_are_accounted_for_and_take_nothing_down(value: bytes, garbage: int) -> None:
    good = events([{"time": NOW, "country": "AU", "amount": 2.0}])
    cut = good[: len(good) * garbage // 4] + value
    totals = Totals().read(committed([value, good, cut, None])[0])
    assert totals.ledger[0].messages == 4
    assert totals.points == 2
    assert sum(totals.refused.values()) == len(totals.dead) == 3
