"""Scrub: what cleaning a value costs, seen before or new, innocent or not; recall and false scrubs of the detectors, by kind.

Beside a loop of plain Python of known length, so that machines can be compared; CPU time of this process, best of some.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random

import numpy as np

from streamgauge.processors.detectors import scrub_text, standard_rules
from streamgauge.processors.detectors_text import MAX_CHARS
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.columns import Array
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.report import Figure
from tests.support.personal import POSITIVES, positives
from tests.support.telemetry_shapes import NEGATIVES, NEVER

LOOP = 1_000
REPEATS = 7
HOSTILE = ("a", "1 ", "1.1.1.1 ", "key=", "+1 ", "01 ", "a@a.", "::", "%40", "4111 ")


def telemetry(each: int, seed: str) -> list[str]:
    """So many values of every kind, none twice."""
    made: list[str] = []
    for kind, make in NEGATIVES.items():
        source = Random(f"{kind} {seed}")
        made += (make(source) for _ in range(each))
    Random(seed).shuffle(made)
    return list(dict.fromkeys(made))


def least(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few runs."""
    spent: list[float] = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def loop() -> float:
    """Microseconds of an empty loop over a thousand numbers: how fast this machine is now."""

    def turn() -> None:
        for _ in range(100 * LOOP):
            pass

    return least(turn) / 100 * 1e6


def cold(values: list[str]) -> float:
    """Microseconds a value that a scrubber has not seen."""
    return least(lambda: Scrubber().dictionary(values, np.arange(len(values)))) / len(values) * 1e6


def costs(options: Options) -> Iterator[Figure]:
    """What a value costs, by what it is."""
    values = telemetry(options.sized(60, 10), "cost")
    rules = standard_rules()
    quiet = [value for value in values if rules.suspects(value) == ()]
    hits = [text for kind in POSITIVES for text, _ in positives(kind, options.sized(40, 5), seed=3)]
    for text in (*values, *hits):  # metadata of countries is read when first asked for
        scrub_text(text)
    Random(1).shuffle(hits)
    mixed = values + hits[: len(values) // 19]
    Random(2).shuffle(mixed)
    scrubber, index = Scrubber(), np.arange(len(quiet))
    scrubber.dictionary(quiet, index)
    size = sum(map(len, values)) / len(values)
    case = f"{len(values):,} values of {len(NEGATIVES)} kinds, {size:.0f} characters"
    known = least(lambda: scrubber.dictionary(quiet, index)) / len(quiet) * 1e6
    one = loop()
    yield Figure(case, "an empty loop, 1,000 turns", one, "us")
    yield Figure(case, "seen before", known, "us", one, "the loop", "<= 0.3")
    innocent = least(lambda: list(map(rules.scrub, quiet))) / len(quiet) * 1e6
    yield Figure(case, "the gate finds nothing", innocent, "us", one, "the loop", "<= 2")
    yield Figure(case, "the gate finds nothing, and remembered", cold(quiet), "us", one, "the loop", "<= 2")
    mean = least(lambda: list(map(rules.scrub, mixed))) / len(mixed) * 1e6
    yield Figure(case, "mean with 5 % hits", mean, "us", one, "the loop", "<= 4")
    yield Figure(case, "mean with 5 % hits, and remembered", cold(mixed), "us", one, "the loop", "<= 4")
    for kind in POSITIVES:
        texts = [text for text, _ in positives(kind, options.sized(60, 10), seed=4)]
        spent = least(partial(_all, rules.scrub, texts)) / len(texts) * 1e6
        yield Figure("a hit", kind, spent, "us", one, "the loop", "<= 250")


def _all(scrub: Callable[[str], object], texts: Sequence[str]) -> None:
    for text in texts:
        scrub(text)


def _column(values: Sequence[str], index: Array) -> None:
    Scrubber().dictionary(values, index)


def worst(options: Options) -> Iterator[Figure]:
    """What was made to be slow."""
    megabyte = "x@" * 500_000
    yield Figure("hostile", "a value of 1 MB", least(lambda: scrub_text(megabyte)) * 1e6, "us")
    yield Figure("hostile", "10,000 x a", least(lambda: scrub_text("a" * 10_000)) * 1e6, "us")
    slowest, unit = max((least(partial(scrub_text, (unit * MAX_CHARS)[:MAX_CHARS])), unit) for unit in HOSTILE)
    yield Figure("hostile", f"slowest of {MAX_CHARS:,} characters ({unit.strip()!r})", slowest * 1e3, "ms")
    count = options.sized(10_000, 1_000)
    index = np.arange(count)
    batches = {
        "innocent": [f"checkout-{number:07x}" for number in range(count)],
        "telephones": [f"+61 4{number % 100:02d} {number // 100:03d} 678" for number in range(count)],
        "addresses of mail": [f"u{number}@example.com" for number in range(count)],
    }
    for name, values in batches.items():
        spent = least(partial(_column, values, index))
        yield Figure(f"a batch of {count:,} distinct values", name, spent * 1e3, "ms")


def recall(options: Options) -> Iterator[Figure]:
    """How many of a kind are found, and how many are taken for something that they are not."""
    count = options.sized(1_000, 50)
    for kind in POSITIVES:
        found = sum(one not in scrub_text(text)[0] for text, one in positives(kind, count, seed=5))
        yield Figure(f"recall, of {count:,}", kind, 100 * found / count, "%", budget=">= 98")
    wrong = {
        kind: sum(scrub_text(make(source)) [1] != () for _ in range(count))
        for kind, make in NEGATIVES.items()
        if (source := Random(f"{kind} bench"))
    }  # fmt: skip
    case = f"false scrubs, of {count:,} a kind"
    yield Figure(
        case, f"all {len(wrong)} kinds", 100 * sum(wrong.values()) / (count * len(wrong)), "%", budget="<= 0.5"
    )
    for kind, many in wrong.items():
        if many or kind in NEVER:
            yield Figure(case, kind, 100 * many / count, "%", budget="0" if kind in NEVER else "")


def run(options: Options) -> Iterator[Figure]:
    """Cost first, then hostile values, then what is found and what is not."""
    if scrub_text("jane@example.com")[1] != ("email",):
        raise BenchmarkFailed("the detectors find nothing")
    yield from costs(options)
    yield from worst(options)
    yield from recall(options)
