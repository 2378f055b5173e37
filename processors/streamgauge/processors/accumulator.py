"""Accumulator: what one raw partition has added since its last commit. Batches in, the messages of one transaction out.

Pure: the clock's reading, contracts and keys are given. decode → admit → scrub → roll up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from streamgauge.processors.admission import BAD_VALUE, MISSING_FIELD, Admitted, admit
from streamgauge.processors.cleaner import PERSONAL_NAME, Cleaned
from streamgauge.processors.consents import denied
from streamgauge.processors.event_table import EventTable, TableRollup, event_metrics
from streamgauge.processors.inbox import Notices, Seen
from streamgauge.processors.keys import Halves, KeyTable, RecentKeys
from streamgauge.processors.metric_table import MetricTable
from streamgauge.processors.noticing import notice_event, notice_metrics
from streamgauge.processors.poison import INTERNAL_ERROR
from streamgauge.processors.refusals import Arrival, dead_letter
from streamgauge.processors.replayed import REPEAT, as_told, some_buckets, some_numbers
from streamgauge.processors.residency import WRONG_REGION
from streamgauge.processors.scrub import merge_counts
from streamgauge.processors.sequences import Sequences
from streamgauge.processors.series import SERIES_CONTEXT, Labels, SeriesIndex, canonical_context, canonical_labels
from streamgauge.processors.single_events import SingleEvents
from streamgauge.processors.tools import Place as Place  # readers look for both here
from streamgauge.processors.tools import Tools as Tools
from streamgauge.schemas.again import Again
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import Batch, EventBatch, MetricBatch, decode
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import RollupMetric
from streamgauge.schemas.windows import DAY_MS, TIERS, tier_index

UNKNOWN_CONTRACT, REPEATED_KEY = "unknown_contract", "repeated_key"
ContractKey = tuple[str, int]
Contracts = Mapping[ContractKey, Contract]


class Accumulator:
    """Adds the batches of one raw partition. Not thread-safe; `roll_up` ends its life."""

    def __init__(
        self, place: Place, tools: Tools, sequences: Sequences | None = None, keys: RecentKeys | None = None
    ) -> None:
        self.place = place
        self.tools = tools
        self.sequences = Sequences() if sequences is None else sequences
        self.keys = RecentKeys(KeyTable()) if keys is None else keys
        self.messages = self.batches = self.points = self.size = self.repeats = 0
        self.refused: Counter[str] = Counter()
        self.scrubbed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.policies: set[str] = set()
        self.notices = Notices(tools.inbox, tools.cleaner.name)
        self.dead: list[DeadLetter] = []
        self.events: dict[tuple[int, int], EventTable] = {}
        self.single: dict[int, SingleEvents] = {}
        self.metrics = MetricTable()

    def add(
        self,
        offset: int,
        value: bytes | None,
        contracts: Contracts,
        now_ms: int,
        hold: Callable[[ContractKey], bool],
        again: Again | Refused | None = None,
    ) -> bool:
        """Add the message at `offset`; whatever it holds, it is accounted for. `again` is what its headers say.
        A batch that has come before adds nothing.

        False, and nothing is added, only if its contract is not known yet and `hold` says to wait for it, or if its events
        have idempotency keys and those that have come are not known yet.
        """
        self.tools.scrubber.new_batch()
        arrival = Arrival(offset, value, now_ms, again if isinstance(again, Again) else None)
        rows = 1
        batch: Batch | None = None
        contract: Contract | None = None
        try:
            if isinstance(again, Refused):
                raise again
            batch = decode(value, self.tools.max_message_bytes)
            if arrival.again is not None:
                batch = as_told(batch, arrival.again)
            if isinstance(batch, EventBatch):
                if self.tools.cleaner.personal(batch.event):
                    rows = _size(batch)
                    raise Refused(PERSONAL_NAME)
                key = (batch.event, batch.contract)
                contract = contracts.get(key)
                if contract is None and self._ours(batch) and hold(key):
                    return False
                if contract is not None and contract.of_kind("idempotency_key") and not self.keys.ready:
                    self.keys.wanted = True
                    return False
            if self._first_time(batch, arrival):
                rows = _size(batch)
                self._check_region(batch)
                if isinstance(batch, MetricBatch):
                    self._add_metrics(batch, arrival)
                else:
                    if contract is None:
                        raise Refused(UNKNOWN_CONTRACT, f"{batch.event} version {batch.contract}")
                    rows = _points(batch, contract, np.ones(rows, bool))
                    if not self.tools.residency.may_process(contract):
                        raise Refused(WRONG_REGION, f"{contract.name} may be processed elsewhere")
                    self._add_events(batch, contract, arrival)
            self.batches += 1
        except Refused as refused:
            self._refuse(arrival, refused, rows, batch, contract)
        self._count(value)
        return True

    def _first_time(self, batch: Batch, arrival: Arrival) -> bool:
        # the number of a replay came with the message that was refused; what recognises replays is `add_repeat`'s caller
        return arrival.again is not None or self.sequences.first_time(batch.origin, arrival.now_ms // 1000)

    def _ours(self, batch: Batch) -> bool:
        return self.tools.residency.accepts(canonical_context(batch.origin.context).get("region", ""))

    def _check_region(self, batch: Batch) -> None:
        if not self._ours(batch):
            raise Refused(WRONG_REGION, "the batch names another region")

    def add_repeat(self, value: bytes | None) -> None:
        """Account for a replay that came before: a message, and nothing of it."""
        self.refused[REPEAT] += 0
        self.repeats += 1
        self._count(value)

    def add_poison(self, offset: int, value: bytes | None, now_ms: int, place: str, again: Again | None = None) -> None:
        """Account for a message that cannot be processed: `place` says where that failed. A letter is left, and no more."""
        points = 1
        with suppress(Exception):
            batch = decode(value, self.tools.max_message_bytes)
            points = _size(batch)
        self._refuse(Arrival(offset, value, now_ms, again), Refused(INTERNAL_ERROR, place), points)
        self._count(value)

    def _count(self, value: bytes | None) -> None:
        self.messages += 1
        self.size += len(value or b"")

    def _refuse(
        self,
        arrival: Arrival,
        refused: Refused,
        points: int,
        batch: Batch | None = None,
        contract: Contract | None = None,
        rows: Array | None = None,
    ) -> None:
        self.refused[refused.reason] += points
        self.dead.append(dead_letter(self.place, self.tools, arrival, refused, points, batch, contract, rows))

    def _add_events(self, batch: EventBatch, contract: Contract, arrival: Arrival) -> None:
        context = canonical_context(batch.origin.context)
        labels = canonical_labels((key, context[key]) for key in SERIES_CONTEXT if key in context)
        admitted = admit(batch, contract, self.tools.cleaner, self.tools.hasher, context.get("tenant", ""))
        self.policies.add(self.tools.cleaner.policy(contract).version)
        clean, changed = self._clean(labels)
        keep = self._consented(batch, contract)
        self._add_rows(batch, contract, arrival, admitted, clean, keep)
        day = arrival.now_ms // DAY_MS
        notice_event(self.notices, self.tools.cleaner, batch, contract, admitted, changed, keep, day)

    def _add_rows(
        self,
        batch: EventBatch,
        contract: Contract,
        arrival: Arrival,
        admitted: Admitted,
        labels: Labels,
        keep: Array | None,
    ) -> None:
        now_ms = arrival.now_ms
        masks = self.tools.policy.refused(batch.times, now_ms, batch.origin.backfill)
        if admitted.bad is not None:
            masks[BAD_VALUE] = admitted.bad
        if admitted.keys is not None and not admitted.keys[0].all():
            masks[MISSING_FIELD] = admitted.keys[0] == 0
        for reason, mask in masks.items():
            fresh = mask if keep is None else mask & keep
            if points := _points(batch, contract, fresh):
                self._refuse(arrival, Refused(reason), points, batch, contract, np.flatnonzero(fresh))
            keep = ~mask if keep is None else keep & ~mask
        merge_counts(self.scrubbed, admitted.scrubbed)
        times = batch.times
        if admitted.keys is not None:
            keep = self._new_keys(batch, contract, (admitted.keys, *admitted.earlier_keys), keep, now_ms)
        if keep is not None:
            if not keep.any():
                return
            times, admitted = times[keep], _rows(admitted, keep)
        if contract.store_events:
            self._keep_single(batch, contract, labels, keep, times, admitted)
        finest = tier_index(contract.granularity)
        entries = self.tools.policy.entries(times, finest, now_ms)
        if isinstance(entries, int):
            self._add_table(contract, entries, labels, times, admitted)
            return
        for entry in map(int, np.unique(entries)):
            mask = entries == entry
            added = self._add_table(contract, entry, labels, times[mask], _rows(admitted, mask))
            self._skip(finest, entry, added)

    def _consented(self, batch: EventBatch, contract: Contract) -> Array | None:
        """The rows to keep (None: all). The others are left out without a letter: nobody may keep them for later."""
        keep = None
        for reason, mask in denied(batch, contract).items():
            self.refused[reason] += _points(batch, contract, mask)
            keep = ~mask if keep is None else keep & ~mask
        return keep

    def _new_keys(
        self, batch: EventBatch, contract: Contract, keys: Sequence[Halves], keep: Array | None, now_ms: int
    ) -> Array | None:
        """The rows to keep: those whose key has come before are left out, without a letter, for they are no mistake.

        A row's key may have come while we hashed keys in another way: it is new if it is new in every way.
        """
        rows = np.arange(len(batch.times)) if keep is None else np.flatnonzero(keep)
        new = np.ones(len(rows), bool)
        for low, high in keys:
            new &= self.keys.add(low[rows], high[rows], now_ms // 1000)
        if new.all():
            return keep
        again = np.zeros(len(batch.times), bool)
        again[rows[~new]] = True
        self.refused[REPEATED_KEY] += _points(batch, contract, again)
        return ~again if keep is None else keep & ~again

    def _keep_single(
        self,
        batch: EventBatch,
        contract: Contract,
        labels: Labels,
        keep: Array | None,
        times: Array,
        admitted: Admitted,
    ) -> None:
        """Keep the rows that count by themselves as well: exactly those. What they take counts for the next commit."""
        tenant = canonical_context(batch.origin.context).get("tenant", "")
        policy = self.tools.cleaner.policy(contract)
        tokens: dict[str, Strings] = {}
        texts: dict[str, Strings] = {}
        for name, declared in contract.fields.items():
            column = batch.fields.get(name)
            if declared.kind not in {"unique", "free_text"} or not isinstance(column, Strings):
                continue
            column = column if keep is None else Strings(column.dictionary, column.index[keep])
            if declared.kind == "unique":
                tokens[name] = self.tools.hasher.tokens.column(f"{contract.name}.{name}", tenant, column, times)
            else:
                texts[name], changed = self.tools.cleaner.texts(policy.action(name), column)
                merge_counts(self.scrubbed, changed)
        dimensions = {
            name: Strings(list(dictionary), index) for name, (dictionary, index) in admitted.dimensions.items()
        }
        single = self.single.get(id(contract))
        if single is None:
            single = self.single[id(contract)] = SingleEvents(contract, policy.version)
        self.size += single.add(labels, times, dimensions, admitted.measures, tokens, texts)

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

    def _clean(self, labels: Labels) -> tuple[Labels, dict[str, Cleaned]]:
        """The clean labels; and of those that were changed what they were, with the rules that changed them."""
        cleaned: list[tuple[str, str]] = []
        changed: dict[str, Cleaned] = {}
        for name, value in labels:
            text, rules = self.tools.cleaner.label(name, value)
            if rules:
                self.scrubbed.update(rules)
                changed[name] = value, rules
            cleaned.append((name, text))
        return tuple(cleaned), changed

    def _add_metrics(self, batch: MetricBatch, arrival: Arrival) -> None:
        now_ms = arrival.now_ms
        masks = self._refused_names(batch) | self.tools.policy.refused(batch.windows, now_ms, batch.origin.backfill)
        rows = np.arange(len(batch.windows))
        for reason, mask in masks.items():
            if points := int(batch.count[rows][mask[rows]].sum()):
                self._refuse(arrival, Refused(reason), points, batch, None, rows[mask[rows]])
            rows = rows[~mask[rows]]
        if not len(rows):
            return
        self.policies.add(self.tools.cleaner.label_policy)
        codes = self._series_codes(batch, rows, now_ms // DAY_MS)[batch.index[rows]]
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
        self.metrics.add(columns, some_buckets(batch, rows))
        self.points += int(batch.count[rows].sum())

    def _series_codes(self, batch: MetricBatch, rows: Array, day: int) -> Array:
        """For each series of the batch: metric code, series code and finest tier."""
        context = canonical_context(batch.origin.context)
        shared = [(key, context[key]) for key in SERIES_CONTEXT if key in context]
        own = [*shared, ("instance", context["instance"])] if "instance" in context else shared
        cleaner, unit, known = self.tools.cleaner, self.tools.scrubber.value, self.notices.known
        plans = [cleaner.plan(m.labels) for m in batch.metrics]
        heads = [
            RollupMetric(m.name, m.type, m.name, unit(m.unit)[0], tuple(name for name, _, _ in plan), m.granularity)
            for m, plan in zip(batch.metrics, plans, strict=True)
        ]
        context_labels = [
            [
                (name, cleaner.label(name, value))
                for name, value in (own if h.type == "gauge" else shared)
                if name not in h.labels
            ]
            for h in heads
        ]
        used = np.bincount(batch.index[rows], minlength=len(batch.series))
        codes = np.zeros((len(batch.series), 3), np.int64)
        hits: dict[Seen, str] = {}
        for position, one in enumerate(batch.series):
            if not used[position]:  # of what is refused not even the name goes on
                continue
            which: int = one[0]
            head, plan = heads[which], plans[which]
            labels: list[tuple[str, str]] = []
            changed: tuple[str, ...] = () if len(plan) == len(one) - 1 else (PERSONAL_NAME,)
            for name, (text, rules) in context_labels[which]:
                labels.append((name, text))
                if rules:
                    changed += rules
                    for rule in rules:
                        if not known(head.name, name, rule, day):
                            hits.setdefault((head.name, name, rule), context[name])
            for name, place, clean in plan:
                text, rules = clean(one[place])
                labels.append((name, text))
                if rules:
                    changed += rules
                    for rule in rules:
                        if not known(head.name, name, rule, day):
                            hits.setdefault((head.name, name, rule), one[place])
            for rule in changed:
                self.scrubbed[rule] += int(used[position])
            series = self.metrics.series_code(head.name, canonical_labels(labels))
            codes[position] = self.metrics.metric_code(head), series, tier_index(head.granularity)
        marked = self.notices.marked
        fresh = [which for which, m in enumerate(batch.metrics) if m.labels and not marked((m.name, m.labels), day)]
        if fresh or hits:
            notice_metrics(self.notices, batch, fresh, plans, hits, used, day)
        return codes

    def _refused_names(self, batch: MetricBatch) -> dict[str, Array]:
        """Rows of metrics whose own name is personal, and of series that say that they are another region's."""
        cleaner, accepts = self.tools.cleaner, self.tools.residency.accepts
        found: dict[str, Array] = {}
        personal = np.array([cleaner.personal(m.name) for m in batch.metrics], bool)
        if personal.any():
            found[PERSONAL_NAME] = personal[np.array([int(one[0]) for one in batch.series], np.int64)][batch.index]
        places = [m.labels.index("region") + 1 if "region" in m.labels else 0 for m in batch.metrics]
        if any(places):
            named = [(places[int(one[0])], one) for one in batch.series]
            foreign = [bool(place) and not accepts(str(one[place])) for place, one in named]
            if any(foreign):
                found[WRONG_REGION] = np.array(foreign, bool)[batch.index]
        return found

    def roll_up(self, index: SeriesIndex) -> list[tuple[list[RollupMetric], list[RollupMetric], TableRollup]]:
        """Every table's metrics, distinct metrics and rows."""
        rollups = [(*event_metrics(table.contract), table.roll_up(index)) for table in self.events.values()]
        if self.metrics.metrics:
            rollups.append((list(self.metrics.metrics), [], self.metrics.roll_up(index)))
        return rollups


def _size(batch: Batch) -> int:
    """Points of metrics, or events, that a batch says it has."""
    return int(batch.count.sum()) if isinstance(batch, MetricBatch) else len(batch.times)


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
        {name: some_numbers(numbers, keep) for name, numbers in admitted.measures.items()},
        {name: (hashes, index[keep]) for name, (hashes, index) in admitted.uniques.items()},
    )
