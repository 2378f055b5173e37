"""Accumulator: what one raw partition has added since its last commit. Batches in, the messages of one transaction out.

Pure: the clock's reading, contracts and keys are given. decode → admit → scrub → roll up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamgauge.processors.admission import BAD_VALUE, MISSING_FIELD, Admitted, admit
from streamgauge.processors.event_table import EventTable, TableRollup, event_metrics
from streamgauge.processors.keys import KeyTable, RecentKeys
from streamgauge.processors.metric_table import MetricTable
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.scrub import DistinctHasher, Scrubber, merge_counts
from streamgauge.processors.sequences import Sequences
from streamgauge.processors.series import SERIES_CONTEXT, Labels, SeriesIndex, canonical_context, canonical_labels
from streamgauge.schemas.columns import Array, Numbers
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import RollupMetric
from streamgauge.schemas.windows import TIERS, tier_index

UNKNOWN_CONTRACT, DUPLICATE_KEY = "unknown_contract", "duplicate_key"
ContractKey = tuple[str, int]
Contracts = Mapping[ContractKey, Contract]


@dataclass(frozen=True, slots=True)
class Tools:
    """What accumulators of one worker share: their memories of values, hashes and series."""

    scrubber: Scrubber
    hasher: DistinctHasher
    policy: TimePolicy = field(default_factory=TimePolicy)
    max_message_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands."""

    region: str
    topic: str
    partition: int


class Accumulator:
    """Adds the batches of one raw partition. Not thread-safe; `roll_up` ends its life."""

    def __init__(
        self, place: Place, tools: Tools, sequences: Sequences | None = None, keys: RecentKeys | None = None
    ) -> None:
        self.place = place
        self.tools = tools
        self.sequences = Sequences() if sequences is None else sequences
        self.keys = RecentKeys(KeyTable()) if keys is None else keys
        self.messages = self.batches = self.points = self.size = 0
        self.refused: Counter[str] = Counter()
        self.scrubbed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.dead: list[DeadLetter] = []
        self.events: dict[tuple[int, int], EventTable] = {}
        self.metrics = MetricTable()

    def add(
        self, offset: int, value: bytes | None, contracts: Contracts, now_ms: int, hold: Callable[[ContractKey], bool]
    ) -> bool:
        """Add the message at `offset`; whatever it holds, it is accounted for. A batch that has come before adds nothing.

        False, and nothing is added, only if its contract is not known yet and `hold` says to wait for it, or if its events
        have idempotency keys and those that have come are not known yet.
        """
        rows = 1
        event = ""
        try:
            batch = decode(value, self.tools.max_message_bytes)
            if isinstance(batch, MetricBatch):
                rows = int(batch.count.sum())
                if self.sequences.first_time(batch.origin, now_ms // 1000):
                    self._add_metrics(batch, offset, now_ms)
            else:
                rows, event = len(batch.times), batch.event
                key = (batch.event, batch.contract)
                contract = contracts.get(key)
                if contract is None:
                    if hold(key):
                        return False
                    raise Refused(UNKNOWN_CONTRACT, f"{batch.event} version {batch.contract}")
                if contract.of_kind("idempotency_key") and not self.keys.ready:
                    self.keys.wanted = True
                    return False
                rows = _points(batch, contract, np.ones(rows, bool))
                if self.sequences.first_time(batch.origin, now_ms // 1000):
                    self._add_events(batch, contract, offset, now_ms)
            self.batches += 1
        except Refused as refused:
            self._refuse(offset, refused, rows, event, now_ms)
        self.messages += 1
        self.size += len(value or b"")
        return True

    def _refuse(self, offset: int, refused: Refused, points: int, event: str, now_ms: int) -> None:
        self.refused[refused.reason] += points
        # an event that no contract declares is called whatever its sender likes
        event, detail = (self.tools.scrubber.value(text)[0] for text in (event, refused.detail))
        self.dead.append(
            DeadLetter(
                self.place.region,
                self.place.topic,
                self.place.partition,
                offset,
                refused.reason,
                points,
                now_ms,
                event,
                detail,
            )
        )

    def _add_events(self, batch: EventBatch, contract: Contract, offset: int, now_ms: int) -> None:
        context = canonical_context(batch.origin.context)
        labels = canonical_labels((key, context[key]) for key in SERIES_CONTEXT if key in context)
        admitted = admit(batch, contract, self.tools.scrubber, self.tools.hasher, context.get("tenant", ""))
        labels = self._clean(labels)
        masks = self.tools.policy.refused(batch.times, now_ms, batch.origin.backfill)
        if admitted.bad is not None:
            masks[BAD_VALUE] = admitted.bad
        if admitted.keys is not None and not admitted.keys[0].all():
            masks[MISSING_FIELD] = admitted.keys[0] == 0
        keep = None
        for reason, mask in masks.items():
            fresh = mask if keep is None else mask & keep
            if points := _points(batch, contract, fresh):
                self._refuse(offset, Refused(reason), points, batch.event, now_ms)
            keep = ~mask if keep is None else keep & ~mask
        merge_counts(self.scrubbed, admitted.scrubbed)
        times = batch.times
        if admitted.keys is not None:
            keep = self._new_keys(batch, contract, admitted.keys, keep, now_ms)
        if keep is not None:
            if not keep.any():
                return
            times, admitted = times[keep], _rows(admitted, keep)
        finest = tier_index(contract.granularity)
        entries = self.tools.policy.entries(times, finest, now_ms)
        if isinstance(entries, int):
            self._add_table(contract, entries, labels, times, admitted)
            return
        for entry in map(int, np.unique(entries)):
            mask = entries == entry
            added = self._add_table(contract, entry, labels, times[mask], _rows(admitted, mask))
            self._skip(finest, entry, added)

    def _new_keys(
        self, batch: EventBatch, contract: Contract, keys: tuple[Array, Array], keep: Array | None, now_ms: int
    ) -> Array | None:
        """The rows to keep: those whose key has come before are left out, without a letter, for they are no mistake."""
        rows = np.arange(len(batch.times)) if keep is None else np.flatnonzero(keep)
        new = self.keys.add(keys[0][rows], keys[1][rows], now_ms // 1000)
        if new.all():
            return keep
        again = np.zeros(len(batch.times), bool)
        again[rows[~new]] = True
        self.refused[DUPLICATE_KEY] += _points(batch, contract, again)
        return ~again if keep is None else keep & ~again

    def _add_table(self, contract: Contract, entry: int, labels: Labels, times: Array, admitted: Admitted) -> int:
        # by identity: a contract that is replaced while a transaction is open may have other fields
        key = (id(contract), entry)
        table = self.events.get(key)
        if table is None:
            table = self.events[key] = EventTable(contract, entry)
        points = table.add(labels, times, admitted.dimensions, admitted.measures, admitted.uniques)
        self.points += points
        return points

    def _skip(self, finest: int, entry: int, points: int) -> None:
        for tier in range(finest, entry):
            self.skipped[TIERS[tier].name] += points

    def _clean(self, labels: Labels) -> Labels:
        cleaned: list[tuple[str, str]] = []
        for name, value in labels:
            text, rules = self.tools.scrubber.value(value)
            self.scrubbed.update(rules)
            cleaned.append((name, text))
        return tuple(cleaned)

    def _add_metrics(self, batch: MetricBatch, offset: int, now_ms: int) -> None:
        masks = self.tools.policy.refused(batch.windows, now_ms, batch.origin.backfill)
        rows = np.arange(len(batch.windows))
        for reason, mask in masks.items():
            if points := int(batch.count[rows][mask[rows]].sum()):
                self._refuse(offset, Refused(reason), points, "", now_ms)
            rows = rows[~mask[rows]]
        if not len(rows):
            return
        codes = self._series_codes(batch, rows)[batch.index[rows]]
        finest = codes[:, 2]
        entry = finest.copy()
        windows = batch.windows[rows]
        for tier in np.unique(finest):
            at = finest == tier
            entry[at] = self.tools.policy.entries(windows[at], int(tier), now_ms)
        moved = finest != entry
        for tier, into in np.unique(np.stack([finest[moved], entry[moved]], axis=1), axis=0).tolist():
            self._skip(tier, into, int(batch.count[rows][(finest == tier) & (entry == into)].sum()))
        widths = np.array([tier.width_ms for tier in TIERS])[entry]
        starts = (windows - windows % widths) // 1000
        values = (batch.count, batch.sum, batch.min, batch.max, batch.last, batch.last_ms)
        columns = (codes[:, 0], codes[:, 1], entry, starts, *(column[rows] for column in values))
        self.metrics.add(columns, _some_buckets(batch, rows))
        self.points += int(batch.count[rows].sum())

    def _series_codes(self, batch: MetricBatch, rows: Array) -> Array:
        """For each series of the batch: metric code, series code and finest tier."""
        context = canonical_context(batch.origin.context)
        shared = [(key, context[key]) for key in SERIES_CONTEXT if key in context]
        own = [*shared, ("instance", context["instance"])] if "instance" in context else shared
        clean = self.tools.scrubber.value
        heads = [RollupMetric(m.name, m.type, m.name, clean(m.unit)[0], m.labels, m.granularity) for m in batch.metrics]
        numbers = [(self.metrics.metric_code(head), tier_index(head.granularity)) for head in heads]
        used = np.bincount(batch.index[rows], minlength=len(batch.series))
        codes = np.zeros((len(batch.series), 3), np.int64)
        for position, one in enumerate(batch.series):
            which: int = one[0]
            values: tuple[str, ...] = one[1:]
            head = heads[which]
            labels: list[tuple[str, str]] = []
            base = own if head.type == "gauge" else shared
            for name, value in [
                *(pair for pair in base if pair[0] not in head.labels),
                *zip(head.labels, values, strict=True),
            ]:
                text, rules = clean(value)
                for rule in rules:
                    self.scrubbed[rule] += int(used[position])
                labels.append((name, text))
            code, tier = numbers[which]
            codes[position] = code, self.metrics.series_code(head.name, canonical_labels(labels)), tier
        return codes

    def roll_up(self, index: SeriesIndex) -> list[tuple[list[RollupMetric], list[RollupMetric], TableRollup]]:
        """Every table's metrics, distinct metrics and rows."""
        rollups = [(*event_metrics(table.contract), table.roll_up(index)) for table in self.events.values()]
        if self.metrics.metrics:
            rollups.append((list(self.metrics.metrics), [], self.metrics.roll_up(index)))
        return rollups


def _points(batch: EventBatch, contract: Contract, mask: Array) -> int:
    points = int(mask.sum())
    for name in contract.of_kind("measure"):
        column = batch.fields.get(name)
        if isinstance(column, Numbers):
            points += int(mask.sum())
            if column.missing is not None:
                points -= int(mask[np.unique(column.missing)].sum())
    return points


def _rows(admitted: Admitted, keep: Array) -> Admitted:
    return Admitted(
        {name: (dictionary, index[keep]) for name, (dictionary, index) in admitted.dimensions.items()},
        {name: _some_numbers(numbers, keep) for name, numbers in admitted.measures.items()},
        {name: (hashes, index[keep]) for name, (hashes, index) in admitted.uniques.items()},
    )


def _some_numbers(numbers: Numbers, keep: Array) -> Numbers:
    if numbers.missing is None:
        return Numbers(numbers.values[keep])
    missing = np.zeros(len(numbers.values), bool)
    missing[numbers.missing] = True
    return Numbers(numbers.values[keep], np.flatnonzero(missing[keep]))


def _some_buckets(batch: MetricBatch, rows: Array) -> tuple[Array, Array, Array] | None:
    if batch.buckets is None or len(rows) == len(batch.windows):
        return batch.buckets
    per_row, keys, counts = batch.buckets
    keep = np.zeros(len(per_row), bool)
    keep[rows] = True
    entries = np.repeat(keep, per_row.astype(np.int64))
    return per_row[rows], keys[entries], counts[entries]
