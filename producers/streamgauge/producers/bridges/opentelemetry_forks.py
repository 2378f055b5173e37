"""OpenTelemetry and forks: the SDK hands what it has not exported yet to a forked child, which would export it again.

So the global meter provider is flushed just before a fork: then there is nothing left to inherit, and where cumulative
streams stand is known on both sides. A fork waits for this a second at most. It is flushed, too, before the producers of a
process close: children of multiprocessing and of Celery end without the SDK's own hook.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any, Protocol
from weakref import WeakSet

from opentelemetry.metrics import get_meter_provider

from streamgauge.producers import lifecycle
from streamgauge.schemas.errors import place_of

log = logging.getLogger(__name__)

WAIT_S = 1.0


class Exporting(Protocol):
    """An exporter that cares about forks."""

    @property
    def closed(self) -> bool:
        """Whether it was shut down."""
        ...


class Forks:
    """The exporters of this process, and whether its hooks are set."""

    def __init__(self) -> None:
        self.watched: WeakSet[Exporting] = WeakSet()
        self.hooked = False
        self._here = threading.local()

    @property
    def handing_over(self) -> bool:
        """Whether this thread only hands over what the SDK holds: producers send it, and nobody waits."""
        return getattr(self._here, "handing_over", False)

    def hand_over(self, seconds: float) -> None:
        """Flush the global meter provider, if it is one of the SDK. Says what fails, never raises."""
        self._here.handing_over = True
        try:
            provider: Any = get_meter_provider()
            if hasattr(provider, "force_flush"):
                provider.force_flush(timeout_millis=seconds * 1_000)
        except Exception as error:
            log.warning("metrics could not be flushed (%s)", place_of(error))
        finally:
            self._here.handing_over = False

    def feed(self) -> None:
        """Hand over before the producers close: not every process ends in a way that the SDK notices."""
        if self._needed():
            self.hand_over(WAIT_S)

    def before(self) -> None:
        """Hand over before a fork. Whoever forks may hold a lock of the SDK."""
        if self._needed() and not lifecycle.within(WAIT_S, self.feed):
            log.warning("metrics could not be flushed before a fork: a forked process may count some of them again")

    def _needed(self) -> bool:
        return not all(one.closed for one in self.watched)


_process = Forks()


def watch(exporter: Exporting) -> None:
    """Flush before forks, and before producers close, while this exporter is open."""
    _process.watched.add(exporter)
    if not _process.hooked:
        _process.hooked = True
        lifecycle.feed_by(_process.feed)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_process.before)


def handing_over() -> bool:
    """Whether this thread must not wait for the broker."""
    return _process.handing_over
