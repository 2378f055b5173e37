"""A small server's metrics, written for prometheus_client. Only the import is another one."""

import random
import sys
import time

from streamgauge.producers.prometheus import Counter, Gauge, Histogram, Summary, start_http_server

REQUESTS = Counter("app_requests_total", "Requests served", ["method", "endpoint", "status"])
LATENCY = Histogram("app_request_latency_seconds", "Time to serve a request", ["endpoint"])
IN_PROGRESS = Gauge("app_requests_in_progress", "Requests being served")
SIZE = Summary("app_response_size_bytes", "Size of answers")


@IN_PROGRESS.track_inprogress()
def serve(endpoint: str) -> None:
    with LATENCY.labels(endpoint).time():
        time.sleep(random.uniform(0.001, 0.004))
    SIZE.observe(random.randint(200, 2_000))
    status = "500" if random.random() < 0.03 else "200"
    REQUESTS.labels(method="GET", endpoint=endpoint, status=status).inc()


rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
port = int(sys.argv[2]) if len(sys.argv) > 2 else 8_000
start_http_server(port, addr="127.0.0.1")  # what scrapes it goes on working
for _ in range(rounds):
    serve(random.choice(["/", "/orders", "/pay"]))
