"""Recorded: what a bridge under test has recorded so far, by metric and labels."""

from __future__ import annotations

from streamgauge.producers import Producer
from streamgauge.producers.testing import CapturedTransport, captured_producer
from tests.unit.producers.decoded import Value, values


class Recorded:
    """A producer that sends nowhere. `found()` is everything it was told."""

    def __init__(self) -> None:
        self.producer: Producer
        self._transport: CapturedTransport
        self.producer, self._transport, self.clock = captured_producer()

    def found(self) -> dict[tuple[str, ...], Value]:
        """Merged points by (metric, *label values)."""
        self.producer.flush(5)
        assert self.producer.stats().dropped == {}
        return values(self._transport.delivered)

    def counts(self, metric: str) -> dict[tuple[str, ...], int]:
        """Points of one metric by label values."""
        return {key[1:]: one.count for key, one in self.found().items() if key[0] == metric}

    def sums(self, metric: str) -> dict[tuple[str, ...], float]:
        """Sums of one metric by label values."""
        return {key[1:]: one.sum for key, one in self.found().items() if key[0] == metric}

    def last(self, metric: str) -> dict[tuple[str, ...], float]:
        """Last values of a gauge by label values."""
        return {key[1:]: one.last[1] for key, one in self.found().items() if key[0] == metric}
