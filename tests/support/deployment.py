"""A whole deployment for tests: store door, worker and sink as the commands that operators run, on a given broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import clickhouse_connect

from tests.support.releases import TODAY, Release

ROOT = Path(__file__).parents[2]
DATABASE = "streamgauge"
KEY = "5b" * 32


class Deployment:
    """Region `region` on the broker at `bootstrap`, with its store in `directory`. Ends what it started.

    `made_by` makes topics and tables. `releases` says which parts run other code than that of this tree, by their names.
    """

    def __init__(
        self, bootstrap: str, directory: Path, region: str, *, made_by: Release = TODAY, **settings: str
    ) -> None:
        self.directory = directory
        self.region = region
        self.releases: dict[str, Release] = {}
        self._made_by = made_by
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0
        self._silent: dict[str, int] = {}
        own = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMGAUGE_", "OTEL_"))}
        given = {"brokers": bootstrap, "region": region, "database": DATABASE, "pseudonym_key": KEY, **settings}
        self.environ = own | {f"STREAMGAUGE_{name.upper()}": value for name, value in given.items()}

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start_store()
        assert self.run("topics", release=self._made_by).returncode == 0
        assert self.run("migrate", release=self._made_by).returncode == 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = [name for name in ("sink", "store") if name in self.parts]
        for name in [*(name for name in self.parts if name not in last), *last]:
            self.end(name)

    def start_store(self) -> None:
        """The store door, at the same address each time."""
        command = [sys.executable, "-m", "streamgauge.console.door", str(self.directory / "data"), str(self.port)]
        part = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log("store"), env=self.environ)
        self.parts["store"] = part
        assert part.stdout is not None
        self.port = json.loads(part.stdout.readline())["port"]
        del self._silent["store"]  # it has spoken
        self.environ["STREAMGAUGE_STORE"] = f"http://127.0.0.1:{self.port}"

    def _log(self, name: str) -> int:
        log = self.directory / f"{name}.log"
        self._silent[name] = log.stat().st_size if log.exists() else 0
        return os.open(self.directory / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _has_spoken(self, name: str) -> bool:
        log = self.directory / f"{name}.log"
        return name not in self._silent or log.stat().st_size > self._silent[name]

    def log(self, name: str) -> str:
        """What a part has said."""
        return (self.directory / f"{name}.log").read_text()

    def command(self, *words: str, release: Release = TODAY) -> list[str]:
        """A command line of ours."""
        return release.python("-m", "streamgauge.console.cli", *words)

    def run(self, *words: str, timeout: float = 120, release: Release = TODAY) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; its output is in the result."""
        return subprocess.run(
            self.command(*words, release=release),
            env=release.environ(self.environ),
            cwd=self.directory,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def start(self, name: str, *words: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a command as part `name`."""
        environ = self.environ | {f"STREAMGAUGE_{key.upper()}": value for key, value in settings.items()}
        release = self.releases.get(name, TODAY)
        log = self._log(name)
        self.parts[name] = subprocess.Popen(
            self.command(*words, release=release),
            env=release.environ(environ),
            cwd=self.directory,
            stdout=log,
            stderr=log,
        )
        os.close(log)
        return self.parts[name]

    def start_module(self, name: str, module: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a module of the tests as part `name`, with the settings of a worker or sink."""
        release = self.releases.get(name, TODAY)
        log = self._log(name)
        self.parts[name] = subprocess.Popen(
            release.python("-m", module),
            env=release.environ(self.environ | {"STREAMGAUGE_SESSION_TIMEOUT": "6s"} | environ, ROOT),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        os.close(log)
        return self.parts[name]

    def start_worker(self, name: str = "worker", **settings: str) -> subprocess.Popen[bytes]:
        """A worker; rebalances quickly."""
        return self.start(name, "process", **({"session_timeout": "6s"} | settings))

    def start_sink(self, name: str = "sink", **settings: str) -> subprocess.Popen[bytes]:
        """A sink; rebalances quickly."""
        return self.start(name, "sink", **({"session_timeout": "6s"} | settings))

    def kill(self, name: str) -> None:
        """SIGKILL: no clean-up, no last commit."""
        part = self.parts.pop(name)
        part.send_signal(signal.SIGKILL)
        part.wait(20)
        if part.stdout is not None:
            part.stdout.close()

    def end(self, name: str, within: float = 15) -> int:
        """SIGTERM, once it has begun to speak: before, it is an interpreter that imports; the exit code."""
        part = self.parts.pop(name)
        deadline = time.monotonic() + within
        while part.poll() is None and not self._has_spoken(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        part.terminate()
        try:
            code = part.wait(within)
        finally:
            if part.poll() is None:
                part.kill()
                part.wait(10)
            if part.stdout is not None:
                part.stdout.close()
        return code

    def rows(self, sql: str, params: dict[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Ask the store as any client would."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, database=DATABASE)
        try:
            return client.query(sql, parameters=params).result_rows
        finally:
            client.close()

    def command_store(self, sql: str) -> None:
        """Have the store carry out a statement."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, database=DATABASE)
        try:
            client.command(sql)
        finally:
            client.close()

    def parquet(self, sql: str) -> bytes:
        """The answer to a query, as a Parquet file."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, database=DATABASE)
        try:
            return client.raw_query(sql, fmt="Parquet")
        finally:
            client.close()

    def dump(self, table: str) -> bytes:
        """Everything a table holds, states included."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.port, database=DATABASE)
        try:
            return client.raw_query(f"SELECT * FROM `{table}`", fmt="TabSeparated")
        finally:
            client.close()

    def points(self, tier: str = "1d") -> int:
        """Points that a tier holds."""
        return int(self.rows(f"SELECT sum(count) FROM rollups_{tier}")[0][0])

    def wait_for_points(self, wanted: int, tier: str = "1d", within: float = 120) -> None:
        """Until a tier holds this many points; fails with what the parts said."""
        deadline = time.monotonic() + within
        found = self.points(tier)
        while found < wanted:
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.parts)
                raise AssertionError(f"{found} of {wanted} points after {within} s\n{logs}")
            time.sleep(0.2)
            found = self.points(tier)

    def verify(self, within: str = "30s") -> dict[str, Any]:
        """The account of `streamgauge verify`."""
        result = self.run("verify", "--json", "--wait", within)
        document: dict[str, Any] = json.loads(result.stdout)
        document["exit_code"] = result.returncode
        return document
