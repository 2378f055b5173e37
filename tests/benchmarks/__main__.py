"""`python -m tests.benchmarks [NAME...] [--quick] [--profile] [--json FILE]`: measure, and print a table for each benchmark.

Nothing passes or fails here: other work on the machine moves every figure. Compare the ratios, whose two sides were
measured in one run, and CPU time before wall time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.report import Conditions, Figure, json_line, table
from tests.support.kafka import KafkaToolsMissing

BENCHMARKS = {
    "producers": "calls of the client library, beside a bare lock, prometheus_client, OpenTelemetry and datadogpy",
    "gateway": "lines and points a second through the gateway, beside splitting a line and parsing a message",
    "prometheus": "calls of the prometheus_client drop-in, beside prometheus_client",
    "bridges": "middleware of ASGI and WSGI beside none and OpenTelemetry's; operations; log records",
    "worker": "CPU an event on a real Kafka, beside a bare consumer",
    "transactions": "what a worker's transactions cost, beside acknowledged sends and a committed offset",
    "small_instances": "CPU a message of 2,000 instances that send 20 points each",
    "sink": "rows a second into four tiers, beside a bare insert of the same blocks",
    "single_events": "what a single event costs in sink and store",
    "latency": "from emit until SQL shows it, at 20,000 events a second",
    "memory": "peak memory of worker and sink behind a backlog of 2 GB",
    "keys": "CPU and memory an idempotency key, and the time to restore them",
    "scrub": "what cleaning a value costs, and what the detectors find, miss and mistake",
    "store_schema": "what a row costs in the store, and what other schemas would cost",
}


def conditions(quick: bool) -> Conditions:
    """The machine as it is now."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Conditions(at, os.getloadavg(), os.cpu_count() or 1, platform.python_version(), quick)


def measure(name: str, options: Options, json_file: Path | None) -> int:
    """Run one benchmark; 1 if it gave no complete set of figures."""
    now = conditions(options.quick)
    print(f"── {name}: {BENCHMARKS[name]}\n   {now.text()}", flush=True)
    run = cast("Callable[[Options], Iterator[Figure]]", importlib.import_module(f"tests.benchmarks.{name}").run)
    figures: list[Figure] = []
    failure = ""
    try:
        figures.extend(run(options))
    except (BenchmarkFailed, KafkaToolsMissing) as error:
        failure = str(error)
    except Exception:  # a fault in one must not cost the others their figures
        failure = traceback.format_exc()
    if figures:
        print(table(figures), flush=True)
    if failure:
        print(f"   not measured to its end: {failure}", flush=True)
    print()
    if json_file is not None and figures:
        with json_file.open("ab") as out:
            out.write(json_line(name, figures, now))
    return 1 if failure else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all; 1 if one could not be measured."""
    listed = "\n".join(f"  {name:16} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"Measure the budgets.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: make bench BENCH_ARGS='worker --quick --profile'",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")
    parser.add_argument("--quick", action="store_true", help="little data, to see that it works")
    parser.add_argument("--profile", action="store_true", help="also say where the time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append a line of JSON for each benchmark")
    given = parser.parse_args(argv)
    names = cast("list[str]", given.names) or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    options = Options(quick=cast("bool", given.quick), profile=cast("bool", given.profile))
    return max(measure(name, options, cast("Path | None", given.json)) for name in names)


if __name__ == "__main__":
    sys.exit(main())
