"""Django: prometheus_client's own view."""

from streamgauge.producers.prometheus.django.exposition import PrometheusDjangoView

__all__ = ["PrometheusDjangoView"]
