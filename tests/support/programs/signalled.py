"""Waits for a signal: some calls are flushed before, some are not."""

import sys
import threading

from streamgauge.producers import Counter, flush_all, flush_on_sigterm

if sys.argv[1:] == ["asked"] and not flush_on_sigterm():
    sys.exit("something handles SIGTERM already")
CALLS = Counter("calls", "", ["who"])
CALLS.labels("flushed").inc(5)
flush_all()
CALLS.labels("window").inc(3)
print("ready", flush=True)
threading.Event().wait()
