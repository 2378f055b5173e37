"""Exact: instruments that take no lock lose nothing under threads, nor do those that must take one."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from streamgauge.producers.prometheus.core import CollectorRegistry, Counter, Gauge, Histogram, Summary
from streamgauge.producers.prometheus.distributions import _Distribution
from streamgauge.producers.prometheus.exact import guarded
from streamgauge.producers.testing import captured_producer
from tests.unit.producers.test_exact import hammer, runs

THREADS, CALLS = 6, 10_000


@pytest.mark.parametrize(
    ("function", "stored"),
    [
        (Counter.inc, {"_total", "_gain", "_calls"}),
        (Counter._fold_ones, {"_whole", "_total", "_gain", "_calls", "_ones", "_ones_taken"}),
        (Counter.wire_gained, {"_ones_taken", "_gain", "_calls", "wire_idle"}),
        (Gauge.inc, {"_now", "_gain", "_calls", "_low", "_high"}),
        (Gauge.dec, {"_now", "_gain", "_calls", "_low", "_high"}),
        (Gauge.set, {"_now", "_gain", "_calls", "_low", "_high"}),
        (Gauge.wire_gained, {"_gain", "_calls", "_low", "_high", "wire_idle"}),
        (_Distribution._folded_now, {"_total", "_gain", "_folded", "_calls", "_counts", "_keys", "_low", "_high"}),
    ],
)
def test_what_must_not_be_torn_apart_is_one_run_of_instructions(
    function: Callable[..., object], stored: set[str]
) -> None:
    changed = [{one.argval for one in run if one.opname == "STORE_ATTR"} for run in runs(function)]
    assert [names for names in changed if names & stored] == [names for names in changed if names >= stored]
    assert any(names >= stored for names in changed)


@pytest.mark.parametrize("locking", [False, True], ids=["plain", "guarded"])
def test_no_call_of_any_thread_is_lost_or_counted_twice(locking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if locking:
        for kind, method in ((Counter, "inc"), (Gauge, "inc"), (Summary, "observe"), (Histogram, "observe")):
            monkeypatch.setattr(kind, method, guarded(getattr(kind, method)))
    producer, transport, _ = captured_producer()
    registry = CollectorRegistry()
    given: dict[str, Any] = {"registry": registry, "producer": producer}
    ones, sevens = Counter("ones", "", **given), Counter("sevens", "", **given)
    level = Gauge("level", "", **given)
    size, seconds = Histogram("size", "", **given), Summary("seconds", "", **given)
    shown: list[float] = []

    def look() -> None:
        producer.flush()
        shown.append(registry.get_sample_value("size_count") or 0)

    calls: list[Callable[[], object]] = [
        ones.inc,
        lambda: sevens.inc(7),
        level.inc,
        lambda: size.observe(2.0),
        lambda: seconds.observe(0.5),
    ]

    def record() -> None:
        for call in calls:
            call()

    hammer(record, look, CALLS, THREADS)
    producer.flush()
    total = THREADS * CALLS
    assert registry.get_sample_value("ones_total") == registry.get_sample_value("level") == total
    assert registry.get_sample_value("sevens_total") == 7 * total
    assert registry.get_sample_value("size_sum") == 2 * total
    assert registry.get_sample_value("seconds_count") == total
    sums = transport.sums()
    assert (sums["ones"], sums["sevens"], sums["size"], sums["seconds"]) == (total, 7 * total, 2 * total, total / 2)
    assert producer.stats().acknowledged == dict.fromkeys(("ones", "sevens", "level", "size", "seconds"), total)
    assert shown == sorted(shown)


def test_an_observation_that_comes_while_its_series_is_taken_is_taken_the_next_time() -> None:
    producer, transport, _ = captured_producer()
    size: Any = Histogram("size", "", registry=None, producer=producer)
    fold = size._fold

    def folding() -> None:
        fold()
        size._fold = fold
        size.observe(2.0)

    size.observe(1.0)
    size._fold = folding
    producer.flush()
    producer.flush()
    assert transport.sums() == {"size": 3.0}


def test_a_thread_sees_its_own_observations_at_once_while_others_fold() -> None:
    producer, _, _ = captured_producer()
    registry = CollectorRegistry()
    size = Histogram("size", "", ["by"], registry=registry, producer=producer)
    wrong: list[float] = []

    def work(name: str) -> None:
        mine = size.labels(name)
        for number in range(300):
            mine.observe(1.0)
            if (seen := mine._sum.get()) != number + 1:
                wrong.append(seen)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        producer.flush()
    for thread in threads:
        thread.join()
    assert wrong == []
