"""Settings of a sink."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgauge.schemas.kafka_config import client_config
from streamgauge.schemas.settings import (
    FOR_EVER,
    Secret,
    duration_ms,
    flag,
    life,
    names,
    pairs,
    paths,
    setting,
    size_bytes,
)
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.blocks import BlockPolicy
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.store import StoreAddress, store_url

NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What a sink needs to know. See `schemas.settings.load` for where values come from."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:9092",), "Kafka brokers, host:port, comma-separated", names)
    region: str = setting("local", "name of this deployment, part of every topic's name")
    contracts: tuple[Path, ...] = setting(
        (), "contract files or directories, for views of events and their retention", paths
    )
    embedded: bool = setting(False, "in-process broker: topics live as long as the broker", flag)
    incarnation: str = setting("", "life of the topics, where the broker gives them no id", life)
    kafka: tuple[tuple[str, str], ...] = setting((), "further librdkafka settings, name=value", pairs)
    kafka_password: Secret = setting(NO_SECRET, "SASL password of Kafka", Secret)
    session_timeout: int = setting(10_000, "a sink that is silent for so long loses its partitions", duration_ms)
    store: str = setting("http://127.0.0.1:8123", "ClickHouse over HTTP", store_url)
    store_user: str = setting("default", "ClickHouse user")
    store_password: Secret = setting(NO_SECRET, "ClickHouse password", Secret)
    database: str = setting("streamgauge", "ClickHouse database")
    block_interval: int = setting(500, "time between inserts of a partition", duration_ms)
    block_rows: int = setting(250_000, "rows after which a partition inserts early", int)
    block_bytes: int = setting(16 << 20, "bytes of messages after which a partition inserts early", size_bytes)
    parallel_inserts: int = setting(2, "inserts at the same time", int)
    retention_10s: int = setting(FOR_EVER, "how long the 10 s tier keeps points", duration_ms)
    retention_1m: int = setting(FOR_EVER, "how long the 1 m tier keeps points", duration_ms)
    retention_1h: int = setting(FOR_EVER, "how long the 1 h tier keeps points", duration_ms)
    retention_1d: int = setting(FOR_EVER, "how long the 1 d tier keeps points", duration_ms)
    retention_events: int = setting(30 * DAY_MS, "how long single events are kept after they happened", duration_ms)

    @property
    def group(self) -> str:
        """The consumer group; its committed offsets carry the intents."""
        return f"sg-{self.region}-sink"

    def address(self) -> StoreAddress:
        """Where the store is."""
        return StoreAddress(self.store, self.store_user, self.store_password, self.database)

    def block_policy(self) -> BlockPolicy:
        """When a partition inserts."""
        return BlockPolicy(self.block_interval, self.block_rows, self.block_bytes)

    def retention(self) -> Retention:
        """How long each tier is kept, and single events."""
        return Retention(
            self.retention_10s, self.retention_1m, self.retention_1h, self.retention_1d, events=self.retention_events
        )

    def librdkafka(self) -> dict[str, Any]:
        """Settings for confluent-kafka clients."""
        return client_config(self.brokers, self.kafka, self.kafka_password)
