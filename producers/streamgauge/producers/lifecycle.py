"""Lifecycle: the two moments a process gives to all its producers, its end and its fork. Hooks are set with the first one."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

from streamgauge.producers.accounts import FlushReport
from streamgauge.producers.settings import ProducerSettings

log = logging.getLogger(__name__)


class Watched(Protocol):
    """What ends and forks with its process."""

    @property
    def settings(self) -> ProducerSettings:
        """Its exit timeout counts."""
        ...

    def close(self, timeout: float | None = None) -> FlushReport:
        """Called at exit."""
        ...

    def after_fork(self) -> None:
        """Called in a forked child."""
        ...


class Lifecycle:
    """The producers of this process, and whether its hooks are set."""

    def __init__(self) -> None:
        self.watched: WeakSet[Watched] = WeakSet()
        self.feeding: list[Callable[[], None]] = []
        self.hooked = False

    def feed(self) -> None:
        """Let others hand over what they hold."""
        for hand_over in list(self.feeding):
            try:
                hand_over()
            except Exception:
                log.exception("what a bridge holds cannot be handed over")

    def close_all(self) -> None:
        """Close every producer before one common deadline, the longest of their exit timeouts."""
        self.feed()
        producers = list(self.watched)
        if not producers:
            return
        deadline = time.monotonic() + max(one.settings.exit_timeout for one in producers) / 1_000
        for place, producer in enumerate(producers):
            producer.close(max(0.0, deadline - time.monotonic()) / (len(producers) - place))

    def after_fork(self) -> None:
        """Start every producer anew in a forked child."""
        for producer in list(self.watched):
            producer.after_fork()
        if util := _multiprocessing_util():
            # a child of multiprocessing clears its hooks after this one has run, and then asks for new ones
            util.register_after_fork(self, Lifecycle.close_at_end_of_worker)

    def close_at_end_of_worker(self) -> None:
        """A child of multiprocessing ends without atexit on most Pythons, but with its own finalizers."""
        if util := _multiprocessing_util():
            util.Finalize(None, self.close_all, exitpriority=100)


def _multiprocessing_util() -> Any:
    """multiprocessing's hooks, where something has loaded it: loading it here would cost every process."""
    return sys.modules.get("multiprocessing.util")


_process = Lifecycle()


def feed_by(hand_over: Callable[[], None]) -> None:
    """Call this before the producers close: for what still holds points of theirs."""
    _process.feeding.append(hand_over)


def watch(producer: Watched) -> None:
    """Close it when the process ends, start it anew in forked children."""
    _process.watched.add(producer)
    if not _process.hooked:
        _process.hooked = True
        atexit.register(_process.close_all)
        os.register_at_fork(after_in_child=_process.after_fork)
        multiprocessing = sys.modules.get("multiprocessing.process")
        if multiprocessing is not None and multiprocessing.parent_process() is not None:
            _process.close_at_end_of_worker()
