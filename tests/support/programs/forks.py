"""os.fork after heavy use: children count for themselves, and the parent goes on."""

import os
import sys

from streamgauge.producers import Counter, flush_all

CALLS = Counter("calls", "", ["who"])
WIDE = Counter("wide", "", ["number"])

for number in range(2_000):
    WIDE.labels(number % 200).inc()
flush_all()  # librdkafka's threads run by now
CALLS.labels("parent").inc(5)
children: list[int] = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        CALLS.labels("child").inc(2)
        if os.fork() == 0:
            CALLS.labels("grandchild").inc()
            sys.exit()
        os.wait()
        sys.exit()
    children.append(child)
CALLS.labels("parent").inc(5)
sys.exit(max(os.waitpid(child, 0)[1] for child in children))
