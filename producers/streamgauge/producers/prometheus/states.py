"""States: Info and Enum. What they say holds until they say something else, so it travels once in every window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Sample

from streamgauge.producers.aggregate import MAX_LABEL_CHARS
from streamgauge.producers.gains import Taken
from streamgauge.producers.prometheus.names import wire_head
from streamgauge.producers.prometheus.wrapper import MetricWrapperBase
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import Delta, MetricHead

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer


class Info(MetricWrapperBase):
    """Key-value pairs, such as a build's version. Travels as a gauge `<name>_info` of 1, with the pairs as labels."""

    __module__ = "streamgauge.producers.prometheus.metrics"
    _type = "info"

    def _metric_init(self) -> None:
        self._pairs: dict[str, str] = {}

    def info(self, val: dict[str, str]) -> None:
        """The pairs are now these."""
        self._raise_if_not_observable()
        if set(self._labelnames) & set(val):
            raise ValueError(f"Overlapping labels for Info metric, metric: {self._labelnames} child: {val}")
        if any(value is None for value in val.values()):  # pyright: ignore[reportUnnecessaryComparison]  # not every caller is checked
            raise ValueError("Label value cannot be None")
        self._pairs = dict(val)
        self._keep_sampled()

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("_info", self._pairs, 1.0, None, None),)

    def _head(self) -> MetricHead:
        return wire_head(f"{self._name}_info", "gauge", self._labelnames)

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """The pairs as they are."""
        self.wire_idle = True
        if not now_ms:
            return ()
        pairs = self._pairs
        head = wire_head(f"{self._name}_info", "gauge", (*self._labelnames, *pairs))
        values = (*self._wire, *(unicode(str(value))[:MAX_LABEL_CHARS] for value in pairs.values()))
        return (Taken(head, values, Delta(self.wire_start // 1_000_000, 1, 1.0, 1.0, 1.0, 1.0, now_ms)),)

    def wire_calls(self) -> int:
        """Nothing is kept for it."""
        return 0


class Enum(MetricWrapperBase):
    """Which of some states is true. Travels as a gauge with the state as a label named like the metric: 1 or 0, once a window."""

    __module__ = "streamgauge.producers.prometheus.metrics"
    _type = "stateset"

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        _labelvalues: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        *,
        producer: Producer | None = None,
    ) -> None:
        if name in labelnames:
            raise ValueError(f"Overlapping labels for Enum metric: {name}")
        if not states:
            raise ValueError(f"No states provided for Enum metric: {name}")
        self._states = states
        super().__init__(
            name, documentation, labelnames, namespace, subsystem, unit, registry, _labelvalues, producer=producer
        )
        self._kwargs["states"] = states

    def _metric_init(self) -> None:
        self._place = 0

    def state(self, state: str) -> None:
        """This state is true now; ValueError if it is none of them."""
        self._raise_if_not_observable()
        if state not in self._states:
            raise ValueError(f"{state!r} is not in list of states of {self._name}: {', '.join(self._states)}")
        self._place = self._states.index(state)
        self._keep_sampled()

    def _child_samples(self) -> Iterable[Sample]:
        place = self._place
        return [
            Sample("", {self._name: state}, 1 if number == place else 0, None, None)
            for number, state in enumerate(self._states)
        ]

    def _head(self) -> MetricHead:
        return wire_head(self._name, "gauge", (*self._labelnames, self._name))

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """Every state as it is."""
        self.wire_idle = True
        if not now_ms:
            return ()
        found: list[Taken] = []
        for number, state in enumerate(self._states):
            value = 1.0 if number == self._place else 0.0
            delta = Delta(self.wire_start // 1_000_000, 1, value, value, value, value, now_ms)
            found.append(Taken(self._wire_head, (*self._wire, unicode(str(state))), delta))
        return found

    def wire_calls(self) -> int:
        """Nothing is kept for it."""
        return 0
