"""What uvicorn serves. Its workers end by SIGTERM itself, so the last window is sent at the end of the lifespan."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from streamgauge.producers import Counter, close_all

CALLS = Counter("calls", "", ["who"])
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Counts a request."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(close_all)
        await send({"type": "lifespan.shutdown.complete"})
        return
    CALLS.labels("request").inc()
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
