"""Source: hands what instruments gained to a producer's flusher.

An instrument keeps its own numbers. It announces itself once between two takes, and the flusher then takes what was added since:
so a call needs no lock and no clock. Everything an instrument changes in one call, and everything a take reads and sets to zero,
stands between two points at which the interpreter may switch threads.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast
from weakref import ReferenceType, ref

from streamgauge.producers import default
from streamgauge.producers.aggregate import MAX_LABEL_CHARS, OVERFLOW, Aggregate, Family, Series
from streamgauge.producers.gains import Gains, Taken, gains_of
from streamgauge.producers.metrics import head_problems
from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import MetricHead

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

log = logging.getLogger(__name__)


class Instrument(Protocol):
    """One label set of one metric that keeps its own numbers."""

    wire_idle: int
    """True; `wire_announced` from its announcement until it is taken."""
    wire_announced: int
    """False, or something true for one that wants to be called with every record."""
    wire_source: Source | None
    wire_start: int
    """Start of the window in which it was announced (ns)."""

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What it gained since it was last asked, as of now; it is idle afterwards."""
        ...

    def wire_calls(self) -> int:
        """Points that were not taken yet."""
        ...

    def wire_resume(self) -> None:
        """It was to be taken in every window; from now on through another source."""
        ...

    def wire_forget(self) -> None:
        """What was gained is not its own any more: what a forked child does."""
        ...


def _no_series(family: Family[Series], labels: tuple[str, ...]) -> Series:
    raise NotImplementedError("instruments keep their own numbers")


class Source(Family[Series]):
    """All instruments of one name and type that send through one producer.

    With a `reason` nothing is sent: what is recorded counts as dropped for it.
    """

    def __init__(self, aggregate: Aggregate, declared: str, head: MetricHead, budget: int, reason: str = "") -> None:
        super().__init__(aggregate, head, _no_series, budget, reason)
        self.declared = declared
        self.stale = False
        self._known: set[tuple[str, ...]] = set()
        self._announced: deque[Instrument] = deque()
        self._sampled: dict[int, tuple[ReferenceType[Instrument], int]] = {}
        self._warned = False
        self._ready: deque[Taken] = deque()

    def unbind(self) -> None:
        """The default producer is another one now: what was recorded so far still goes this way, the rest does not."""
        self.stale = True
        now_ms = self.aggregate.clock.wall_ns() // 1_000_000
        for one in list(self._announced):
            if one.wire_source is self:
                self._ready.extend(one.wire_gained(now_ms))
        sampled, self._sampled = self._sampled, {}
        for known, _ in sampled.values():
            held = known()
            if held is not None and held.wire_source is self:
                held.wire_resume()

    def admit(self, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """Label values as they travel: the overflow series' beyond the budget; None if one is too long."""
        if not all(map(str.isascii, labels)):
            labels = tuple(map(unicode, labels))
        if any(len(value) > MAX_LABEL_CHARS for value in labels):
            return None
        if labels not in self._known:
            if len(self._known) >= self._budget:
                self._warn_of_overflow()
                return (OVERFLOW,) * len(labels)
            self._known.add(labels)
        return labels

    def _warn_of_overflow(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "metric %s has more than %d series: further ones are sent as its overflow series (/metrics shows all). "
                "Its label with most values is %s; name fewer values there, or remove series",
                self.head.name,
                self._budget,
                self._widest(),
            )

    def release(self, labels: tuple[str, ...]) -> None:
        """A series was removed: it makes room for another one."""
        self._known.discard(tuple(map(unicode, labels)))

    def retire(self) -> None:
        """Nothing: what /metrics shows is in use."""

    def announce(self, one: Instrument) -> None:
        """It gained something, and wants to be taken."""
        if reason := self.reason or self.aggregate.closed:
            self._drop(one, reason)
            return
        one.wire_start = self.aggregate.window()
        append, announced = self._announced.append, one.wire_announced
        # no thread switch, and so no fork, between these two
        one.wire_idle = announced
        append(one)
        self.aggregate.on_record()

    def _drop(self, one: Instrument, reason: str) -> None:
        calls = one.wire_calls()
        one.wire_forget()
        self.refuse(reason, calls)

    def refuse(self, reason: str, calls: int = 1) -> None:
        """Count calls that cannot travel."""
        self.aggregate.on_record()  # a loss is told by the flusher, which may have had nothing to do so far
        if self.aggregate.accounts.refused(self.head.name, reason, calls):
            log.warning("metric %s: calls are not sent (%s)", self.head.name, reason)

    def sample(self, one: Instrument) -> None:
        """Take it once in every window from now on, whether it gained something or not."""
        if not self.reason:
            self._sampled[id(one)] = ref(one), -1
            self.aggregate.on_record()

    def take(self, but_of: int | None = None) -> list[Gains]:
        """Everything since the last take; not what began in the window that starts at `but_of`."""
        now_ms = self.aggregate.clock.wall_ns() // 1_000_000
        found: list[Taken] = []
        while self._ready:
            found.append(self._ready.popleft())
        if but_of is None and self._sampled:
            self._sample_all(now_ms, found)
        announced = self._announced
        for _ in range(len(announced)):
            # it stays in the queue until its numbers are out, so that a fork in between finds it there
            one = announced[0]
            if one.wire_start == but_of:
                announced.append(one)
            elif one.wire_source is self:
                self._gained(one, now_ms, found)
            announced.popleft()
        if self._warned and (points := sum([one.delta.count for one in found if one.labels[:1] == (OVERFLOW,)])):
            self.overflowed += points
            self.aggregate.accounts.overflowed(self.head.name, self._widest(), points)
        return gains_of(found)

    def _widest(self) -> str:
        """The label with most values."""
        values = [len(set(one)) for one in zip(*self._known.copy(), strict=True)]
        return self.head.labels[values.index(max(values))]

    def _sample_all(self, now_ms: int, found: list[Taken]) -> None:
        window = self.aggregate.window()
        for key, (known, sampled) in list(self._sampled.items()):
            one = known()
            if one is None or one.wire_source is not self:
                self._sampled.pop(key, None)
            elif sampled != window:
                self._sampled[key] = known, window
                one.wire_start = window
                self._gained(one, now_ms, found)

    def _gained(self, one: Instrument, now_ms: int, found: list[Taken]) -> None:
        try:
            found += one.wire_gained(now_ms)
        except Exception:  # a callback of the application's must not stop the flusher
            self.refuse("callback_failed")

    def points(self) -> int:
        """Points that were not taken yet."""
        waiting = {id(one): one for one in list(self._announced) if one.wire_source is self}
        return sum(one.wire_calls() for one in waiting.values()) + sum(taken.delta.count for taken in list(self._ready))

    def overflow_points(self) -> int:
        """Points that were ever taken for the overflow series."""
        return self.overflowed

    def restart(self) -> None:
        """Forget what was recorded: the parent sends it."""
        for one in self._announced:
            one.wire_forget()
        self._announced.clear()
        self._ready.clear()
        self.overflowed = 0


def source_of(declared: str, head: MetricHead, producer: Producer | None) -> Source:
    """Where a metric's numbers go: through `producer`, or the default one.

    A name that another type of metric has already, or that cannot travel, gives a source that counts everything as dropped.
    """
    sender = producer or default.get_default()
    budget = sender.settings.series_budget
    if problems := list(head_problems(head)):
        return _refusing(sender, declared, head, "not_a_name", "; ".join(problems))
    if head.name in NAMES:
        return _refusing(sender, declared, head, "reserved_name", "that is what producers say of themselves")
    found = sender.adopt(head.name, lambda one: Source(one, declared, head, budget))
    if not isinstance(found, Source) or found.head.type != head.type or found.declared != declared:
        why = f"{found.head.name} is another metric (a {found.head.type})"
        return _refusing(sender, declared, head, "name_clash", why)
    if producer is None:
        found.stale = False
        default.tell(found)
    return found


def refusing(declared: str, head: MetricHead, producer: Producer | None, reason: str) -> Source:
    """A source that counts everything as dropped for `reason`."""
    return _refusing(producer or default.get_default(), declared, head, reason, reason)


def _refusing(sender: Producer, declared: str, head: MetricHead, reason: str, why: str) -> Source:
    """A source that sends nothing, under a name that no metric can have."""
    key = f"{declared} ({head.type}: {reason})"
    made = cast("Source", sender.adopt(key, lambda one: Source(one, declared, head, 1, reason)))
    # looked for again with every call, because the default producer may be another one by then
    if not made.stale:
        made.stale = True
        # once it is there to be found: whoever counts lines of logs comes here again
        log.warning("metric %s (a %s) is not sent: %s", declared, head.type, why)
    return made
