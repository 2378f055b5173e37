"""Emitter: a service like any other, which counts and emits `COUNT` times and says when everything is acknowledged.

Run as `python -m tests.support.emitter`; settings from the environment.
"""

from __future__ import annotations

import os
import sys

from streamgauge.producers import Counter, Dimension, Event, Measure, Unique, emit, get_default, unit

CALLS = Counter("emitter_calls", "Calls", ["route"])


class EmitterOrder(Event, owner="checkout", purpose="analytics"):
    """An order."""

    country: Dimension[str]
    amount: Measure[float, unit("1")]
    customer: Unique[str]


def main() -> int:
    """Emit; 0 when everything was acknowledged."""
    for number in range(int(os.environ["COUNT"])):
        CALLS.labels("/pay").inc()
        emit(EmitterOrder(country="JP", amount=0.5, customer=f"c-{number}"))
    report = get_default().flush(30)
    return 1 if report.left or report.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
