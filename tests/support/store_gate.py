"""Store gate: stands between a sink and its store, and can hold requests back, lose answers, be away, or refuse."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
REFUSAL = b"Code: 516. DB::Exception: joe: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)"


class StoreGate:
    """Passes HTTP requests on to `port`. `when` says what to do with one, by its URL: "pass", "hold" (until `open` is set),
    "lose" (pass it on, then drop the answer), "away" (drop it) or "refuse" (wrong password)."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.when: Callable[[str], str] = lambda _: "pass"
        self.open = threading.Event()
        self.held = threading.Semaphore(0)
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the base class has it
                pass

            def _pass(self) -> None:
                gate.handle(self)

            do_GET = do_POST = _pass  # noqa: N815  # as the base class looks them up

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Carry out one request."""
        body = _body(request)
        fate = self.when(request.path + body[:200].decode("latin-1"))
        if fate == "hold":
            self.held.release()
            self.open.wait(120)
        if fate == "away":
            request.close_connection = True
            return
        if fate == "refuse":
            _answer(request, 403, {"X-ClickHouse-Exception-Code": "516"}, REFUSAL)
            return
        onward = http.client.HTTPConnection("127.0.0.1", self.target, timeout=120)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
            onward.request(request.command, request.path, body, headers)
            reply = onward.getresponse()
            answer = reply.read()
        finally:
            onward.close()
        if fate == "lose":
            request.close_connection = True
            return
        kept = {name: value for name, value in reply.getheaders() if name.lower() not in HOP}
        _answer(request, reply.status, kept, answer)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", "0")))
    body = b""
    while size := int(request.rfile.readline().split(b";")[0], 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    try:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
    except OSError:
        request.close_connection = True  # whoever asked is gone
