"""Interrupts: Ctrl-C that is raised only where the code is ready for it."""

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
