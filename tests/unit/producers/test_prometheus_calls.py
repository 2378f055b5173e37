"""prometheus_client's calls: paths, arguments, errors, decorators and helpers are where programs expect them."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import subprocess
import sys
from decimal import Decimal
from typing import Any, cast

import numpy as np
import prometheus_client
import pytest

import streamgauge.producers.prometheus as ours
from streamgauge.producers import Producer
from streamgauge.producers.prometheus.core import CollectorRegistry, Counter, Gauge, Histogram, Summary
from streamgauge.producers.prometheus.openmetrics import exposition as openmetrics
from streamgauge.producers.testing import CapturedTransport, ManualClock, captured_producer

Kit = tuple[Producer, CapturedTransport, ManualClock]
PATHS = [
    "asgi",
    "bridge.graphite",
    "context_managers",
    "core",
    "decorator",
    "exposition",
    "gc_collector",
    "metrics",
    "metrics_core",
    "mmap_dict",
    "multiprocess",
    "openmetrics.exposition",
    "openmetrics.parser",
    "parser",
    "platform_collector",
    "process_collector",
    "registry",
    "samples",
    "utils",
    "validation",
    "values",
]


@pytest.fixture
def kit() -> Kit:
    return captured_producer(environment="production")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.mark.parametrize("path", PATHS)
def test_every_public_name_is_where_prometheus_client_has_it(path: str) -> None:
    theirs = importlib.import_module(f"prometheus_client.{path}")
    same = importlib.import_module(f"streamgauge.producers.prometheus.{path}")
    defined = [
        name
        for name, one in vars(theirs).items()
        if not name.startswith("_") and getattr(one, "__module__", "") == theirs.__name__ and callable(one)
    ]
    assert [name for name in defined if not hasattr(same, name)] == []
    assert [name for name in prometheus_client.__all__ if not hasattr(ours, name)] == []


@pytest.mark.parametrize("name", ["Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"])
def test_instruments_take_prometheus_clients_arguments_and_are_not_its_own(name: str) -> None:
    theirs, same = getattr(prometheus_client, name), getattr(ours, name)
    expected = list(inspect.signature(theirs).parameters)
    assert list(inspect.signature(same).parameters)[: len(expected)] == expected
    assert not issubclass(same, theirs)


@pytest.mark.parametrize("amount", [np.float64(2), np.float32(2), np.int64(2), True])
def test_numbers_of_other_libraries_travel_as_numbers(kit: Kit, registry: CollectorRegistry, amount: Any) -> None:
    producer, transport, _ = kit
    counter = Counter("a", "", registry=registry, producer=producer)
    gauge = Gauge("b", "", registry=registry, producer=producer)
    histogram = Histogram("c", "", registry=registry, producer=producer)
    for call in (counter.inc, gauge.set, gauge.inc, gauge.dec, histogram.observe):
        call(amount)
    producer.flush()
    assert transport.sums() == {"a": float(amount), "b": 4.0 * float(amount), "c": float(amount)}


@pytest.mark.parametrize("amount", [None, "1", b"1", Decimal(1), object(), []])
def test_what_is_no_number_raises_as_it_always_did_and_leaves_nothing_behind(kit: Kit, amount: Any) -> None:
    producer, transport, _ = kit
    for kind, call in (("Counter", "inc"), ("Gauge", "inc"), ("Summary", "observe"), ("Histogram", "observe")):
        theirs = getattr(prometheus_client, kind)("metric", "", registry=None)
        same = getattr(ours, kind)("metric", "", registry=None, producer=producer)
        with pytest.raises(Exception) as expected:  # noqa: PT011  # whichever it is
            getattr(theirs, call)(amount)
        with pytest.raises(expected.type):
            getattr(same, call)(amount)
    producer.flush()
    assert transport.sums() == {}


def test_created_series_are_shown_until_they_are_disabled_for_both_libraries(
    kit: Kit, registry: CollectorRegistry, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(ours.enable_created_metrics)
    Counter("same", "", registry=registry, producer=kit[0])
    prometheus_client.Counter("theirs", "", registry=registry)
    assert registry.get_sample_value("same_created")
    assert registry.get_sample_value("theirs_created")
    ours.disable_created_metrics()
    assert b"_created" not in ours.generate_latest(registry)


def test_exemplars_are_shown_in_openmetrics_and_checked(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", registry=registry, producer=producer)
    size = Histogram("size", "", buckets=[1, 2], registry=registry, producer=producer)
    calls.inc(exemplar={"trace_id": "abc"})
    size.observe(1.5, {"trace_id": "def"})
    text: str = cast("Any", openmetrics).generate_latest(registry).decode()
    assert 'calls_total 1.0 # {trace_id="abc"} 1.0 ' in text
    assert 'size_bucket{le="2.0"} 1.0 # {trace_id="def"} 1.5 ' in text
    with pytest.raises(ValueError, match="exceeding the limit of 128"):
        size.observe(1, {"trace_id": "x" * 128})
    producer.flush()
    assert transport.sums() == {"calls": 1.0, "size": 2.5}


async def test_decorators_count_and_time_what_coroutines_do_while_they_are_awaited(registry: CollectorRegistry) -> None:
    producer, _, _ = captured_producer()
    failures = Counter("failures", "", registry=registry, producer=producer)
    running = Gauge("running", "", registry=registry, producer=producer)
    seconds = Summary("seconds", "", registry=registry, producer=producer)
    seen: list[float | None] = []

    @seconds.time()
    @running.track_inprogress()
    @failures.count_exceptions(KeyError)
    async def work(key: str) -> None:
        """Work."""
        await asyncio.sleep(0.01)
        seen.append(registry.get_sample_value("running"))
        raise KeyError(key)

    for _ in range(2):
        with pytest.raises(KeyError):
            await work("a")
    assert seen == [1.0, 1.0]
    assert inspect.iscoroutinefunction(work)
    assert (work.__name__, work.__doc__) == ("work", "Work.")
    assert registry.get_sample_value("failures_total") == 2
    assert (registry.get_sample_value("seconds_sum") or 0) >= 0.02


def test_a_timer_says_how_long_it_took_and_may_choose_its_series_inside(registry: CollectorRegistry) -> None:
    producer, _, _ = captured_producer()
    seconds = Histogram("seconds", "", ["result"], registry=registry, producer=producer)
    with seconds.time() as timer:
        timer.labels("good")
    assert timer.duration == registry.get_sample_value("seconds_sum", {"result": "good"})
    with pytest.raises(ValueError, match="missing label values"), seconds.time():
        pass


def test_a_function_keeps_its_signature(registry: CollectorRegistry) -> None:
    seconds = Summary("seconds", "", registry=registry, producer=captured_producer()[0])

    @seconds.time()
    def work(a: int, *, b: int = 2) -> int:
        return a + b

    assert work(1, b=3) == 4
    assert inspect.getfullargspec(work).args == ["a"]


def test_a_class_of_ones_own_has_children_of_its_own(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit

    class Doubling(Counter):
        def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
            super().inc(2 * amount, exemplar)

    calls = Doubling("calls", "", ["by"], registry=registry, producer=producer)
    calls.labels("me").inc()
    producer.flush()
    assert isinstance(calls.labels("me"), Doubling)
    assert transport.sums() == {"calls": 2.0}


@pytest.mark.parametrize("kind", [Counter, Gauge, Histogram, Summary])
def test_a_child_has_no_more_attributes_than_instances_can_share_the_names_of(kind: Any) -> None:
    producer, _, _ = captured_producer()
    child: Any = kind("size", "", ["by"], registry=None, producer=producer).labels("me")
    child.inc() if kind in (Counter, Gauge) else child.observe(1.0)
    assert len(child.__dict__) <= 30  # one more costs a histogram a kilobyte


def test_what_tests_of_applications_reach_for_is_there(registry: CollectorRegistry) -> None:
    producer, transport, _ = captured_producer()
    calls: Any = Counter("calls", "", ["by"], registry=registry, producer=producer)
    size: Any = Histogram("size", "", registry=registry, producer=producer, buckets=[1, 2])
    calls.labels("me").inc(4)
    size.observe(1.5)
    assert calls.labels("me")._value.get() == 4
    assert list(calls._metrics) == [("me",)]
    assert (size._sum.get(), [one.get() for one in size._buckets]) == (1.5, [0, 1, 0])
    calls.labels("me")._value.set(0)
    assert registry.get_sample_value("calls_total", {"by": "me"}) == 0
    producer.flush()
    assert transport.sums()["calls"] == 4


def test_without_the_extra_the_import_says_which_one_it_is() -> None:
    program = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name=name)
        return None

sys.meta_path.insert(0, Missing())
import streamgauge.producers
try:
    import streamgauge.producers.prometheus
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'streamgauge[prometheus]'" in done.stdout
