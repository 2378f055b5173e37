"""Faust apps: what the stream library must be told before a worker, or anybody's own agents, can rest on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

FETCH_WAIT_MS = 50
"""Faust waits up to 1.5 s for a fetch to fill; that alone would be most of the latency."""


A_CENTURY_S = 100 * 365 * 86_400.0


class _App(faust.App):
    def _create_directories(self) -> None:
        """None: without tables nothing is kept in files, and the working directory is not ours."""


class _PromptThread(AIOKafkaConsumerThread):
    isolation_level = "read_uncommitted"

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer: Any = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        # Faust has no setting for it; the consumer hands it to its fetcher when it starts
        consumer._isolation_level = self.isolation_level
        return consumer


class _CommittedThread(_PromptThread):
    isolation_level = "read_committed"


class _PromptConsumer(Consumer):
    thread = _PromptThread

    def _new_consumer_thread(self) -> Any:
        return self.thread(self, loop=self.loop, beacon=self.beacon)


class _CommittedConsumer(_PromptConsumer):
    thread = _CommittedThread


class _PromptTransport(Transport):
    Consumer = _PromptConsumer


class _CommittedTransport(Transport):
    Consumer = _CommittedConsumer


def raw_app(name: str, brokers: Sequence[str], **conf: Any) -> Any:
    """An app that reads whatever stands in a topic, promptly: raw topics have no transactions.

    Faust is not to miss commits of its own: transactions commit here, and after five minutes it would call that an error.
    """
    return _app(_PromptTransport, name, brokers, **({"broker_commit_livelock_soft_timeout": A_CENTURY_S} | conf))


def clean_app(name: str, brokers: Sequence[str], **conf: Any) -> Any:
    """A Faust app for agents of your own over clean topics (rollups, dead, ledger): it reads committed messages only.

    An ordinary app also reads what a worker took back: it counts too much (measured: 527,200 of 480,000). `name` is its
    consumer group; `conf` are Faust's settings. Use agents with `concurrency=1`; keep no tables. Messages are bytes:
    `app.topic("sg.eu.rollups.v1", value_serializer="raw")`, then `streamgauge.schemas.rollups.decode_rollups`.
    Raises ValueError for a name that a worker or sink of ours could have.
    """
    if name.startswith("sg-"):
        raise ValueError("names that begin with sg- are the groups of workers and sinks; call it something else")
    return _app(_CommittedTransport, name, brokers, **conf)


def _app(transport: type[Transport], name: str, brokers: Sequence[str], **conf: Any) -> Any:
    ours: dict[str, Any] = {
        "store": "memory://",
        "web_enabled": False,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "consumer_auto_offset_reset": "earliest",
    }
    app: Any = _App(name, broker=";".join(f"kafka://{one}" for one in brokers), **(ours | conf))
    app.transport = transport(app.conf.broker_consumer, app, app.loop)
    return app
