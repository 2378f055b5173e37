"""SIGTERM: by default it ends a process where it stands. An application may ask that its last window is sent first."""

from __future__ import annotations

import os
import signal
from functools import partial
from types import FrameType

from streamgauge.producers import lifecycle, native

PACKAGE = __name__.rpartition(".")[0] + "."
HOLDERS = frozenset({PACKAGE + "producer", PACKAGE + "lifecycle"})
"""Modules whose functions hold a lock while others of this package run."""
CLOSING = frozenset({"end", "close_all", "close"})
LAST_MOMENT_S = 1.0


def flush_on_sigterm() -> bool:
    """From now on SIGTERM sends what was recorded, within the exit timeout, and then ends the process as it would have.

    False, and nothing is changed, where something handles the signal already, which then ends the process in its own
    way, or outside the main thread. Forked children have it too. A second SIGTERM ends the process at once.
    """
    if signal.getsignal(signal.SIGTERM) is _end:
        return True
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    try:
        signal.signal(signal.SIGTERM, _end)
    except ValueError:  # only the main thread may
        return False
    return True


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    interrupted = _interrupted(frame)
    if interrupted & CLOSING:  # the process is at its end anyway
        return
    try:
        closing = native.Thread("streamgauge-end", partial(_close_and_die, number))
    except RuntimeError:  # no thread can start any more, so everything is closed
        os.kill(os.getpid(), number)
        return
    # what was interrupted may hold a lock that closing needs: it must go on
    while not interrupted and not closing.join(LAST_MOMENT_S):
        pass


def _interrupted(frame: FrameType | None) -> set[str]:
    """Functions of this package that the signal came into the middle of."""
    found: set[str] = set()
    innermost = frame
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module in HOLDERS or (frame is innermost and module.startswith(PACKAGE)):
            found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found


def _close_and_die(number: int) -> None:
    try:
        lifecycle.close_all()
    finally:
        os.kill(os.getpid(), number)
        # the first process of a container is not killed by a signal that it does not handle
        native.sleep(LAST_MOMENT_S)
        os._exit(128 + number)
