"""How long does a report take, and how often does it fail?"""

import random
import sys
import time

from streamgauge.producers import Counter, Gauge, Histogram

DURATION = Histogram("report_duration_seconds", "Time to build a report", ["kind"], unit="s")
FAILURES = Counter("report_failures", "Reports that could not be built", ["kind"])
WAITING = Gauge("reports_waiting", "Reports that nobody has begun")

DAILY = DURATION.labels("daily")  # a kept handle is the cheapest call there is


@DAILY.time()
@FAILURES.labels("daily").count_exceptions()
def daily_report() -> None:
    time.sleep(random.uniform(0.001, 0.005))
    if random.random() < 0.05:
        raise RuntimeError("no data")


def weekly_report() -> None:
    with DURATION.labels("weekly").time(), FAILURES.labels("weekly").count_exceptions():
        time.sleep(random.uniform(0.002, 0.01))


rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
for number in range(rounds):
    WAITING.set(rounds - number)
    try:
        daily_report()
    except RuntimeError as error:
        print(f"report {number}: {error}")
    if number % 7 == 0:
        weekly_report()
