"""Batching: what was taken as encoded batches, each with the next number of its stream, none above the size bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from streamgauge.producers.aggregate import Taken, points_by_name
from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import MAX_SPAN_MS, Context, MetricHead, Origin, encode_deltas, encode_events
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

    def metrics(self, topic: str, taken: Sequence[Taken]) -> Iterator[Batch]:
        """Batches of metric points."""

        def encode(part: Sequence[Taken], origin: Origin) -> bytes:
            return encode_taken(origin, part)

        starts = [one.delta.window_ms for one in taken]
        ends = [max(start, one.delta.last_ms) for start, one in zip(starts, taken, strict=True)]
        for part in chunks(taken, self._limits.rows, starts, ends):
            yield from self._batches(topic, self._stream, part, encode, points_by_name)

    def events(self, topic: str, kind: EventRows, rows: Sequence[Row]) -> Iterator[Batch]:
        """Batches of events of one kind, by stream."""

        def encode(part: Sequence[Row], origin: Origin) -> bytes:
            return encode_rows(origin, kind, part)

        def points(part: Sequence[Row]) -> Mapping[str, int]:
            return {kind.name: kind.points(part)}

        streams: dict[str, list[Row]] = {}
        for row in rows:
            streams.setdefault(kind.stream(row, self._stream), []).append(row)
        for stream, own in streams.items():
            times = [row[0] for row in own]
            for part in chunks(own, self._limits.rows, times, times):
                yield from self._batches(topic, stream, part, encode, points)

    def contract(self, topic: str, contract: Contract) -> Batch:
        """The contract itself, for a deployment where nobody else makes it known. It holds no points."""
        self._made += 1
        return Batch(topic, contract.key(), contract.dump(), {}, self._made)

    def _batches(
        self,
        topic: str,
        stream: str,
        part: Sequence[T],
        encode: Callable[[Sequence[T], Origin], bytes],
        points: Callable[[Sequence[T]], Mapping[str, int]],
    ) -> Iterator[Batch]:
        origin = Origin(self._context, stream, self._epoch, self._next[topic, stream])
        try:
            value = encode(part, origin)
        except Exception:  # whatever is wrong with one item must not cost the others their way
            value = b""
        if len(part) > 1 and not 0 < len(value) <= self._limits.bytes:
            middle = len(part) // 2
            for half in (part[:middle], part[middle:]):
                yield from self._batches(topic, stream, half, encode, points)
            return
        if not value:
            self._give_up(points(part), "not_encodable")
            return
        self._next[topic, stream] += 1
        self._made += 1
        yield Batch(topic, stream.encode(), value, points(part), self._made)


def chunks(items: Sequence[T], rows: int, starts: Sequence[int], ends: Sequence[int]) -> Iterator[Sequence[T]]:
    """Parts of at most `rows` items whose times fit one batch, in the order given unless times lie too far apart.

    `starts` and `ends` hold the earliest and the latest time of each item, in ms.
    """
    if not items:
        return
    if max(ends) - min(starts) <= MAX_SPAN_MS:
        yield from (items[start : start + rows] for start in range(0, len(items), rows))
        return
    order = sorted(range(len(items)), key=starts.__getitem__)
    part: list[T] = []
    first = last = starts[order[0]]
    for place in order:
        last = max(last, ends[place])
        if len(part) >= rows or (part and last - first > MAX_SPAN_MS):
            yield part
            part, first, last = [], starts[place], ends[place]
        part.append(items[place])
    yield part


def encode_taken(origin: Origin, taken: Sequence[Taken]) -> bytes:
    """One batch of metric points."""
    heads: dict[MetricHead, int] = {}
    places: dict[MetricHead, dict[tuple[str, ...], int]] = {}
    series: list[tuple[int, *tuple[str, ...]]] = []
    index: list[int] = []
    before: MetricHead | None = None
    metric, known = 0, dict[tuple[str, ...], int]()
    for head, labels, _ in taken:
        if head is not before:
            before = head
            metric = heads.setdefault(head, len(heads))
            known = places.setdefault(head, {})
        place = known.get(labels)
        if place is None:
            place = known[labels] = len(series)
            series.append((metric, *labels))
        index.append(place)
    return encode_deltas(origin, list(heads), series, index, [delta for _, _, delta in taken])


def encode_rows(origin: Origin, kind: EventRows, rows: Sequence[Row]) -> bytes:
    """One batch of events."""
    times, consents = [row[0] for row in rows], kind.consents(rows)
    try:
        return encode_events(origin, kind.name, kind.contract.version, times, kind.columns(rows), consents)
    except TypeError:  # text that is not Unicode: half a surrogate pair, as file names can hold
        clean = [tuple(unicode(value) if isinstance(value, str) else value for value in row) for row in rows]
        return encode_events(origin, kind.name, kind.contract.version, times, kind.columns(clean), consents)
