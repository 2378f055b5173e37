"""Senders: who data is from. Each has a context and streams of its own, numbered by this gateway, so that points carry
the sender's service and not ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from streamgauge.console.gateway_account import Refusal
from streamgauge.processors.residency import WRONG_REGION, Residency
from streamgauge.producers.aggregate import OVERFLOW
from streamgauge.producers.batching import Batcher
from streamgauge.producers.settings import MAX_CONTEXT_VALUE
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import Context

log = logging.getLogger("streamgauge.gateway")

CONTEXT_NAMES = frozenset({"service", "environment", "version", "instance", "region", "tenant", "country"})
IDLE_MS = 3_600_000
"""A sender that rested this long is forgotten; when it comes back it has a new stream."""

MakeBatcher = Callable[[Context, str], Batcher]
"""Makes the batcher of a context and a stream."""


class Sender:
    """One context. Metrics carry the sender's own instance, by which gauges are told apart; events carry the stream's name,
    since idempotency keys have streams of their own in every instance."""

    __slots__ = ("context", "events", "metrics", "used_ms")

    def __init__(self, context: Mapping[str, str], stream: str, make: MakeBatcher) -> None:
        self.context = context
        self.used_ms = 0
        self.metrics = make({"instance": stream, **context}, stream)
        self.events = make({**context, "instance": stream}, stream)

    def __repr__(self) -> str:
        return "Sender"  # its context is whatever others send


class Senders:
    """The senders in use. Beyond the budget further ones share one, whose service is `__overflow__`: nothing is lost but
    whose it was. One of another region than `residency` accepts is none."""

    def __init__(
        self,
        defaults: Mapping[str, str],
        instance: str,
        budget: int,
        make: MakeBatcher,
        residency: Residency | None = None,
    ) -> None:
        self._residency = residency or Residency()
        self._defaults = dict(defaults)
        self._instance = instance
        self._budget = budget
        self._make = make
        self._made = 0
        self._senders: dict[tuple[tuple[str, str], ...], Sender] = {}
        self._overflow: Sender | None = None

    def find(self, context: Iterable[tuple[str, str]], now_ms: int) -> tuple[Sender, bool]:
        """The sender of a context in canonical names, and whether it is itself, not the one for overflow.

        Raises Refusal (`wrong_region`) for one that says that it is in a region whose data must not be processed here.
        """
        known = self._defaults | {key: unicode(value)[:MAX_CONTEXT_VALUE] for key, value in context if value}
        key = tuple(sorted(known.items()))
        one = self._senders.get(key)
        if one is None:
            if not self._residency.accepts(known.get("region", "")):
                raise Refusal(WRONG_REGION, "the data names another region than this gateway's")
            if len(self._senders) >= self._budget and not self.forget(now_ms):
                return self._overflowed(now_ms), False
            one = self._senders[key] = self._new(known)
        one.used_ms = now_ms
        return one, True

    def _new(self, context: Mapping[str, str]) -> Sender:
        # a number is never used again: a stream that began anew at 0 would be taken for a repeat
        self._made += 1
        return Sender(context, f"{self._instance}-{self._made}", self._make)

    def _overflowed(self, now_ms: int) -> Sender:
        if self._overflow is None:
            log.warning("more than %d senders: further ones count under the service %s", self._budget, OVERFLOW)
            self._overflow = self._new(self._defaults | {"service": OVERFLOW})
        self._overflow.used_ms = now_ms
        return self._overflow

    def forget(self, now_ms: int) -> list[Sender]:
        """Forget those that rested, and say which."""
        gone = [key for key, one in self._senders.items() if now_ms - one.used_ms > IDLE_MS]
        return [self._senders.pop(key) for key in gone]

    def __iter__(self) -> Iterator[Sender]:
        yield from self._senders.values()
        if self._overflow is not None:
            yield self._overflow

    def __len__(self) -> int:
        return len(self._senders)
