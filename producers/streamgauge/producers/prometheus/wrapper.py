"""Wrapper: what all instruments share. Names, labels, children, and the way their numbers take to a producer.

An instrument is a parent with one child for each label set, or observable itself. What a registry collects is kept for as
long as the instrument lives; what travels is handed over and forgotten.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry
from prometheus_client.samples import Sample

from streamgauge.producers import default
from streamgauge.producers.gains import Taken
from streamgauge.producers.prometheus import mirror
from streamgauge.producers.prometheus.exact import GUARD
from streamgauge.producers.prometheus.mirror import Mirror
from streamgauge.producers.prometheus.names import wire_head
from streamgauge.producers.prometheus.source import Source, refusing, source_of
from streamgauge.producers.prometheus.validation import validate_labelnames, validate_metric_name
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.errors import SettingsError, place_of

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

log = logging.getLogger(__name__)

T = TypeVar("T", bound="MetricWrapperBase")
_new = cast("Callable[[type[Taken], tuple[Any, ...]], Taken]", tuple.__new__)
ONE = 1
"""Small integers are the same object everywhere, so that `is` finds the usual amount."""


def shows_created() -> bool:
    """Whether `_created` series are shown."""
    from streamgauge.producers.prometheus import metrics  # it imports this module

    return metrics._use_created  # pyright: ignore[reportPrivateUsage]


class OwnMetric(Metric):
    """A family that one of our instruments collected: it travels already, so bridges leave it out."""


def full_name(metric_type: str, name: str, namespace: str, subsystem: str, unit: str) -> str:
    """The family's name: a counter's without `_total`, all with their unit at the end."""
    if not name:
        raise ValueError("Metric name should not be empty")
    full = "_".join(part for part in (namespace, subsystem, name) if part)
    if metric_type == "counter" and full.endswith("_total"):
        full = full[: -len("_total")]
    if unit and not full.endswith("_" + unit):
        full += "_" + unit
    if unit and metric_type in ("info", "stateset"):
        raise ValueError("Metric name is of a type that cannot have a unit: " + full)
    return full


class MetricWrapperBase(Collector):
    """Base of Counter, Gauge, Histogram, Summary, Info and Enum, with prometheus_client's arguments.

    `producer` is the one that sends (default: the default producer, looked for at the first record).
    """

    _type: ClassVar[str] = ""
    _wire_type: ClassVar[str] = "gauge"
    _reserved_labelnames: ClassVar[Sequence[str]] = ()
    # of the class where all have the same: beyond 30 attributes an instance costs twice as much memory
    wire_announced: int = False
    _mirror: Mirror | None = None

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        _labelvalues: Sequence[str] | None = None,
        *,
        producer: Producer | None = None,
    ) -> None:
        self._original_name = name
        self._namespace = namespace
        self._subsystem = subsystem
        self._name = full_name(self._type, name, namespace, subsystem, unit)
        self._labelnames = validate_labelnames(labelnames, self._reserved_labelnames)
        self._labelvalues = tuple(_labelvalues or ())
        self._kwargs: dict[str, Any] = {}
        self._documentation = documentation
        self._unit = unit
        self._producer = producer
        validate_metric_name(self._name)
        if self._is_parent():
            self._metrics: dict[tuple[str, ...], Any] = {}
        if self._is_observable():
            self.wire_idle: int = True
            self.wire_source: Source | None = None
            self.wire_start = 0
            self._wire: tuple[str, ...] = ()
            self._metric_init()
            if mirror.is_on():
                self._mirror = Mirror(self._in_files(), self._shown_numbers())
                self.wire_announced = mirror.ANNOUNCED
        if not self._labelvalues and registry:
            registry.register(self)

    def _is_observable(self) -> bool:
        return not self._labelnames or bool(self._labelvalues)

    def _is_parent(self) -> bool:
        return bool(self._labelnames) and not self._labelvalues

    def _raise_if_not_observable(self) -> None:
        if not self._is_observable():
            raise ValueError(
                f"{self._type} metric is missing label values: {self._name} has the labels "
                f"{', '.join(self._labelnames)}; call .labels(...) first"
            )

    def _metric_init(self) -> None:
        """Start the numbers of one label set."""
        raise NotImplementedError

    def _in_files(self) -> Sequence[Any]:
        """The numbers of one label set in the files of the multiprocess mode."""
        return ()

    def _shown_numbers(self) -> Sequence[float]:
        """The same numbers as they are shown."""
        return ()

    def _file_value(self, suffix: str, *, le: str = "", **options: str) -> Any:
        names, values = (*self._labelnames, *(["le"] if le else [])), (*self._labelvalues, *([le] if le else []))
        series = self._name + suffix
        return mirror.file_value(self._type, self._name, series, names, values, self._documentation, **options)

    def _reflect(self, placed: bool) -> None:
        """Write into the files of the multiprocess mode what is shown."""
        if self._mirror is not None:
            with GUARD.lock:
                self._mirror.write(self._shown_numbers(), placed=placed)

    def _child_samples(self) -> Iterable[Sample]:
        raise NotImplementedError

    # what a registry asks

    def _get_metric(self) -> Metric:
        return OwnMetric(self._name, self._documentation, self._type, self._unit)

    def describe(self) -> Iterable[Metric]:
        """The family, without samples."""
        return [self._get_metric()]

    def collect(self) -> Iterable[Metric]:
        """The family as it stands, cumulative since the process began."""
        metric = self._get_metric()
        for suffix, labels, value, timestamp, exemplar, native in self._samples():
            metric.samples.append(Sample(self._name + suffix, labels, value, timestamp, exemplar, native))
        return [metric]

    def _samples(self) -> Iterable[Sample]:
        return self._multi_samples() if self._is_parent() else self._child_samples()

    def _multi_samples(self) -> Iterable[Sample]:
        for values, child in self._metrics.copy().items():
            own = dict(zip(self._labelnames, values, strict=False))
            for suffix, labels, value, timestamp, exemplar, native in child._samples():
                yield Sample(suffix, {**own, **labels}, value, timestamp, exemplar, native)

    def __str__(self) -> str:
        return f"{self._type}:{self._name}"

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}({self._name})"

    # children

    def labels(self: T, *labelvalues: object, **labelkwargs: object) -> T:
        """The child of one label set: all values in declared order, or all by name. Keep it where you record often."""
        values = labelvalues
        try:
            if labelkwargs and not labelvalues and len(labelkwargs) == len(self._labelnames):
                values = tuple([labelkwargs[name] for name in self._labelnames])
            for value in values:
                if value.__class__ is not str:  # what its str() is may differ from what it equals
                    break
            else:
                child: T = self._metrics[values]  # type: ignore[index]  # pyright: ignore[reportArgumentType]
                if not (labelkwargs and labelvalues):
                    return child
        except (KeyError, AttributeError):
            pass
        return self._child(labelvalues, labelkwargs)

    def _child(self: T, values: tuple[object, ...], named: dict[str, object]) -> T:
        if not self._labelnames:
            raise ValueError(f"No label names were set when constructing {self}; declare them: labelnames=[...]")
        if self._labelvalues:
            has = dict(zip(self._labelnames, self._labelvalues, strict=False))
            raise ValueError(f"{self} already has labels set ({has}); can not chain calls to .labels()")
        if values and named:
            raise ValueError("Can't pass both *args and **kwargs")
        if named:
            if sorted(named) != sorted(self._labelnames):
                raise ValueError(f"Incorrect label names: {self._name} has {self._labelnames}, got {tuple(named)}")
            texts = tuple([str(named[name]) for name in self._labelnames])
        else:
            if len(values) != len(self._labelnames):
                raise ValueError(f"Incorrect label count: {self._name} has {self._labelnames}, got {values}")
            texts = tuple([str(value) for value in values])
        known: T | None = self._metrics.get(texts)
        if known is not None:
            return known
        # no lock that a forked child could inherit: of two that are made at once, one is kept and the other never seen
        made: T = self._metrics.setdefault(texts, self._new_child(texts))
        return made

    def _new_child(self: T, values: tuple[str, ...]) -> T:
        given = {key: value for key, value in self._kwargs.items() if key not in ("namespace", "subsystem", "unit")}
        child = self.__class__(
            self._original_name,
            documentation=self._documentation,
            labelnames=self._labelnames,
            namespace=self._namespace,
            subsystem=self._subsystem,
            unit=self._unit,
            _labelvalues=values,
            **given,
        )
        # not an argument: classes of an application's own have constructors of their own
        child._producer = self._producer
        child._shares(self)
        return child

    def _shares(self, parent: MetricWrapperBase) -> None:
        """Keep the parent's objects instead of equal ones."""
        self._kwargs = parent._kwargs
        self._name = parent._name

    def _warn_in_multiprocess_mode(self, what: str) -> None:
        if "prometheus_multiproc_dir" in os.environ or "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            warnings.warn(
                f"{what} labels has not been implemented in multi-process mode: the files keep them, what is sent does not",
                UserWarning,
                stacklevel=3,
            )

    def remove(self, *labelvalues: Any) -> None:
        """Show the child of these label values no longer. What it counted has travelled, or will."""
        self._warn_in_multiprocess_mode("Removal of")
        if not self._labelnames:
            raise ValueError(f"No label names were set when constructing {self}")
        if len(labelvalues) != len(self._labelnames):
            raise ValueError(f"Incorrect label count (expected {len(self._labelnames)}, got {labelvalues})")
        self._retire(self._metrics.pop(tuple(map(str, labelvalues)), None))

    def remove_by_labels(self, labels: dict[str, str]) -> None:
        """Show no longer any child that has these values, of some or all labels."""
        self._warn_in_multiprocess_mode("Removal of")
        if not self._labelnames:
            raise ValueError(f"No label names were set when constructing {self}")
        if not isinstance(labels, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller is checked
            raise TypeError("labels must be a dict of {label_name: label_value}")
        if not labels:
            return
        if invalid := [name for name in labels if name not in self._labelnames]:
            raise ValueError(f"Unknown label names: {invalid}; expected {self._labelnames}")
        wanted = {self._labelnames.index(name): str(value) for name, value in labels.items()}
        for values in list(self._metrics):
            if all(values[place] == want for place, want in wanted.items()):
                self._retire(self._metrics.pop(values, None))

    def clear(self) -> None:
        """Show no child any longer."""
        if not self._labelnames:
            return
        self._warn_in_multiprocess_mode("Clearing")
        removed, self._metrics = self._metrics, {}
        for child in removed.values():
            self._retire(child)

    def _retire(self, child: MetricWrapperBase | None) -> None:
        if child is not None and child.wire_source is not None:
            child.wire_source.release(child._labelvalues)

    # what travels

    def _head(self) -> MetricHead:
        return wire_head(self._name, self._wire_type, self._labelnames, self._unit)

    def _bind(self) -> Source:
        """The source of this label set, looked for when it is first needed and when the default producer changed."""
        source = self.wire_source
        if source is None or (source.stale and self._producer is None):
            head = self._head()
            source = source_of(self._name, head, self._producer)
            wire = source.admit(self._labelvalues)
            if wire is None:
                wire, source = (), refusing(self._name, head, self._producer, "too_long")
            # the same objects for all children: they are many
            self._wire_head = source.head if head == source.head else head
            self._wire = self._labelvalues if wire == self._labelvalues else wire
            self.wire_source = source
        return source

    def _announce(self, placed: bool = False) -> None:
        """This label set gained something. Nothing but a development environment's wrong settings raises.

        `placed`: its number is what it was set to, whatever it was before.
        """
        if self._mirror is not None:
            self._reflect(placed)
            if self.wire_idle is not True:
                return
        self._tell(lambda source: source.announce(self))

    def _keep_sampled(self) -> None:
        """Take this label set in every window, and soon."""
        self._tell(lambda source: source.sample(self))

    def _refuse(self, reason: str) -> None:
        """Count one call that stays local, because no sum could hold it."""
        self._tell(lambda source: source.refuse(reason))

    def _tell(self, call: Callable[[Source], object]) -> None:
        try:
            call(self._bind())
        except SettingsError:
            raise
        except Exception as error:  # a telemetry call never takes the application down
            log.error("metric %s: a call is not sent (%s)", self._name, place_of(error))

    def _taken(self, delta: Delta) -> Taken:
        # what Taken(...) does, without the call of Python that it is
        return _new(Taken, (self._wire_head, self._wire, delta))

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What this label set gained since it was last asked; it is idle afterwards."""
        raise NotImplementedError

    def wire_calls(self) -> int:
        """Points of this label set that were not taken yet."""
        raise NotImplementedError

    def wire_resume(self) -> None:
        """What it says holds for the next default producer too, if there is one."""
        if self._producer is not None or default.is_made():
            self._keep_sampled()

    def wire_forget(self) -> None:
        """What was gained is the parent process' to send."""
        self.wire_gained(0)
