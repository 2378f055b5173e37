"""What gunicorn and uWSGI serve. Loaded in the master: what it records there is the master's."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from streamgauge.producers import Counter, flush_all

CALLS = Counter("calls", "", ["who"])
CALLS.labels("boot").inc(7)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Counts a request; `/flush` flushes the worker that answers."""
    if environ["PATH_INFO"] == "/flush":
        flush_all()
    else:
        CALLS.labels("request").inc()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
