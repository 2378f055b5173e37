"""Settings of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgauge.processors.keys import KeyPolicy
from streamgauge.processors.policy import CommitPolicy, TimePolicy
from streamgauge.processors.residency import Residency
from streamgauge.processors.sequences import SequencePolicy
from streamgauge.schemas.kafka_config import client_config
from streamgauge.schemas.settings import (
    FOR_EVER,
    Secret,
    country,
    duration_ms,
    flag,
    life,
    names,
    pairs,
    paths,
    setting,
    size_bytes,
)

DAY_MS = 86_400_000
KEYS_WITHIN_MS = 1_800_000
NO_SECRET = Secret("")


def keys_interval_ms(value: str) -> int:
    """An interval within which a new key is known long before its day begins."""
    found = duration_ms(value)
    if not 1_000 <= found <= KEYS_WITHIN_MS:
        raise ValueError("say 1s to 30m: a new key is announced an hour before its day")
    return found


@dataclass(frozen=True, slots=True)
class ProcessorSettings:
    """What a worker needs to know. See `schemas.settings.load` for where values come from."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:9092",), "Kafka brokers, host:port, comma-separated", names)
    region: str = setting("local", "name of this deployment, part of every topic's name")
    contracts: tuple[Path, ...] = setting((), "contract files or directories", paths)
    keys: str = setting("", "key ring of pseudonyms: a file, or provider:package.module:factory")
    keys_interval: int = setting(60_000, "how often the key ring is read again; at most 30m", keys_interval_ms)
    pseudonym_key: Secret = setting(
        NO_SECRET, "instead of a key ring, one key for ever: 16 to 64 random bytes, hexadecimal", Secret
    )
    phone_region: str = setting("", "country (`DE`) of phone numbers without + in fields that are counted", country)
    data_regions: tuple[str, ...] = setting(
        (), "further regions that data may name, comma-separated; a * at the end for all that begin so", names
    )
    embedded: bool = setting(False, "in-process broker: no transactions, at least once", flag)
    incarnation: str = setting("", "life of the topics, where the broker gives them no id", life)
    go_on_after_loss: bool = setting(
        False, "count messages as lost that retention has deleted unread, and go on; else stop with advice", flag
    )
    kafka: tuple[tuple[str, str], ...] = setting((), "further librdkafka settings, name=value", pairs)
    kafka_password: Secret = setting(NO_SECRET, "SASL password of Kafka", Secret)
    commit_interval: int = setting(1_000, "time between commits of a partition", duration_ms)
    commit_points: int = setting(250_000, "points after which a partition commits early", int)
    commit_bytes: int = setting(32 << 20, "bytes of messages after which a partition commits early", size_bytes)
    buffer_messages: int = setting(64, "messages buffered between fetching and rolling up", int)
    session_timeout: int = setting(10_000, "a worker that is silent for so long loses its partitions", duration_ms)
    accepted_age: int = setting(7 * DAY_MS, "older points are refused (backfill is exempt)", duration_ms)
    accepted_future: int = setting(600_000, "points further in the future are refused", duration_ms)
    contract_wait: int = setting(120_000, "how long a batch of an unknown contract version is held", duration_ms)
    sequence_horizon: int = setting(DAY_MS, "how long a missing batch may still come; then it is reported", duration_ms)
    sequence_holes: int = setting(1_024, "ranges of missing batches remembered of a stream", int)
    sequence_expiry: int = setting(7 * DAY_MS, "how long a silent stream is remembered", duration_ms)
    key_horizon: int = setting(
        DAY_MS, "how long an idempotency key counts once; its time is that of arrival", duration_ms
    )
    key_memory: int = setting(
        128 << 20, "memory for the keys of one raw partition, 28 bytes each; then the oldest are forgotten", size_bytes
    )
    retention_10s: int = setting(FOR_EVER, "how long the 10 s tier keeps points", duration_ms)
    retention_1m: int = setting(FOR_EVER, "how long the 1 m tier keeps points", duration_ms)
    retention_1h: int = setting(FOR_EVER, "how long the 1 h tier keeps points", duration_ms)
    retention_1d: int = setting(FOR_EVER, "how long the 1 d tier keeps points", duration_ms)
    max_message_bytes: int = setting(16 << 20, "larger raw messages are refused", size_bytes)

    @property
    def group(self) -> str:
        """The consumer group, and the prefix of transactional ids."""
        return f"sg-{self.region}-process"

    def time_policy(self) -> TimePolicy:
        """Which instants are accepted, and where they enter."""
        kept = (self.retention_10s, self.retention_1m, self.retention_1h, self.retention_1d)
        return TimePolicy(self.accepted_age, self.accepted_future, kept)

    def residency(self) -> Residency:
        """Whose data may be processed: on a laptop everybody's."""
        return Residency(self.region, ("*",) if self.embedded or self.region == "local" else self.data_regions)

    def commit_policy(self) -> CommitPolicy:
        """When a partition commits."""
        return CommitPolicy(self.commit_interval, self.commit_points, self.commit_bytes)

    def sequence_policy(self) -> SequencePolicy:
        """What is remembered of streams."""
        return SequencePolicy(self.sequence_horizon // 1000, self.sequence_holes, self.sequence_expiry // 1000)

    def key_policy(self) -> KeyPolicy:
        """What is remembered of idempotency keys."""
        return KeyPolicy(self.key_horizon // 1000, self.key_memory)

    def librdkafka(self) -> dict[str, Any]:
        """Settings for confluent-kafka clients."""
        return client_config(self.brokers, self.kafka, self.kafka_password)
