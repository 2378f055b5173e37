"""The store door as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import clickhouse_connect


@dataclass
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Message = field(repr=False)

    @property
    def code(self) -> int:
        return int(self.headers.get("X-ClickHouse-Exception-Code", "0"))

    @property
    def text(self) -> str:
        return self.body.decode()


class DoorProcess:
    """A door in its own process."""

    def __init__(self, path: Path, script: str = "") -> None:
        self.path = path
        program = ["-c", script] if script else ["-m", "streamgauge.console.door"]
        command = [sys.executable, *program, str(path), "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        begun = select.poll()  # select() refuses numbers above 1,023, and an engine has many files open
        begun.register(self.process.stdout, select.POLLIN)
        if not begun.poll(60_000):
            self.process.kill()
        ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.address = str(ready["address"])
        self.port = int(ready["port"])

    def __enter__(self) -> DoorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()  # a store that does not end fails one test, not the next ones

    def ask(
        self,
        sql: str = "",
        body: bytes | None = b"",
        headers: dict[str, str] | None = None,
        method: str | None = None,
        path: str = "/",
        **arguments: str,
    ) -> Reply:
        """A raw request; a POST unless `body` is None."""
        query = urllib.parse.urlencode(({"query": sql} if sql else {}) | arguments)
        request = urllib.request.Request(
            f"{self.address}{path}?{query}", data=body, headers=headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Reply(reply.status, reply.read(), reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read(), error.headers)

    def value(self, sql: str, **arguments: Any) -> str:
        """The single value of a query, which must succeed."""
        reply = self.ask(sql, None, **arguments)
        assert reply.status == 200, reply.text
        return reply.text.strip()

    def run(self, *statements: str) -> None:
        """Statements that must succeed."""
        for sql in statements:
            reply = self.ask(sql)
            assert reply.status == 200, reply.text

    def client(self, **options: Any) -> Any:
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether `condition` became true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
