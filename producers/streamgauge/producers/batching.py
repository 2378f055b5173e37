"""Batching: what was taken as encoded batches, each with the next number of its stream, none above the size bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.gains import Gains, encode_gains, points_by_name, slices
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import MAX_SPAN_MS, Context, Origin, encode_events
from streamgauge.schemas.contracts import Contract

T = TypeVar("T")
GiveUp = Callable[[Mapping[str, int], str], None]
"""Told of points that cannot be sent, and why."""


@dataclass(slots=True, eq=False)
class Batch:
    """One encoded message. Its bytes hold its number, so it is sent again as it is, never anew.

    `order` grows with every batch of a producer; `attempts` and `retry_at` (monotonic seconds) belong to the outbox.
    """

    topic: str
    key: bytes
    value: bytes
    points: Mapping[str, int]
    order: int
    attempts: int = 0
    retry_at: float = 0.0

    def __lt__(self, other: Batch) -> bool:
        return self.order < other.order


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one batch."""

    rows: int = 2_000
    bytes: int = 512 << 10


class Part(Protocol):
    """What may become one batch."""

    def encode(self, origin: Origin) -> bytes:
        """The batch. Raises whatever is wrong with one of the items."""
        ...

    def points(self) -> Mapping[str, int]:
        """Its points, by name."""
        ...

    def halves(self) -> Iterable[Part]:
        """The same in two."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class MetricPart:
    """Points of metrics."""

    gains: Sequence[Gains]

    def encode(self, origin: Origin) -> bytes:
        """The batch."""
        return encode_gains(origin, self.gains)

    def points(self) -> Mapping[str, int]:
        """Points, by metric."""
        return points_by_name(self.gains)

    def halves(self) -> Iterable[Part]:
        """The same in two."""
        return map(MetricPart, slices(self.gains, (len(self) + 1) // 2))

    def __len__(self) -> int:
        return sum(map(len, self.gains))


@dataclass(frozen=True, slots=True)
class EventPart:
    """Events of one kind and stream."""

    kind: EventRows
    rows: Sequence[Row]

    def encode(self, origin: Origin) -> bytes:
        """The batch."""
        return encode_rows(origin, self.kind, self.rows)

    def points(self) -> Mapping[str, int]:
        """Points of the events."""
        return {self.kind.name: self.kind.points(self.rows)}

    def halves(self) -> Iterable[Part]:
        """The same in two."""
        middle = len(self.rows) // 2
        return EventPart(self.kind, self.rows[:middle]), EventPart(self.kind, self.rows[middle:])

    def __len__(self) -> int:
        return len(self.rows)


class Batcher:
    """Numbers and encodes the batches of one instance and epoch. Not thread-safe: one thread batches at a time."""

    def __init__(self, context: Context, stream: str, epoch: int, limits: Limits, give_up: GiveUp) -> None:
        self._context = context
        self._stream = stream
        self._epoch = epoch
        self._limits = limits
        self._give_up = give_up
        self._next: Counter[tuple[str, str]] = Counter()
        self._made = 0

    def metrics(self, topic: str, gains: Sequence[Gains]) -> Iterator[Batch]:
        """Batches of metric points."""
        starts = [one.window_ms for one in gains]
        ends = [max(one.spread.last_ms, default=0) if one.spread else one.window_ms for one in gains]
        for run in runs(gains, starts, ends):
            for part in slices(run, self._limits.rows):
                yield from self._batches(topic, self._stream, MetricPart(part))

    def events(self, topic: str, kind: EventRows, rows: Sequence[Row]) -> Iterator[Batch]:
        """Batches of events of one kind, by stream."""
        streams: dict[str, list[Row]] = {}
        for row in rows:
            streams.setdefault(kind.stream(row, self._stream), []).append(row)
        for stream, own in streams.items():
            times = [row[0] for row in own]
            for run in runs(own, times, times):
                for start in range(0, len(run), self._limits.rows):
                    part = EventPart(kind, run[start : start + self._limits.rows])
                    yield from self._batches(topic, stream, part)

    def contract(self, topic: str, contract: Contract) -> Batch:
        """The contract itself, for a deployment where nobody else makes it known. It holds no points."""
        self._made += 1
        return Batch(topic, contract.key(), contract.dump(), {}, self._made)

    def _batches(self, topic: str, stream: str, part: Part) -> Iterator[Batch]:
        origin = Origin(self._context, stream, self._epoch, self._next[topic, stream])
        try:
            value = part.encode(origin)
        except Exception:  # whatever is wrong with one item must not cost the others their way
            value = b""
        if len(part) > 1 and not 0 < len(value) <= self._limits.bytes:
            for half in part.halves():
                yield from self._batches(topic, stream, half)
            return
        if not value:
            self._give_up(part.points(), "not_encodable")
            return
        self._next[topic, stream] += 1
        self._made += 1
        yield Batch(topic, stream.encode(), value, part.points(), self._made)


def runs(items: Sequence[T], starts: Sequence[int], ends: Sequence[int]) -> Iterator[Sequence[T]]:
    """Parts whose times fit one batch, in the order given unless times lie too far apart.

    `starts` and `ends` hold the earliest and the latest time of each item, in ms.
    """
    if not items:
        return
    if max(ends) - min(starts) <= MAX_SPAN_MS:
        yield items
        return
    order = sorted(range(len(items)), key=starts.__getitem__)
    run: list[T] = []
    first = last = starts[order[0]]
    for place in order:
        last = max(last, ends[place])
        if run and last - first > MAX_SPAN_MS:
            yield run
            run, first, last = [], starts[place], ends[place]
        run.append(items[place])
    yield run


def encode_rows(origin: Origin, kind: EventRows, rows: Sequence[Row]) -> bytes:
    """One batch of events."""
    times, consents = [row[0] for row in rows], kind.consents(rows)
    try:
        return encode_events(origin, kind.name, kind.contract.version, times, kind.columns(rows), consents)
    except TypeError:  # text that is not Unicode: half a surrogate pair, as file names can hold
        clean = [tuple(unicode(value) if isinstance(value, str) else value for value in row) for row in rows]
        return encode_events(origin, kind.name, kind.contract.version, times, kind.columns(clean), consents)
