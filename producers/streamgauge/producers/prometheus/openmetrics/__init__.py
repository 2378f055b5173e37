"""OpenMetrics: prometheus_client's own text and parser."""
