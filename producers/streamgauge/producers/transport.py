"""Transport: hands encoded batches to Kafka and reports what became of them. Nothing here waits unless it is told how long."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from streamgauge.producers.lifecycle import undivided
from streamgauge.producers.outbox import Outcome

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from streamgauge.producers.settings import ProducerSettings

log = logging.getLogger(__name__)

SAY_AGAIN_S = 300
PURGED = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})
"""What becomes of messages that were given up here: who did so says it."""
Report = Callable[[Outcome], None]


class Transport(Protocol):
    """Where batches go. Every method but `send` may be called from any thread."""

    def send(self, topic: str, key: bytes, value: bytes, report: Report) -> None:
        """Take a message without waiting. `report` is called once, from this call or from a later `poll` or `close`."""
        ...

    def poll(self, seconds: float, hurry: bool = False) -> None:
        """Wait at most so long, and return early once something was reported. `hurry`: do not linger for fuller requests."""
        ...

    def close(self, seconds: float) -> None:
        """Wait for deliveries at most so long, then give up the rest: everything taken has been reported afterwards."""
        ...

    def after_fork(self) -> None:
        """Called in a forked child: forget everything that the parent had under way, without touching it."""
        ...


def kafka_config(settings: ProducerSettings) -> dict[str, str | int | bool]:
    """The configuration of librdkafka for these settings. Holds the password: never log it."""
    config: dict[str, str | int | bool] = {
        "bootstrap.servers": settings.brokers,
        "client.id": f"streamgauge-{settings.service}",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 100,
        "message.timeout.ms": 30_000,
        # librdkafka's own bound is 1 GiB, too much of an application's memory
        "queue.buffering.max.kbytes": 32 << 10,
        "message.max.bytes": 1_000_000,
        "enable.metrics.push": False,
        "socket.keepalive.enable": True,
        # what is worth saying is said by the error callback, once
        "log_level": 2,
    }
    config.update(settings.kafka)
    if settings.kafka_password:
        config["sasl.password"] = settings.kafka_password.reveal()
    return config


class KafkaTransport:
    """confluent-kafka's producer, opened on the first message and opened anew after a fatal error or a fork.

    The flusher is its poller: without polling neither reports arrive nor does the queue ever free itself.
    """

    def __init__(self, config: Mapping[str, str | int | bool]) -> None:
        self._config = dict(config)
        self._producer: Producer | None = None
        self._away = False
        self._broken = False
        self._said: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"KafkaTransport({self._config.get('bootstrap.servers')!r})"

    def _open(self) -> Producer:
        if (producer := self._producer) is None:
            config: dict[str, Any] = {**self._config, "error_cb": self._on_error}
            with undivided():
                producer = self._producer = _library().Producer(config)
        return producer

    def send(self, topic: str, key: bytes, value: bytes, report: Report) -> None:
        """Queue a message in librdkafka."""
        with undivided():
            kafka = _library()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self._recovered()
            else:
                self._say(error)
            report(self._outcome(error))

        try:
            if self._broken:
                self._renew()
            self._open().produce(topic, value=value, key=key, on_delivery=delivered)
        except BufferError:
            report(Outcome.UNKNOWN)
        except kafka.KafkaException as error:
            cause = cast("KafkaError", error.args[0])
            self._say(cause)
            report(self._outcome(cause))

    def _outcome(self, error: KafkaError | None) -> Outcome:
        if error is None:
            return Outcome.ACKNOWLEDGED
        self._broken = self._broken or error.fatal()
        codes = _library().KafkaError
        if error.code() in (codes.MSG_SIZE_TOO_LARGE, codes.INVALID_MSG):
            return Outcome.REFUSED
        return Outcome.UNKNOWN

    def _renew(self) -> None:
        """After a fatal error a handle refuses everything for good; what it held has been or is reported as unknown."""
        old, self._producer, self._broken = self._producer, None, False
        if old is not None:
            old.purge()
            old.poll(0)
            with undivided():
                del old

    def _on_error(self, error: KafkaError) -> None:
        self._broken = self._broken or error.fatal()
        self._away = True
        self._say(error)

    def _say(self, error: KafkaError) -> None:
        """One line for each kind of error, and again when it still holds after a while."""
        now, name = time.monotonic(), error.name()
        if name in PURGED:
            return
        if now - self._said.get(name, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said[name] = now
            log.warning(
                "Kafka at %s: %s. Batches wait and are sent again", self._config["bootstrap.servers"], error.str()
            )

    def _recovered(self) -> None:
        if self._away:
            self._away = False
            self._said.clear()
            log.warning("Kafka at %s takes batches again", self._config["bootstrap.servers"])

    def poll(self, seconds: float, hurry: bool = False) -> None:
        """Serve delivery reports."""
        if self._producer is None:
            return
        if hurry:
            self._producer.flush(seconds)
        else:
            self._producer.poll(seconds)

    def close(self, seconds: float) -> None:
        """Flush, then purge. Never `Producer.close()`, which waits without end."""
        if (producer := self._producer) is None:
            return
        if producer.flush(seconds):
            producer.purge()
            producer.poll(0)
        with undivided():
            self._producer = None
            del producer

    def after_fork(self) -> None:
        """A child's copy of the handle has no threads: destroying it would hang, so it is never destroyed."""
        if self._producer is not None:
            _keep_for_ever(self._producer)
        self._producer = None
        self._away = self._broken = False


def _library() -> ModuleType:
    """confluent_kafka: only a process that sends pays for loading it. A fork must not fall into this.

    A child that is forked meanwhile finds a half-loaded module whose lock nobody opens, or librdkafka's own locks shut.
    """
    import confluent_kafka

    with suppress(ImportError):
        import_module("ctypes")  # a forked child must not begin with loading it
    return confluent_kafka


def _keep_for_ever(thing: object) -> None:
    if ctypes := sys.modules.get("ctypes"):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    else:  # a Python without it can only keep it until its modules are torn down
        _KEPT.append(thing)


_KEPT: list[object] = []
