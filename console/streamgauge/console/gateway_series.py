"""Series of the gateway: found by sender, metric and tags, within budgets. Whatever is beyond them still counts.

A metric's label names are not declared by anybody here: each set of tag names that is seen makes a head of its own under
the metric's name, which the store unites into one metric.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from streamgauge.console.gateway_account import Refusal
from streamgauge.console.gateway_cells import Series
from streamgauge.console.gateway_names import RESERVED
from streamgauge.console.gateway_senders import Sender
from streamgauge.processors.detectors import scrub_text
from streamgauge.producers.aggregate import OVERFLOW
from streamgauge.producers.gains import Taken
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.names import MAX_LABELS

log = logging.getLogger("streamgauge.gateway")

ROWS = 2_000
IDLE_MS = 600_000
STEPPED_IDLE_MS = 86_400_000
"""A gauge that is moved by steps is kept for so long: its value is known nowhere else."""
Labels = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much of everything. `series` is of one metric and sender."""

    metrics: int = 5_000
    tag_sets: int = 32
    series: int = 2_000
    all_series: int = 200_000


@dataclass(slots=True)
class Declared:
    """A metric's name as the first sender used it, and the heads of its tag sets."""

    type: str
    unit: str
    heads: dict[tuple[str, ...], MetricHead] = field(default_factory=dict[tuple[str, ...], MetricHead])
    names: set[str] = field(default_factory=set[str])
    used_ms: int = 0


@dataclass(slots=True)
class Kept:
    """The series of one metric and sender, by head and values."""

    series: dict[tuple[MetricHead, tuple[str, ...]], Series] = field(
        default_factory=dict[tuple[MetricHead, tuple[str, ...]], Series]
    )
    overflow: dict[MetricHead, Series] = field(default_factory=dict[MetricHead, Series])


class SeriesIndex:
    """All series. `find` may refuse; what it finds is recorded to directly. One thread only."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._declared: dict[str, Declared] = {}
        self._kept: dict[tuple[Sender, str], Kept] = {}
        self._own: set[str] = set()
        self._count = 0
        self._dirty: dict[Sender, list[Series]] = {}

    def find(
        self, sender: Sender, name: str, kind: str, unit: str, labels: Labels, now_ms: int
    ) -> tuple[Series, tuple[str, ...]]:
        """The series of these labels (as `label_values` makes them), and in which ways it is another.

        Raises Refusal: `type_conflict` and `unit_conflict` with what has the name already, `too_many_metrics`.
        """
        declared = self._declaration(name, kind, unit, now_ms)
        head, values, adjusted = self._head(name, declared, labels)
        kept = self._kept.setdefault((sender, name), Kept())
        one = kept.series.get((head, values))
        if one is None:
            if len(kept.series) >= self._budgets.series or self._count >= self._budgets.all_series:
                one = self._overflow(sender, kept, head)
                adjusted = (*adjusted, "series_overflow")
            else:
                one = kept.series[head, values] = self._made(sender, head, values)
        one.used_ms = now_ms
        return one, adjusted

    def _declaration(self, name: str, kind: str, unit: str, now_ms: int) -> Declared:
        declared = self._declared.get(name)
        if declared is None:
            if len(self._declared) >= self._budgets.metrics + len(self._own) and not name.startswith(RESERVED):
                raise Refusal("too_many_metrics")
            declared = self._declared[name] = Declared(kind, unit)
            if name.startswith(RESERVED):
                self._own.add(name)
        elif declared.type != kind:
            raise Refusal("type_conflict")
        elif declared.unit != unit:
            raise Refusal("unit_conflict")
        declared.used_ms = now_ms
        return declared

    def _head(
        self, name: str, declared: Declared, labels: Labels
    ) -> tuple[MetricHead, tuple[str, ...], tuple[str, ...]]:
        pairs = tuple(labels)
        keys = tuple(key for key, _ in pairs)
        head = declared.heads.get(keys)
        if head is not None:
            return head, tuple(value for _, value in pairs), ()
        names = declared.names.union(keys)
        if keys and (len(declared.heads) >= self._budgets.tag_sets or len(names) > MAX_LABELS):
            if () not in declared.heads:
                log.warning(
                    "metric %s has more sets of tag names than it may: further ones count without tags",
                    scrub_text(name)[0],
                )
            return self._bare(name, declared), (), ("tags_dropped",)
        declared.names = names
        head = declared.heads[keys] = MetricHead(name, declared.type, declared.unit, keys)
        return head, tuple(value for _, value in pairs), ()

    def _bare(self, name: str, declared: Declared) -> MetricHead:
        head = MetricHead(name, declared.type, declared.unit)
        return declared.heads.setdefault((), head)

    def _made(self, sender: Sender, head: MetricHead, values: tuple[str, ...]) -> Series:
        self._count += 1
        return Series(head, values, self._dirty.setdefault(sender, []))

    def _overflow(self, sender: Sender, kept: Kept, head: MetricHead) -> Series:
        if (one := kept.overflow.get(head)) is None:
            log.warning(
                "metric %s has more series of one sender than it may: further ones share one", scrub_text(head.name)[0]
            )
            one = Series(head, (OVERFLOW,) * len(head.labels), self._dirty.setdefault(sender, []))
            kept.overflow[head] = one
        return one

    def take(self, now_ms: int) -> Iterator[tuple[Sender, list[Taken]]]:
        """What series gained, by sender, some thousand rows at a time. What is not asked for stays where it is."""
        for sender, dirty in self._dirty.items():
            while dirty:
                sender.used_ms = now_ms
                found: list[Taken] = []
                while dirty and len(found) < ROWS:
                    one = dirty.pop()
                    one.used_ms = now_ms
                    self._declared[one.head.name].used_ms = now_ms
                    found.extend(one.take())
                yield sender, found

    def coarsen(self, width_ms: int) -> None:
        """Merge the windows that wait into windows of this width: counts and sums stay, memory shrinks."""
        for dirty in self._dirty.values():
            for one in dirty:
                one.coarsen(width_ms)

    def sweep(self, now_ms: int, gone: Iterable[Sender] = ()) -> None:
        """Forget series and names that rested, and those of senders that are gone. What holds something stays."""
        forgotten = set(gone)
        for key, kept in list(self._kept.items()):
            for place, one in list(kept.series.items()):
                idle = key[0] in forgotten or now_ms - one.used_ms > (STEPPED_IDLE_MS if one.stepped else IDLE_MS)
                if idle and not len(one):
                    one.live = False
                    del kept.series[place]
                    self._count -= 1
            if not kept.series and not any(map(len, kept.overflow.values())):
                for one in kept.overflow.values():
                    one.live = False
                del self._kept[key]
        active = {sender for sender, _ in self._kept}
        for sender in [sender for sender, dirty in self._dirty.items() if sender not in active and not dirty]:
            del self._dirty[sender]
        in_use = {name for _, name in self._kept}
        for name in [name for name in self._declared if name not in in_use]:
            if now_ms - self._declared[name].used_ms > IDLE_MS:
                del self._declared[name]
                self._own.discard(name)

    def cells(self) -> int:
        """Windows that hold something."""
        return sum(len(one) for dirty in self._dirty.values() for one in dirty)

    def __len__(self) -> int:
        return self._count
