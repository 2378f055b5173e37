"""os._exit: nothing of Python runs any more. What was flushed is there, the rest is not."""

import os

from streamgauge.producers import Counter, flush_all

CALLS = Counter("calls", "", ["who"])

CALLS.labels("flushed").inc(4)
flush_all()
CALLS.labels("lost").inc(1)
os._exit(0)
