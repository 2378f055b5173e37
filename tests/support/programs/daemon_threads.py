"""Daemon threads that record for as long as the interpreter lets them."""

import threading
import time

from streamgauge.producers import Counter

CALLS = Counter("calls", "", ["who"])
BUSY = Counter("busy")


def record() -> None:
    """Until the end, and a little longer."""
    while True:
        BUSY.inc()


for _ in range(3):
    threading.Thread(target=record, daemon=True).start()
CALLS.labels("main").inc(6)
time.sleep(0.1)
