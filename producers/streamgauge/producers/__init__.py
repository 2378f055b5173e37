"""What an application imports: metrics, events and the producer that sends them. Importing it has no side effects."""

from streamgauge.producers.accounts import FlushReport, Stats
from streamgauge.producers.collector import Collector, observe_every, set_function
from streamgauge.producers.default import emit, get_default, set_default
from streamgauge.producers.granted import granted
from streamgauge.producers.lifecycle import close_all, flush_all
from streamgauge.producers.metrics import Counter, Gauge, Histogram
from streamgauge.producers.operations import operation
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings, producer_settings
from streamgauge.producers.sigterm import flush_on_sigterm
from streamgauge.schemas.consent import Consent
from streamgauge.schemas.events import (
    Dimension,
    Dropped,
    Event,
    FreeText,
    Generalised,
    IdempotencyKey,
    Measure,
    SmallCells,
    Unique,
    by,
    unit,
)

__all__ = [
    "Collector",
    "Consent",
    "Counter",
    "Dimension",
    "Dropped",
    "Event",
    "FlushReport",
    "FreeText",
    "Gauge",
    "Generalised",
    "Histogram",
    "IdempotencyKey",
    "Measure",
    "Producer",
    "ProducerSettings",
    "SmallCells",
    "Stats",
    "Unique",
    "by",
    "close_all",
    "emit",
    "flush_all",
    "flush_on_sigterm",
    "get_default",
    "granted",
    "observe_every",
    "operation",
    "producer_settings",
    "set_default",
    "set_function",
    "unit",
]
