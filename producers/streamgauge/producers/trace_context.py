"""Trace context: which trace a measurement belongs to, where OpenTelemetry is in use. It is never loaded from here."""

from __future__ import annotations

import sys
from typing import Any


def current_exemplar() -> dict[str, str] | None:
    """`trace_id` and `span_id` of the active span, in hexadecimal, if it is sampled; None without one.

    Never raises. Costs one look-up where OpenTelemetry is not loaded.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid or not context.trace_flags.sampled:
            return None
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    except Exception:  # still being imported, or another library's span: a measurement does not depend on it
        return None
