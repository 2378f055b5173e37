"""Bridges: prometheus_client's own."""
