"""OpenTelemetry and forks: the SDK hands what it has not exported yet to a forked child, which would export it again.

So the global meter provider is flushed just before a fork: then there is nothing left to inherit, and where cumulative
streams stand is known on both sides. A fork waits for this a second at most. Children of multiprocessing flush at their end.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any, Protocol
from weakref import WeakSet

from opentelemetry.metrics import get_meter_provider

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
            log.warning("metrics could not be flushed: %s", error)
        finally:
            self._here.handing_over = False

    def before(self) -> None:
        """Let the SDK hand over everything. In a thread, since whoever forks may hold a lock of the SDK."""
        if all(one.closed for one in self.watched):
            return
        try:
            flushing = threading.Thread(target=self.hand_over, args=(WAIT_S,), daemon=True)
            flushing.start()
        except RuntimeError:  # no thread can start while the interpreter ends
            return
        flushing.join(WAIT_S)
        if flushing.is_alive():
            log.warning("metrics could not be flushed before a fork: a forked process may count some of them again")

    def in_child(self) -> None:
        """A child of multiprocessing ends without atexit, but with finalizers."""
        if util := sys.modules.get("multiprocessing.util"):
            # the child clears its finalizers after this has run, and asks for new ones then
            util.register_after_fork(self, Forks.flush_at_end_of_worker)

    def flush_at_end_of_worker(self) -> None:
        """Flush before the producers close, which do so with the priority 100."""
        if util := sys.modules.get("multiprocessing.util"):
            util.Finalize(None, self.hand_over, (WAIT_S,), exitpriority=101)


_process = Forks()


def watch(exporter: Exporting) -> None:
    """Flush before forks while this exporter is open."""
    _process.watched.add(exporter)
    if not _process.hooked:
        _process.hooked = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_process.before, after_in_child=_process.in_child)
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and multiprocessing.parent_process() is not None:
            _process.flush_at_end_of_worker()


def handing_over() -> bool:
    """Whether this thread must not wait for the broker."""
    return _process.handing_over
