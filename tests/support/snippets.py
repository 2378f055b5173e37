"""Snippets: runs the Python of a page as one program, with a producer that sends nowhere."""

from __future__ import annotations

import sys
import types
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamgauge.producers import operation, set_default
from streamgauge.producers.bridges.http_server import ServerMetrics
from streamgauge.producers.testing import CapturedTransport, captured_producer
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import MetricBatch, decode
from streamgauge.schemas.events import Event, contract_of
from tests.support import documents


@contextmanager
def program(page: Path, *, numbers: slice = slice(None)) -> Generator[tuple[dict[str, Any], CapturedTransport]]:
    """The names that the Python snippets of a page leave, run one after the other, and what they sent."""
    producer, transport, _ = captured_producer()
    module = types.ModuleType(f"program_of_{page.stem.replace('-', '_')}")
    sys.modules[module.__name__] = module  # where classes look for what their annotations name
    set_default(producer)
    try:
        for snippet in documents.snippets(page, "python")[numbers]:
            exec(compile(snippet.text, str(snippet), "exec"), module.__dict__)
        producer.flush(5)
        yield module.__dict__, transport
    finally:
        set_default(None)
        del sys.modules[module.__name__]


def events_of(page: Path) -> list[Contract]:
    """Contracts of the event classes that a page declares."""
    with program(page) as (names, _):
        return [
            contract_of(one)
            for one in names.values()
            if isinstance(one, type) and issubclass(one, Event) and one is not Event
        ]


def bridge_heads() -> list[MetricHead]:
    """Declarations of metrics that bridges give and pages ask about."""
    producer, transport, _ = captured_producer()
    server = ServerMetrics(producer)
    server.end(server.begin("POST"), ("POST", "/orders/{order}", "200", ""), 0.1, 10, 10)
    with operation("charge_card", producer=producer):
        pass
    producer.flush(5)
    batches = [decode(one.value) for one in transport.delivered]
    return [head for batch in batches if isinstance(batch, MetricBatch) for head in batch.metrics]
