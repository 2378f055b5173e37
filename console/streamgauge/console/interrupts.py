"""Interrupts: Ctrl-C, and SIGTERM, that are heard only where the code is ready for them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

Check = Callable[[], None]
"""Raises KeyboardInterrupt if the person has asked for it."""


@contextmanager
def deferred_interrupt() -> Generator[Check]:
    """Inside, the first Ctrl-C is kept until the yielded check is called; a second one is raised at once.

    A Kafka client that is interrupted anywhere else answers with a SystemError instead (measured).
    Outside the main thread, where there are no signals, the check never raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    asked = False

    def note_it(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def check() -> None:
        nonlocal asked
        if asked:
            asked = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note_it)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ended_by_signal() -> Generator[threading.Event]:
    """The yielded event is set by Ctrl-C and SIGTERM; a second one ends at once. Outside the main thread nothing sets it."""
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
