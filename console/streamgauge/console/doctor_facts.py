"""Facts: what was read from the Kafka and the ClickHouse of a region. Values only; no secret is ever among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgauge.schemas.contracts import Contract
from streamgauge.sinks.retention import Retention


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person who asks expects of the region. Times are milliseconds."""

    region: str
    database: str
    outage_ms: int
    retention: Retention
    partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    contracts: tuple[Contract, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type, and what it is computed from (`kind` is DEFAULT, MATERIALIZED, ALIAS or empty)."""

    name: str
    type: str
    kind: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the store as `system.tables` and `system.columns` have it."""

    database: str
    name: str
    engine: str
    engine_full: str = ""
    partition_key: str = ""
    sorting_key: str = ""
    columns: tuple[Column, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Feed:
    """A materialized view on one of our tables, or on what these feed.

    `gives` is what its query returns now; `problem` says why that cannot be told. `as_shipped` is whether the query is
    the one of our migrations; None when nobody can say.
    """

    database: str
    name: str
    target_database: str
    target: str
    gives: tuple[Column, ...] = ()
    problem: str = ""
    as_shipped: bool | None = None


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """A setting as it is for this user; `minimum` and `maximum` are constraints."""

    name: str
    value: str
    locked: bool = False
    minimum: str | None = None
    maximum: str | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """How far another clock is ahead of ours: somewhere between the two."""

    at_least_ms: float
    at_most_ms: float


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the store knows a partition: one after the last offset, when that was written, in which life of a topic.

    `life` is that of the ledger's topic where a release did not say the life of the raw one; empty of stored topics.
    """

    topic: str
    partition: int
    offset: int
    at_ms: int
    life: str = ""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the store says of itself. `applied` is None without a migrations table, and `unread` says what was refused."""

    address: str
    user: str
    version: str
    tables: tuple[Table, ...] = ()
    feeds: tuple[Feed, ...] = ()
    settings: tuple[ServerSetting, ...] = ()
    window_defaults: Mapping[str, int] = field(default_factory=dict[str, int])
    applied: Mapping[int, str] | None = None
    parts_per_second: Mapping[str, float] = field(default_factory=dict[str, float])
    planned_views: Mapping[str, str] = field(default_factory=dict[str, str])
    functions_missing: tuple[str, ...] = ()
    clock: Clock | None = None
    reached: tuple[Reached, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replicas:
    """One partition: its leader (-1: none), its copies, and those that are up to date."""

    partition: int
    leader: int
    copies: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is now; `config` is None where the broker does not tell, and so is `id`."""

    name: str
    partitions: tuple[Replicas, ...]
    config: Mapping[str, str] | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Where a partition begins and ends, and where the first open transaction stands (`stable`). None: not told."""

    topic: str
    partition: int
    start: int | None
    end: int | None
    stable: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """A group's committed offset of a partition (None: there is none), and the first message after it.

    `unread` is None where that was not looked at, and `unread_since_ms` is when the message was written.
    """

    topic: str
    partition: int
    offset: int | None
    metadata: str = ""
    unread: bool | None = None
    unread_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group, looked at twice. `state` and `members` are None where the broker does not tell."""

    name: str
    role: str
    state: str | None
    members: int | None
    before: tuple[Position, ...]
    after: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The first open transaction of a partition; nobody who reads committed messages gets past it."""

    topic: str
    partition: int
    offset: int
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """What the brokers say. `before` and `after` are two looks, `apart_ms` from each other."""

    address: str
    in_process: bool
    brokers: int
    topics: tuple[TopicFacts, ...] = ()
    config: Mapping[str, str] | None = None
    before: tuple[Log, ...] = ()
    after: tuple[Log, ...] = ()
    apart_ms: int = 0
    groups: tuple[Group, ...] = ()
    open_transactions: tuple[OpenTransaction, ...] = ()
    clock: Clock | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read. Where one of the two is None, its problem says why."""

    now_ms: int
    kafka: KafkaFacts | None = None
    store: StoreFacts | None = None
    kafka_problem: str = ""
    store_problem: str = ""
