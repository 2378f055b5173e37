"""Metrics: counters, gauges and histograms as an application declares them, with prometheus_client's call shapes.

Declaring has no side effect but the check of the declaration; the producer is looked for at the first use. A metric
without labels is its own handle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from streamgauge.producers import default
from streamgauge.producers.aggregate import MAX_LABEL_CHARS, Family, MakeSeries
from streamgauge.producers.around import ExceptionCount, InProgress, Timer
from streamgauge.producers.handles import CounterHandle, GaugeHandle, Handle, HistogramHandle
from streamgauge.producers.locked_handles import exact
from streamgauge.producers.text import plain
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import RESERVED_COLUMNS
from streamgauge.schemas.errors import DeclarationError, UndeclaredLabelError
from streamgauge.schemas.names import MAX_LABELS, MAX_NAME, MAX_UNIT
from streamgauge.schemas.windows import TIER_NAMES

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

H = TypeVar("H", bound=Handle)


def head_problems(head: MetricHead) -> Iterator[str]:
    """Everything wrong with a declaration, with advice."""
    if not head.name.replace(".", "_").isidentifier() or not head.name.isascii() or len(head.name) > MAX_NAME:
        yield f"{head.name!r} is not a name: use letters, digits and _, such as checkout_requests"
    if len(head.labels) > MAX_LABELS:
        yield f"{len(head.labels)} labels: at most {MAX_LABELS}"
    for label in head.labels:
        if not label.isidentifier() or not label.isascii() or label.startswith("__") or len(label) > MAX_NAME:
            yield f"label {label!r} is not a name: use letters, digits and _"
        if label in RESERVED_COLUMNS:
            yield f"label {label!r}: every view has a column of this name already; choose another"
    if len(set(head.labels)) < len(head.labels):
        yield "a label is named twice"
    if len(head.unit) > MAX_UNIT or (head.unit and not head.unit.isprintable()):
        yield f"unit {head.unit!r}: use UCUM notation, such as s, By or {{request}}"
    if head.granularity not in TIER_NAMES:
        yield f"granularity {head.granularity!r} is none of {', '.join(TIER_NAMES)}"


class Metric(Generic[H]):
    """What counters, gauges and histograms share.

    `namespace` and `subsystem` are put before the name, as in prometheus_client. `granularity` is the finest window that
    is kept, `budget` how many series may be in use (default: the setting). A wrong declaration raises DeclarationError
    at once.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        name: str,
        documentation: str = "",
        labelnames: Sequence[str] = (),
        *,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        granularity: str = "10s",
        budget: int | None = None,
        producer: Producer | None = None,
    ) -> None:
        full = "_".join(part for part in (namespace, subsystem, name) if part)
        # a plain string is a sequence of letters, never meant as label names
        labels = (labelnames,) if isinstance(labelnames, str) else tuple(labelnames)
        self.documentation = documentation
        self.head = MetricHead(full, self.kind, unit, labels, granularity)
        problems = list(head_problems(self.head))
        if budget is not None and budget < 1:
            problems.append(f"budget {budget}: how many series may be in use, 1 or more")
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DeclarationError(f"{type(self).__name__} {full!r} cannot be declared like this:\n{lines}")
        self._budget = budget
        self._given = producer
        self._bound: Family[H] | None = None
        self._children: dict[tuple[Any, ...], H] = {}
        self._own: H | None = None
        if producer is None:
            default.follow(self, self.head)
        else:
            self._family()

    def _make(self) -> MakeSeries[H]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.head.name!r}, labels={self.head.labels})"

    def unbind(self) -> None:
        """Look for the default producer again at the next call."""
        self._bound = self._own = None
        self._children = {}

    def _family(self) -> Family[H]:
        if self._bound is None:
            producer = self._given or default.get_default()
            self._bound = producer.family(self.head, self._make(), self._budget)
            self._children = self._bound.series
        return self._bound

    def labels(self, *values: object, **named: object) -> H:
        """The handle of one label set: all values in declared order, or all by name. Values become text.

        Other labels than declared raise UndeclaredLabelError where programming errors raise; elsewhere the handle counts
        its calls as dropped.
        """
        try:
            if not named:
                return self._children[values]
            if not values and len(named) == len(self.head.labels):
                values, named = tuple([named[name] for name in self.head.labels]), {}
                return self._children[values]
        except (KeyError, TypeError):  # seen for the first time, not hashable, or another name
            pass
        return self._find(values, named)

    def _find(self, values: tuple[object, ...], named: dict[str, object]) -> H:
        family, names = self._family(), self.head.labels
        if named:
            return self._wrong(family, (f"{len(values)} by place", *named) if values else tuple(named))
        if len(values) != len(names):
            return self._wrong(family, f"{len(values)} values")
        try:
            texts = tuple(map(plain, values))
        except Exception:  # a value whose own str() fails
            return family.refused("wrong_label")
        if any(len(text) > MAX_LABEL_CHARS for text in texts):
            return family.refused("too_long")
        return family.get(texts)

    def _wrong(self, family: Family[H], got: tuple[str, ...] | str) -> H:
        if family.aggregate.strict:
            raise UndeclaredLabelError(self._advice(got))
        return family.refused("undeclared_label")

    def _advice(self, got: tuple[str, ...] | str) -> str:
        said = f"{type(self).__name__} {self.head.name!r} has labels {self.head.labels}; got {got}."
        if isinstance(got, str):
            return f"{said}\n  Pass one value for each label, in this order, or all by name."
        if len(got) > 1 and got[0].endswith("by place"):
            return f"{said}\n  Pass all values in declared order, or all by name."
        if extra := [name for name in got if name not in self.head.labels]:
            said += (
                f"\n  Add {', '.join(map(repr, extra))} to its declaration, or leave it out."
                " A label per user also multiplies series: see docs/how-to/cardinality."
            )
        if missing := [name for name in self.head.labels if name not in got]:
            said += f"\n  Pass {', '.join(map(repr, missing))} too."
        return said

    def _only(self) -> H:
        """The handle of a metric without labels."""
        if self._own is None:
            if self.head.labels:
                return self._wrong(self._family(), ())
            self._own = self._family().get(())
        return self._own


class Counter(Metric[CounterHandle]):
    """A number that only grows: calls, bytes, errors."""

    kind = "counter"

    def _make(self) -> MakeSeries[CounterHandle]:
        return exact(CounterHandle)

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        (self._own or self._only()).inc(amount)

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> ExceptionCount:
        """Count the exceptions of a block or of a function's calls."""
        return ExceptionCount(self.inc, exception)


class Gauge(Metric[GaugeHandle]):
    """A number that goes up and down: a temperature, a queue's length."""

    kind = "gauge"

    def _make(self) -> MakeSeries[GaugeHandle]:
        return exact(GaugeHandle)

    def set(self, value: float) -> None:
        """The value is now `value`."""
        (self._own or self._only()).set(value)

    def inc(self, amount: float = 1) -> None:
        """Raise the value by `amount`."""
        (self._own or self._only()).inc(amount)

    def dec(self, amount: float = 1) -> None:
        """Lower the value by `amount`."""
        (self._own or self._only()).dec(amount)

    def set_to_current_time(self) -> None:
        """Seconds since the epoch."""
        self._only().set_to_current_time()

    def track_inprogress(self) -> InProgress:
        """One more while a block or a function's call runs."""
        return InProgress(self.inc, self.dec)

    def time(self) -> Timer:
        """Set it to the seconds that a block or a function's last call took."""
        return Timer.of(self.set)


class Histogram(Metric[HistogramHandle]):
    """A distribution: durations, sizes. Exponential buckets, so there are none to choose: quantiles within 1.1 %."""

    kind = "histogram"

    def _make(self) -> MakeSeries[HistogramHandle]:
        return exact(HistogramHandle)

    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        (self._own or self._only()).observe(amount)

    def time(self) -> Timer:
        """Observe the seconds that a block or every call of a function takes."""
        return Timer.of(self.observe)
