"""Gateways for tests: the whole one over a transport that keeps what it sends, with a clock that stands still."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from streamgauge.console.gateway import Gateway
from streamgauge.console.gateway_doors import serve
from streamgauge.console.gateway_settings import Address, GatewaySettings
from streamgauge.producers.testing import CapturedTransport, ManualClock
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode

NOW_MS = 1_800_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One delivered point."""

    type: str
    unit: str
    context: Mapping[str, str]
    labels: Mapping[str, str]
    window_ms: int
    count: int
    sum: float
    min: float
    max: float
    last: float
    buckets: Mapping[int, int]


class TestGateway:
    """A gateway and what came out of it."""

    __test__ = False

    def __init__(self, contracts: Mapping[tuple[str, int], Contract] | None = None, **changes: Any) -> None:
        self.transport = CapturedTransport()
        self.clock = ManualClock(NOW_MS)
        self.known = dict(contracts or {})
        given: dict[str, Any] = {"environment": "test", "service": "somebody", **changes}
        self.gateway = Gateway(GatewaySettings(**given), self.transport, lambda: self.known, self.clock, "gw-test")

    def statsd(self, *lines: str | bytes) -> None:
        """Send lines as one packet."""
        self.gateway.packet(b"\n".join(one if isinstance(one, bytes) else one.encode() for one in lines))

    def flush(self) -> None:
        """Everything is due and is sent."""
        self.clock.advance(self.gateway.settings.flush_interval / 1000)
        for _ in range(3):
            self.gateway.step()

    def batches(self) -> list[MetricBatch]:
        """Delivered batches of metrics, decoded as a worker would."""
        found = [decode(one.value) for one in self.transport.delivered if ".metrics." in one.topic]
        return [one for one in found if isinstance(one, MetricBatch)]

    def rows(self, name: str) -> list[Row]:
        """Delivered points of a metric, after a flush."""
        self.flush()
        return rows_of(self.batches(), name)

    def sums(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Sum of each label set of a metric, after a flush."""
        found: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
        for row in self.rows(name):
            found[tuple(row.labels.items())] += row.sum
        return dict(found)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Delivered events of a name, after a flush."""
        self.flush()
        return self.transport.events(name)

    def event_batches(self) -> list[EventBatch]:
        """Delivered batches of events."""
        found = [decode(one.value) for one in self.transport.delivered if ".events." in one.topic]
        return [one for one in found if isinstance(one, EventBatch)]

    def refused(self) -> dict[tuple[str, str], int]:
        """What was refused, by kind and reason."""
        return dict(self.gateway.account.refused)

    def adjusted(self) -> dict[tuple[str, str], int]:
        """What was taken in another form, by kind and reason."""
        return dict(self.gateway.account.adjusted)


def rows_of(batches: list[MetricBatch], name: str) -> list[Row]:
    """Points of a metric in decoded batches."""
    found: list[Row] = []
    for batch in batches:
        start = 0
        for place in range(len(batch.index)):
            width = 0
            buckets: dict[int, int] = {}
            if batch.buckets is not None:
                width = int(batch.buckets[0][place])
                keys, counts = (column[start : start + width].tolist() for column in batch.buckets[1:])
                buckets = dict(zip(keys, counts, strict=True))
            start += width
            which, *values = batch.series[int(batch.index[place])]
            head = batch.metrics[int(which)]
            if head.name == name:
                found.append(
                    Row(
                        head.type,
                        head.unit,
                        batch.origin.context,
                        dict(zip(head.labels, values, strict=True)),
                        int(batch.windows[place]),
                        int(batch.count[place]),
                        float(batch.sum[place]),
                        float(batch.min[place]),
                        float(batch.max[place]),
                        float(batch.last[place]),
                        buckets,
                    )
                )
    return found


class RunningGateway:
    """A gateway that listens on free ports of this machine, in a thread; what it sends is kept. Ends with its block."""

    def __init__(
        self, directory: Path, contracts: Mapping[tuple[str, int], Contract] | None = None, **changes: Any
    ) -> None:
        self.transport = CapturedTransport()
        known = dict(contracts or {})
        given: dict[str, Any] = {
            "environment": "test",
            "service": "somebody",
            "statsd_udp": Address("127.0.0.1", 0),
            "statsd_unix": str(directory / "d.sock"),
            "statsd_stream": str(directory / "s.sock"),
            "statsd_tcp": Address("127.0.0.1", 0),
            "gateway_http": Address("127.0.0.1", 0),
            "flush_interval": 100,
            **changes,
        }
        self.gateway = Gateway(GatewaySettings(**given), self.transport, lambda: known)
        self.addresses: Mapping[str, str] = {}
        self.lost: int | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test-gateway", daemon=True)

    def _run(self) -> None:
        async def main() -> int:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            return await serve(self.gateway, self._listening, self._stop)

        try:
            self.lost = asyncio.run(main())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    def _listening(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        self._ready.set()

    def port(self, name: str) -> int:
        """The port of one of its addresses."""
        return int(self.addresses[name].rpartition(":")[2])

    def wait_for(self, what: Callable[[], bool], seconds: float = 10.0) -> None:
        """Poll until it holds. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise TimeoutError(str(self.gateway.json()))
            time.sleep(0.01)

    def received(self, kind: str, count: int) -> None:
        """Wait until so many lines or points of a kind came in."""
        self.wait_for(lambda: self.gateway.account.received[kind] >= count)

    def stop(self) -> None:
        """Ask it to end, as a signal does, and wait for that."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        if self._failure is not None:
            raise self._failure

    def rows(self, name: str) -> list[Row]:
        """Delivered points of a metric; ends the gateway first."""
        self.stop()
        found = [decode(one.value) for one in self.transport.delivered if ".metrics." in one.topic]
        return rows_of([one for one in found if isinstance(one, MetricBatch)], name)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(20):
            raise TimeoutError("the gateway did not begin to listen")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
