"""gevent, patched before or after our import: the flusher is no greenlet, and nobody waits for it."""

import sys
import threading

if sys.argv[1] == "before":
    from gevent import monkey

    monkey.patch_all()

from streamgauge.producers import Counter, flush_all

if sys.argv[1] == "after":
    from gevent import monkey

    monkey.patch_all()

import gevent
from gevent.monkey import get_original

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
if "streamgauge-flusher" in [one.name for one in threading.enumerate()] or get_original("_thread", "_count")() < 1:
    sys.exit("the flusher is a greenlet")
CALLS.labels("main").inc()
