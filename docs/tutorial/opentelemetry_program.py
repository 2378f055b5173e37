"""A shop's metrics through OpenTelemetry's own API. Only the exporter is another one."""

import random
import sys
import time
from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter

reader = PeriodicExportingMetricReader(StreamgaugeMetricExporter(), export_interval_millis=5_000)
resource = Resource.create({"service.name": "shop", "service.version": "1.4.2"})
metrics.set_meter_provider(MeterProvider(metric_readers=[reader], resource=resource))

meter = metrics.get_meter("shop")
orders = meter.create_counter("shop.orders", unit="{order}", description="Orders placed")
carts = meter.create_up_down_counter("shop.carts.open", unit="{cart}", description="Carts that are not paid yet")
duration = meter.create_histogram("shop.checkout.duration", unit="s", description="Time to check out")


def stock(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(random.randint(50, 60), {"warehouse": "osaka"})


meter.create_observable_gauge("shop.stock", [stock], unit="{item}", description="Items in stock")


def check_out(country: str) -> None:
    carts.add(1)
    begun = time.perf_counter()
    time.sleep(random.uniform(0.001, 0.004))
    duration.record(time.perf_counter() - begun, {"country": country})
    orders.add(1, {"country": country, "http.route": "/checkout"})
    carts.add(-1)


rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
for _ in range(rounds):
    check_out(random.choice(["JP", "AU", "SG"]))
