"""prometheus_client's API with streamgauge's own instruments: change the import, and what a program counts travels to Kafka.

    from streamgauge.producers.prometheus import Counter, start_http_server

Counter, Gauge, Histogram, Summary, Info and Enum are streamgauge's: they send through the default producer and keep what /metrics
shows. What only formats, parses or serves is prometheus_client's own, hence the extra: pip install 'streamgauge[prometheus]'.
"""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from importlib import import_module

try:
    import_module("prometheus_client")
except ModuleNotFoundError as error:
    raise ImportError(
        "streamgauge.producers.prometheus shows /metrics with prometheus_client, which is not installed: "
        "pip install 'streamgauge[prometheus]'. Metrics without /metrics need nothing more: see streamgauge.producers."
    ) from error

from streamgauge.producers.prometheus import (
    exposition,
    gc_collector,
    metrics,
    metrics_core,
    platform_collector,
    process_collector,
    registry,
)
from streamgauge.producers.prometheus.exposition import (
    CONTENT_TYPE_LATEST,
    CONTENT_TYPE_PLAIN_0_0_4,
    CONTENT_TYPE_PLAIN_1_0_0,
    MetricsHandler,
    delete_from_gateway,
    generate_latest,
    instance_ip_grouping_key,
    make_asgi_app,
    make_wsgi_app,
    push_to_gateway,
    pushadd_to_gateway,
    start_http_server,
    start_wsgi_server,
    write_to_textfile,
)
from streamgauge.producers.prometheus.gc_collector import GC_COLLECTOR, GCCollector
from streamgauge.producers.prometheus.metrics import (
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    disable_created_metrics,
    enable_created_metrics,
)
from streamgauge.producers.prometheus.metrics_core import Metric
from streamgauge.producers.prometheus.platform_collector import PLATFORM_COLLECTOR, PlatformCollector
from streamgauge.producers.prometheus.process_collector import PROCESS_COLLECTOR, ProcessCollector
from streamgauge.producers.prometheus.registry import REGISTRY, CollectorRegistry

__all__ = [
    "CONTENT_TYPE_LATEST",
    "CONTENT_TYPE_PLAIN_0_0_4",
    "CONTENT_TYPE_PLAIN_1_0_0",
    "GC_COLLECTOR",
    "PLATFORM_COLLECTOR",
    "PROCESS_COLLECTOR",
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Enum",
    "GCCollector",
    "Gauge",
    "Histogram",
    "Info",
    "Metric",
    "MetricsHandler",
    "PlatformCollector",
    "ProcessCollector",
    "Summary",
    "delete_from_gateway",
    "disable_created_metrics",
    "enable_created_metrics",
    "exposition",
    "gc_collector",
    "generate_latest",
    "instance_ip_grouping_key",
    "make_asgi_app",
    "make_wsgi_app",
    "metrics",
    "metrics_core",
    "platform_collector",
    "process_collector",
    "push_to_gateway",
    "pushadd_to_gateway",
    "registry",
    "start_http_server",
    "start_wsgi_server",
    "write_to_textfile",
]
