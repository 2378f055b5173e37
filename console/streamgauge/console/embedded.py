"""The embedded mode: an in-process broker, and worker, sink and store as child processes: the parts that run on servers.

The broker is librdkafka's own for tests: memory only, no transactions, about 5 MiB kept per partition. At least once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Producer

from streamgauge.console import child
from streamgauge.console.home import Home, RingFile
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import BrokerUnavailable, InputError, StoreUnavailable
from streamgauge.schemas.settings import PREFIX
from streamgauge.schemas.topics import TOPICS

log = logging.getLogger("streamgauge.dev")

DATABASE = "streamgauge"
STORE_PORT, PAGE_PORT = 8123, 8080


class MemoryBroker:
    """librdkafka's in-process broker. Lives as long as this object."""

    def __init__(self, region: str, timeout_s: float = 10.0) -> None:
        self._producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers: Mapping[int, Any] = self._producer.list_topics(timeout=timeout_s).brokers
        if not brokers:
            raise BrokerUnavailable("the in-process broker did not start")
        first = next(iter(brokers.values()))
        self.address = f"{first.host}:{first.port}"
        for topic in TOPICS:  # a topic that nobody has asked for yet makes its first subscriber wait for ten seconds
            self._producer.list_topics(topic.name(region), timeout=timeout_s)

    def close(self) -> None:
        """End the broker; what it held is gone."""
        self._producer.flush(0)
        del self._producer


def free_port(wanted: int, given: bool, what: str, flag: str) -> int:
    """`wanted` if it is free; else another one, unless it was `given` by the user: then InputError."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
            except OSError as error:
                if given:
                    raise InputError(
                        f"port {wanted} is in use, so the {what} cannot listen there; choose another {flag}"
                    ) from error
    raise InputError(f"no port is free on 127.0.0.1 for the {what}")


@dataclass(slots=True)
class Part:
    """A child process that is started again when it dies."""

    name: str
    module: str
    arguments: tuple[str, ...]
    environ: dict[str, str]
    process: subprocess.Popen[bytes]
    restarts: int = 0
    last_start: float = 0.0


@dataclass(slots=True)
class Embedded:
    """One embedded deployment. `start`, then `watch` until `stop`."""

    home: Home
    region: str = "local"
    store_port: int = 0
    retention: Mapping[str, str] = field(default_factory=dict[str, str])
    database: str = DATABASE
    parts: dict[str, Part] = field(default_factory=dict[str, Part])
    broker: MemoryBroker | None = None
    store_address: str = ""
    store_version: str = ""
    ring: RingFile | None = None

    @property
    def brokers(self) -> str:
        """The broker's address."""
        return self.broker.address if self.broker else ""

    def environ(self) -> dict[str, str]:
        """Environment of the parts: ours without settings, and theirs."""
        ring = self.home.keys(time.time_ns() // 1_000_000)
        self.ring = ring if ring.done or self.ring is None else self.ring
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        settings = {
            "brokers": self.brokers,
            "region": self.region,
            "embedded": "true",
            "incarnation": self._incarnation,
            "keys": str(ring.path.absolute()),
            "contracts": str(self.home.contracts.absolute()),
            "store": self.store_address,
            "database": self.database,
            # one machine, few points: latency is worth more than large blocks
            "commit_interval": "500ms",
            "block_interval": "250ms",
            **self.retention,
        }
        return own | {PREFIX + name.upper(): value for name, value in settings.items()}

    _incarnation: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    async def start(self) -> None:
        """Bring up store, broker, tables, worker and sink. What was started is ended again if one of them fails."""
        try:
            self.broker = await asyncio.to_thread(MemoryBroker, self.region)
            await self._start_store()
            await asyncio.to_thread(self._migrate)
            environ = self.environ()
            for name, command in (("worker", "process"), ("sink", "sink")):
                self._start_part(name, "streamgauge.console.cli", (command, "--quiet"), environ)
        except BaseException:
            await self.stop()
            raise

    async def _start_store(self) -> None:
        self._start_part(
            "store", "streamgauge.console.door", (str(self.home.data.absolute()), str(self.store_port)), self.environ()
        )
        answer = await asyncio.to_thread(self._read_address)
        self.store_address, self.store_version = answer["address"], answer["version"]
        part = self.parts["store"]
        part.arguments = (part.arguments[0], str(answer["port"]))  # started again, it is found at the same address

    def _read_address(self) -> dict[str, Any]:
        process = self.parts["store"].process
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            code = process.wait()
            raise StoreUnavailable(
                f"the embedded ClickHouse engine did not start (exit code {code}); its message stands above"
            )
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def _migrate(self) -> None:
        from streamgauge.schemas.settings import load
        from streamgauge.sinks.migrations import migrate
        from streamgauge.sinks.settings import SinkSettings
        from streamgauge.sinks.store import Store

        settings = load(SinkSettings, {"store": self.store_address, "database": self.database, **self.retention})
        store = Store(settings.address())
        store.check()
        migrate(store, settings.retention(), self.database)

    def _start_part(self, name: str, module: str, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        output = subprocess.PIPE if name == "store" else None
        process = child.start(module, arguments, environ, output)
        self.parts[name] = Part(name, module, arguments, environ, process, last_start=time.monotonic())

    def publish(self, contracts: list[Contract]) -> None:
        """Make contracts known to the running parts, and keep them for the next start."""
        for one in contracts:
            (self.home.contracts / f"{one.name}.v{one.version}.json").write_bytes(one.dump())
        publish(Producer({"bootstrap.servers": self.brokers, "log_level": 0}), self.region, contracts)

    async def watch(self, ended: asyncio.Event, say: Callable[[str], None]) -> None:
        """Start parts again that die, until `ended`. A part that dies at once is waited for longer each time."""
        while not ended.is_set():
            for part in list(self.parts.values()):
                if part.process.poll() is None:
                    continue
                lived = time.monotonic() - part.last_start
                part.restarts = part.restarts + 1 if lived < 10 else 1
                say(f"{part.name} ended with code {part.process.returncode}; starting it again")
                await asyncio.sleep(min(10.0, 0.2 * 2 ** (part.restarts - 1)))
                restarts = part.restarts
                child.end(part.process, 0)
                self._start_part(part.name, part.module, part.arguments, part.environ)
                self.parts[part.name].restarts = restarts
            try:
                await asyncio.wait_for(ended.wait(), 0.25)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End worker, then sink, then store, each after its last work; then the broker."""
        for name, timeout_s in (("worker", 6.0), ("sink", 8.0), ("store", 4.0)):
            if part := self.parts.pop(name, None):
                await asyncio.to_thread(child.end, part.process, timeout_s)
        if self.broker is not None:
            self.broker.close()
            self.broker = None
