"""A double fork, as daemons do it: who ends by `os._exit` says so before."""

import os
import time
from pathlib import Path

from streamgauge.producers import Counter, close_all, flush_all

CALLS = Counter("calls", "", ["who"])

CALLS.labels("starter").inc(2)
if os.fork():
    flush_all()
    os._exit(0)
os.setsid()
CALLS.labels("leader").inc(3)
if os.fork():
    close_all()
    os._exit(0)
CALLS.labels("daemon").inc(4)
CALLS.labels("daemon").inc(1)
close_all()
Path("daemon.done").touch()
time.sleep(0.01)
