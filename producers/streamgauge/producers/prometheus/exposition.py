"""Exposition: prometheus_client's own texts, servers and pushes, for registries that hold our instruments."""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.exposition as library
from prometheus_client.exposition import (
    CONTENT_TYPE_LATEST,
    CONTENT_TYPE_PLAIN_0_0_4,
    CONTENT_TYPE_PLAIN_1_0_0,
    MetricsHandler,
    ThreadingWSGIServer,
    basic_auth_handler,
    choose_encoder,
    default_handler,
    delete_from_gateway,
    generate_latest,
    gzip_accepted,
    instance_ip_grouping_key,
    make_asgi_app,
    make_wsgi_app,
    passthrough_redirect_handler,
    push_to_gateway,
    pushadd_to_gateway,
    start_http_server,
    start_wsgi_server,
    tls_auth_handler,
    write_to_textfile,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "CONTENT_TYPE_LATEST",
    "CONTENT_TYPE_PLAIN_0_0_4",
    "CONTENT_TYPE_PLAIN_1_0_0",
    "MetricsHandler",
    "ThreadingWSGIServer",
    "basic_auth_handler",
    "choose_encoder",
    "default_handler",
    "delete_from_gateway",
    "generate_latest",
    "gzip_accepted",
    "instance_ip_grouping_key",
    "make_asgi_app",
    "make_wsgi_app",
    "passthrough_redirect_handler",
    "push_to_gateway",
    "pushadd_to_gateway",
    "start_http_server",
    "start_wsgi_server",
    "tls_auth_handler",
    "write_to_textfile",
]
