"""gevent, patched before or after our import: the flusher is no greenlet, and nobody waits for it."""

import sys
import threading
from importlib import import_module
from typing import Any

gevent: Any = import_module("gevent")
monkey: Any = import_module("gevent.monkey")
if sys.argv[1] == "before":
    monkey.patch_all()

from streamgauge.producers import Counter, flush_all  # noqa: E402  # before or after is the question

if sys.argv[1] == "after":
    monkey.patch_all()

CALLS = Counter("calls", "", ["who"])


def record() -> None:
    """With a switch in between."""
    for _ in range(10):
        CALLS.labels("greenlet").inc()
        gevent.sleep(0.001)


gevent.joinall([gevent.spawn(record) for _ in range(50)])
gevent.joinall([gevent.spawn(flush_all) for _ in range(3)])
worker = threading.Thread(target=CALLS.labels("thread").inc)
worker.start()
worker.join()
if (
    "streamgauge-flusher" in [one.name for one in threading.enumerate()]
    or monkey.get_original("_thread", "_count")() < 1
):
    sys.exit("the flusher is a greenlet")
CALLS.labels("main").inc()
