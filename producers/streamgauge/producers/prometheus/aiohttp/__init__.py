"""aiohttp: prometheus_client's own handler."""

from streamgauge.producers.prometheus.aiohttp.exposition import make_aiohttp_handler

__all__ = ["make_aiohttp_handler"]
