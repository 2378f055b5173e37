"""The same random program through prometheus_client and through ours: the same text, and what travels adds up."""

# prometheus_client has types for a part of its own
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, cast

import numpy as np
import prometheus_client
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import exposition

import streamgauge.producers.prometheus as ours
from streamgauge.producers.prometheus.folding import count_below, count_keys
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.histogram import histogram_of

NUMBERS: Any = (int, float, np.integer)
STATES = ["starting", "running", "stopped"]
CREATED = re.compile(rb"^.*_created(\{.*\})? .*\n", re.MULTILINE)
STAMPED = re.compile(rb"(# \{[^}]*\} \S+) [0-9.e+]+$", re.MULTILINE)

amounts = st.one_of(
    st.just(1),
    st.integers(-3, 1_000),
    st.floats(),
    st.floats(0, 100),
    st.sampled_from([0.1, 0.25, 1.0, 2.5, 5e-324, 1e308, True, "1", None, np.float64(0.3), np.int64(2)]),
)
values = st.one_of(st.sampled_from(["a", "b", 'ü\n"\\', ""]), st.integers(0, 2), st.none(), st.booleans())
exemplars = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(["trace", "span", "__no"]), st.text("ab", max_size=90))
)
calls = st.one_of(
    st.tuples(st.sampled_from(["count", "labelled"]), st.just("inc"), st.tuples(amounts)),
    st.tuples(st.just("count"), st.just("inc"), st.tuples(amounts, exemplars)),
    st.tuples(st.just("count"), st.sampled_from(["inc", "reset"]), st.just(())),
    st.tuples(st.sampled_from(["level", "recent"]), st.sampled_from(["inc", "dec", "set"]), st.tuples(amounts)),
    st.tuples(st.sampled_from(["size", "negative"]), st.just("observe"), st.tuples(amounts)),
    # what is no number raises in both, but prometheus_client's summary has counted it by then
    st.tuples(st.just("summary"), st.just("observe"), st.tuples(amounts.filter(lambda one: isinstance(one, NUMBERS)))),
    st.tuples(st.just("size"), st.just("observe"), st.tuples(amounts, exemplars)),
    st.tuples(st.just("state"), st.just("state"), st.tuples(st.sampled_from([*STATES, "unknown"]))),
    st.tuples(
        st.just("info"), st.just("info"), st.tuples(st.dictionaries(st.sampled_from("abl"), st.text(max_size=3)))
    ),
    st.tuples(st.sampled_from(["labelled", "level"]), st.sampled_from(["clear"]), st.just(())),
    st.tuples(st.just("labelled"), st.just("remove"), st.tuples(values, values)),
    st.tuples(
        st.just("labelled"),
        st.just("remove_by_labels"),
        st.tuples(st.dictionaries(st.sampled_from(["x", "y", "z"]), values)),
    ),
    st.tuples(st.just("producer"), st.just("flush"), st.just(())),
    st.tuples(st.just("scrape"), st.just(""), st.just(())),
)
steps = st.lists(st.tuples(calls, st.one_of(st.none(), st.tuples(values), st.tuples(values, values))), max_size=40)


def declare(library: Any, registry: Any, **given_: Any) -> dict[str, Any]:
    """Every kind of instrument."""
    return {
        "count": library.Counter("count_total", "Counted \\ things\n", namespace="n", registry=registry, **given_),
        "labelled": library.Counter(
            "labelled", "", ["x", "y"], subsystem="s", unit="bytes", registry=registry, **given_
        ),
        "level": library.Gauge("level", "A level", registry=registry, **given_),
        "recent": library.Gauge("recent", "", registry=registry, multiprocess_mode="mostrecent", **given_),
        "size": library.Histogram("size", "Sizes", registry=registry, **given_),
        "negative": library.Histogram("negative", "", registry=registry, buckets=[-1, 0, 0.5, "2"], **given_),
        "summary": library.Summary("summary", "", registry=registry, **given_),
        "state": library.Enum("state", "", registry=registry, states=STATES, **given_),
        "info": library.Info("info", "", registry=registry, **given_),
    }


def call(metrics: dict[str, Any], step: Any, labels: Any) -> str:
    """The name of what it raises, or nothing."""
    name, method, arguments = step
    try:
        one = metrics[name]
        if labels is not None and method not in ("clear", "remove", "remove_by_labels"):
            one = one.labels(*labels)
        getattr(one, method)(*arguments)
    except Exception as error:  # whichever it is, both raise it
        return type(error).__name__
    return ""


def texts(library: Any, registry: Any) -> list[bytes]:
    """Both formats, without times."""
    found: list[bytes] = [library.generate_latest(registry), cast("Any", exposition).generate_latest(registry)]
    return [STAMPED.sub(rb"\1", CREATED.sub(b"", text)) for text in found]


@settings(max_examples=120)
@given(steps)
def test_any_program_shows_the_same_text_raises_the_same_errors_and_travels_whole(program: list[Any]) -> None:
    producer, transport, _ = captured_producer()
    registries = prometheus_client.CollectorRegistry(), ours.CollectorRegistry()
    theirs, same = declare(prometheus_client, registries[0]), declare(ours, registries[1], producer=producer)
    expected: dict[str, list[float]] = {}
    for step, labels in program:
        name, method, arguments = step
        if name == "producer":
            producer.flush()
        elif name == "scrape":
            assert texts(prometheus_client, registries[0]) == texts(ours, registries[1])
        else:
            assert call(same, step, labels) == call(theirs, step, labels), (step, labels)
            if method == "observe" and labels is None and isinstance(amount := arguments[0], NUMBERS):
                expected.setdefault(name, []).append(float(amount))
    assert texts(prometheus_client, registries[0]) == texts(ours, registries[1])
    producer.flush()
    stats = producer.stats()
    for name, seen in expected.items():
        finite = [amount for amount in seen if math.isfinite(amount)]
        assert stats.emitted[name] == len(seen)
        assert stats.dropped.get((name, "not_finite"), 0) >= len(seen) - len(finite)
        if name not in {dropped for dropped, _ in stats.dropped}:
            assert stats.acknowledged[name] == len(finite)
            total, largest = sum(map(Fraction, finite)), max(map(abs, finite))
            if math.isfinite(sent := transport.sums()[name]):  # of several windows together it may not be
                assert abs(Fraction(sent) - total) <= Fraction(largest) / 10**9


# where one bucket ends and the next begins, and the numbers beside it
bounds_of_buckets = st.builds(
    lambda step, side: math.nextafter(2.0 ** (step / 32), side) if side else 2.0 ** (step / 32),
    st.integers(-32, 32),
    st.sampled_from([0.0, 1e-300, math.inf]),
)


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), bounds_of_buckets), max_size=60))
def test_counting_many_at_once_finds_the_buckets_that_one_at_a_time_finds(seen: list[float]) -> None:
    half = len(seen) // 2
    keys = count_keys(sorted(seen[half:]), count_keys(sorted(seen[:half]), {}))
    assert keys == histogram_of(seen)
    bounds = [-1.0, 0.0, 0.5, 1.0, math.inf]
    counts = count_below(sorted(seen), bounds, [0] * len(bounds))
    assert [sum(counts[: place + 1]) for place in range(len(bounds))] == [
        sum(value <= bound for value in seen) for bound in bounds
    ]
