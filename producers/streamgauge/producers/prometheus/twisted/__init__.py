"""Twisted: prometheus_client's own resource."""

from streamgauge.producers.prometheus.twisted._exposition import MetricsResource

__all__ = ["MetricsResource"]
