"""The gateway's own numbers as metrics `streamgauge_gateway_*`, which travel like everybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeVar

from streamgauge.console.gateway_account import Account
from streamgauge.console.gateway_senders import Senders
from streamgauge.console.gateway_series import SeriesIndex
from streamgauge.producers.gains import Taken

K = TypeVar("K", bound=Hashable)
SERVICE = "streamgauge"
PREFIX = "streamgauge_gateway_"


class GatewayMetrics:
    """Counts what the account gained since the last time."""

    def __init__(self, index: SeriesIndex, senders: Senders, account: Account) -> None:
        self._index = index
        self._senders = senders
        self._account = account
        self._received: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._adjusted: Counter[tuple[str, str]] = Counter()
        self._drops: Counter[str] = Counter()

    def record(self, buffers: Mapping[str, int], now_ms: int) -> None:
        """Record what is new, and what the kernel gives each socket."""
        for kind, count in _new(self._account.received, self._received).items():
            self._count("received", "{item}", {"kind": kind}, count, now_ms)
        for (kind, reason), count in _new(self._account.refused, self._refused).items():
            self._count("refused", "{item}", {"kind": kind, "reason": reason}, count, now_ms)
        for (kind, reason), count in _new(self._account.adjusted, self._adjusted).items():
            self._count("adjusted", "{item}", {"kind": kind, "reason": reason}, count, now_ms)
        for socket, count in _new(self._account.drops, self._drops).items():
            self._count("socket_drops", "{packet}", {"socket": socket}, count, now_ms)
        for socket, size in buffers.items():
            self._gauge("socket_buffer", "By", {"socket": socket}, size, now_ms)
        self._gauge("series", "{series}", {}, len(self._index), now_ms)
        self._gauge("senders", "{sender}", {}, len(self._senders), now_ms)

    def add(self, taken: Taken, now_ms: int) -> None:
        """Add a row of a counter that is about this process."""
        head = taken.head
        sender, _ = self._senders.find([("service", SERVICE)], now_ms)
        labels = zip(head.labels, taken.labels, strict=True)
        one, _ = self._index.find(sender, head.name, head.type, head.unit, labels, now_ms)
        one.add(taken.delta.sum, taken.delta.count, now_ms)

    def _count(self, name: str, unit: str, labels: Mapping[str, str], count: int, now_ms: int) -> None:
        sender, _ = self._senders.find([("service", SERVICE)], now_ms)
        one, _ = self._index.find(sender, f"{PREFIX}{name}", "counter", unit, labels.items(), now_ms)
        one.add(float(count), count, now_ms)

    def _gauge(self, name: str, unit: str, labels: Mapping[str, str], value: float, now_ms: int) -> None:
        sender, _ = self._senders.find([("service", SERVICE)], now_ms)
        one, _ = self._index.find(sender, f"{PREFIX}{name}", "gauge", unit, labels.items(), now_ms)
        one.set(value, now_ms)


def _new(now: Counter[K], known: Counter[K]) -> dict[K, int]:
    found = {key: count - known[key] for key, count in now.items() if count > known[key]}
    known.update(found)
    return found
