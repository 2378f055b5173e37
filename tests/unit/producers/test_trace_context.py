from __future__ import annotations

import subprocess
import sys
import types

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from streamgauge.producers.trace_context import current_exemplar


def test_within_a_sampled_span_there_is_an_exemplar() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")

    assert current_exemplar() is None
    with tracer.start_as_current_span("work") as span:
        context = span.get_span_context()
        assert current_exemplar() == {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
    assert current_exemplar() is None


def test_a_span_that_is_not_sampled_gives_none() -> None:
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")

    with tracer.start_as_current_span("work"):
        assert current_exemplar() is None


def test_opentelemetry_is_not_loaded_for_it() -> None:
    code = (
        "import sys; from streamgauge.producers.trace_context import current_exemplar; assert current_exemplar() is None;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_module_that_is_half_loaded_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.ModuleType("opentelemetry.trace"))

    assert current_exemplar() is None
