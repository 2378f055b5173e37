"""Topics: names, default partitions and retention of everything that travels over Kafka."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of one region. The partition count never changes within a version: growing means a new version.

    `any_count`: whoever uses it asks how many partitions there are, so that regions of older releases keep theirs.
    """

    kind: str
    partitions: int
    retention_ms: int
    purpose: str
    compacted: bool = False
    version: int = 1
    any_count: bool = False

    def name(self, region: str) -> str:
        """The topic's name in `region`."""
        return f"sg.{region}.{self.kind}.v{self.version}"

    def config(self, retention_ms: int | None = None) -> dict[str, str]:
        """Broker settings. Record timestamps are the broker's own: old event times would be deleted at once."""
        config = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(self.retention_ms if retention_ms is None else retention_ms),
            "message.timestamp.type": "LogAppendTime",
        }
        if self.compacted:  # the newest segment is never compacted; by default one is closed after a week, or 1 GiB
            config |= {"segment.ms": str(HOUR_MS), "segment.bytes": str(64 << 20)}
        return config


METRICS = Topic("metrics", 4, 3 * DAY_MS, "metric batches of producers, raw")
EVENTS = Topic("events", 4, 3 * DAY_MS, "event batches of producers, raw")
ROLLUPS = Topic("rollups", 2, 7 * DAY_MS, "partial rollups, by series")
DISTINCT = Topic("distinct", 2, 7 * DAY_MS, "keyed hashes for distinct counts; person-level, never leaves the region")
SCRUBBED = Topic("events_scrubbed", 2, 7 * DAY_MS, "single events after scrubbing")
LEDGER = Topic("ledger", 1, 30 * DAY_MS, "what every transaction added")
DEAD = Topic("dead", 1, 30 * DAY_MS, "what was refused, and why; no raw values")
STATE = Topic(
    "state",
    8,
    -1,
    "what recognises repeated batches and idempotency keys; a partition for each raw one",
    compacted=True,
    any_count=True,
)

CONTRACTS = Topic("contracts", 1, -1, "contracts in force; read by workers and sinks without a restart", compacted=True)

TOPICS = (METRICS, EVENTS, ROLLUPS, DISTINCT, SCRUBBED, LEDGER, DEAD, STATE, CONTRACTS)
RAW_TOPICS = (METRICS, EVENTS)

STORED_TOPICS = (ROLLUPS, DISTINCT, SCRUBBED, LEDGER, DEAD)
"""The topics that a sink reads."""


def state_partition(raw_topic: str, partition: int, partitions: int) -> int:
    """Where the state of a raw partition is kept. With as many partitions as raw ones no two share one, and none waits
    for another's transaction."""
    return (2 * partition + (1 if raw_topic.split(".")[-2] == EVENTS.kind else 0)) % partitions
