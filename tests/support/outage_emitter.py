"""Outage emitter: counts and emits about 200 times a second until its standard input says something, then ends.

Run as `python -m tests.support.outage_emitter NAME`; settings from the environment. Prints how many it has emitted, and
when.
"""

from __future__ import annotations

import select
import sys
import time

from streamgauge.producers import Counter, Dimension, Event, emit

CALLS = Counter("outage_calls", "Calls", ["who"])


class Tick(Event):
    """One more."""

    who: Dimension[str]
    number: Dimension[str]


def main() -> int:
    """Emit until told to end."""
    (who,) = sys.argv[1:]
    number = 0
    while not select.select([sys.stdin], [], [], 0.005)[0]:
        number += 1
        emit(Tick(who=who, number=str(number)))
        CALLS.labels(who).inc()
        print(number, time.time(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
