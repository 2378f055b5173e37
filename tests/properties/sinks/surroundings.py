"""Surroundings of sinks, as far as the world needs them: messages, a log, tables that know tokens, a coordinator, dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np

from streamgauge.schemas.columns import Strings
from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import (
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    encode,
    no_histograms,
)
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, encode_scrubbed
from streamgauge.sinks.cover import Window
from streamgauge.sinks.decisions import InStore, StoredBlock, StoreView, in_store
from streamgauge.sinks.partition import Buffered, Decoded, Partition, decode_stored
from streamgauge.sinks.ranges import GroupSays, Place, Range, read_commit

T = TypeVar("T")
TOPIC = "sg.eu.rollups.v1"
PLACES = [Place("eu", TOPIC, "life", partition) for partition in range(3)]
TIERS = ("10s", "1m", "1d", "blocks")
FOREVER = 1 << 30
FATES = ("all unseen", "lost", "some", "some", "late", "late", "refused")


@cache
def letter(offset: int) -> bytes:
    """A message of a kind that is quickly read."""
    return DeadLetter("eu", "raw", 0, offset, "bad_json", 1, 0).encode()


@cache
def rollup(offset: int) -> bytes:
    """A message with points: two series that every message has, and one of its own."""
    series = np.array([1, 2, 1_000 + offset], np.uint64)
    rows = RollupRows(
        metric=np.array([0, 1, offset % 2], np.uint32),
        series_id=series,
        entry=np.zeros(3, np.uint8),
        window=np.full(3, 1_796_083_200 + 10 * (offset % 3), np.uint32),
        count=np.ones(3, np.uint64),
        sum=np.array([0.1, 0.2, 0.3]) * offset,
        min=np.zeros(3),
        max=np.zeros(3),
        last=np.zeros(3),
        last_ms=np.zeros(3, np.int64),
        hist=no_histograms(3),
    )
    metrics = (RollupMetric("b", "counter", "b"), RollupMetric("a", "counter", "a"))
    return encode(RollupMessage("eu", 1, RawRange("raw", 0, offset, offset + 1), metrics, rows, ()))


@cache
def single_events(offset: int) -> bytes:
    """A message with single events: two rows, of one of two events, that differ in what they have."""
    source = RawRange("raw", 0, offset, offset + 1)
    times = np.array([1_796_083_200_000 + offset, 1_796_083_200_000], np.int64)
    tokens = {"customer_id": Strings([f"em_k3_{offset}", None], np.array([0, offset % 2]))}
    labels = {f"field_{offset % 3}": Strings(["a", "b"], np.array([1, 0]))}
    event = ("order_placed", "signed_up")[offset % 2]
    return encode_scrubbed(ScrubbedEvents("eu", source, 1, event, 1, "p1-00ff", times, labels, {}, tokens, {}))


def origin(message: Decoded) -> int:
    """The offset that a message of ours was made with."""
    if isinstance(message, ScrubbedEvents):
        return message.source.start
    return message.raw.start if isinstance(message, RollupMessage) else getattr(message, "offset", -1)


class Dice(random.Random):
    """Quick dice."""

    def choice(self, seq: Any) -> Any:
        """One of a sequence."""
        return seq[int(self.random() * len(seq))]

    def below(self, end: int) -> int:
        """A natural number."""
        return int(self.random() * end)


@cache
def buffered(kind: str, place: Place, offset: int, value: bytes) -> Buffered:
    """A message is read the same every time, so once is enough."""
    return decode_stored(kind, place, offset, value, 0)


class ReadOnce(Partition):
    """A partition whose messages are known already."""

    def decoded(self, offset: int, value: bytes, instant_ms: int) -> Buffered:
        """See Partition."""
        return buffered(self.kind, self.place, offset, value)


class Promise(Generic[T]):
    """A future that costs nothing."""

    def __init__(self) -> None:
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether it is there."""
        return self._done

    def result(self) -> T:
        """What it is."""
        if self._error is not None:
            raise self._error
        found: T = self._result
        return found

    def carry_out(self, work: Callable[[], T]) -> None:
        """What `work` does, this is."""
        try:
            self._result = work()
        except (AssertionError, StreamgaugeError) as error:
            self._error = error
        self._done = True


class Log:
    """A partition: messages at offsets with holes, where transactions ended."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self._next = 0

    def append(self, dice: Dice) -> None:
        """One message, and perhaps the end of a transaction."""
        self.offsets.append(self._next)
        self._next += dice.choice((1, 1, 1, 2, 3))


@dataclass(slots=True)
class Row:
    """What an insert left in a table."""

    block: Range
    offsets: tuple[int, ...]
    at_ms: int
    half: bool = False


class Table:
    """Rows, and the tokens of the last inserts."""

    def __init__(self, window: int) -> None:
        self.rows: list[Row] = []
        self._window = window
        self._known: dict[str, int] = {}

    def take(self, row: Row) -> bool:
        """Insert, unless the token is known. Whether it was."""
        known = self._known.get(row.block.token)
        if known is not None and len(self.rows) - known < self._window:
            return True
        self._known[row.block.token] = len(self.rows)
        self.rows.append(row)
        return False

    def has(self, block: Range) -> bool:
        """Whether a block is in."""
        return block.token in self._known


class Store:
    """Tables that know the tokens of their last inserts. A token never comes with other content."""

    def __init__(self, window: int) -> None:
        self.window = Window(window)
        self.tables = {tier: Table(window) for tier in TIERS}
        self.content: dict[str, object] = {}
        self.late: list[tuple[Row, int]] = []
        self.repeats = 0
        self.parts = 0

    def take(self, row: Row, tiers: Sequence[str] = TIERS) -> None:
        """Insert into some tables; each knows whether it has this token."""
        known = [self.tables[tier].take(row) for tier in tiers]
        self.repeats += any(known)
        self.parts = max(len(one.rows) for one in self.tables.values())

    def view(self, place: Place, start: int, end: int, since_ms: int) -> StoreView:
        """What is beside a range, and what was written since."""
        rows = self.tables["blocks"].rows
        ours = [StoredBlock(row.block.start, row.block.end, row.half) for row in rows if row.block.place is place]
        found = in_store(ours, start, end, InStore.BEHIND if ours else InStore.NOTHING)
        written = sum(row.at_ms >= since_ms for row in rows)
        return StoreView(found, self.window.covers(written, 0), max((one.end for one in ours), default=0))


class Group:
    """A coordinator. It believes whoever names the present generation, and nobody else."""

    def __init__(self) -> None:
        self.generation = 0
        self.members: set[int] = set()
        self.committed: dict[int, tuple[int, str]] = {}
        self.acknowledged: set[str] = set()

    def commit(self, member: int, generation: int, block: Range, intent: bool) -> bool:
        """Whether the commit was taken."""
        if member not in self.members or generation != self.generation:
            return False
        place = block.place.partition
        self.committed[place] = (block.start, block.intent()) if intent else (block.end, block.done())
        return True

    def says(self, place: Place) -> GroupSays:
        """What is committed of a partition."""
        return read_commit(place, *self.committed.get(place.partition, (-1, "")))

    def begin(self, members: set[int]) -> None:
        """A new generation of these members."""
        self.generation += 1
        self.members = set(members)
