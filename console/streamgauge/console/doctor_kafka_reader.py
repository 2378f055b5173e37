"""Reads Kafka for the doctor: topics, settings, positions and logs, twice. Changes nothing, joins no group.

Committed offsets are asked through a consumer that reads committed messages: the admin client's own look-up crashes the
process while a group's coordinator moves (librdkafka 2.16), and it would show offsets of open transactions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, cast

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._resource import ResourceType

from streamgauge.console.doctor_facts import (
    Clock,
    Group,
    KafkaFacts,
    Log,
    OpenTransaction,
    Position,
    Replicas,
    TopicFacts,
)
from streamgauge.console.sender import broker_unavailable
from streamgauge.console.topic_admin import IN_PROCESS
from streamgauge.processors.broker import MOVING, RETRY_S
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.schemas.committed import ask_committed
from streamgauge.schemas.contracts import Contract, parse_contract
from streamgauge.schemas.errors import ContractError
from streamgauge.schemas.incarnations import id_text
from streamgauge.schemas.topics import CONTRACTS, RAW_TOPICS, STORED_TOPICS, TOPICS
from streamgauge.sinks.settings import SinkSettings

ANSWER_S: Final = 10.0
LEADER_S: Final = 3.0
MOVED: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
"""What a broker answers while partitions get, or change, their leader."""
TOPIC_SETTINGS: Final = frozenset(
    {
        "cleanup.policy",
        "max.message.bytes",
        "message.timestamp.type",
        "min.insync.replicas",
        "retention.bytes",
        "retention.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    }
)
BROKER_SETTINGS: Final = frozenset(
    {
        "offsets.retention.minutes",
        "offsets.topic.replication.factor",
        "transaction.max.timeout.ms",
        "transaction.state.log.replication.factor",
    }
)
"""All that is read of the brokers' settings; others may hold passwords."""

Key = tuple[str, int]


# the look-ups of offsets have no types in confluent-kafka
_EARLIEST, _LATEST, _NEWEST = (
    cast("Callable[[], Any]", getattr(OffsetSpec, name)) for name in ("earliest", "latest", "max_timestamp")
)


class KafkaReader:
    """Looks at the brokers of one region. `config` are librdkafka settings, `roles` the names of the groups by role."""

    def __init__(self, config: Mapping[str, Any], address: str, region: str, roles: Mapping[str, str]) -> None:
        self._config = dict(config)
        self._address = address
        self._roles = dict(roles)
        self._region = region
        self._topics = {topic.name(region): topic for topic in TOPICS}
        self._admin = AdminClient(self._config)
        self._unread: list[str] = []

    def contracts(self) -> list[Contract]:
        """The contracts that were published. Raises BrokerUnavailable when nobody answers."""
        name = CONTRACTS.name(self._region)
        keys = [
            (one.name, part.partition) for one in self._metadata()[2] if one.name == name for part in one.partitions
        ]
        found: dict[tuple[str, int], Contract] = {}
        for message in self._until_end(dict.fromkeys(keys, 0), first_only=False):
            value = message.value()
            try:
                contract = parse_contract(value if isinstance(value, bytes) else b"", name)
            except ContractError:
                continue  # workers and sinks leave it out too, and say so
            found[contract.name, contract.version] = contract
        return list(found.values())

    def read(self, apart_s: float, wait: Callable[[float], object]) -> KafkaFacts:
        """All facts; between the two looks `wait` is called with `apart_s`. Raises BrokerUnavailable."""
        in_process, brokers, topics = self._metadata()
        config: dict[str, str] | None = None
        if not in_process:
            topics = self._described(topics)
            config = self._broker_config(brokers)
        # nobody answers for a partition without a leader, and that takes long
        keys = [(one.name, part.partition) for one in topics for part in one.partitions if part.leader >= 0]
        stamped = {one.name for one in topics if (one.config or {}).get("message.timestamp.type") == "LogAppendTime"}
        looked_ms, newest = _now_ms(), self._newest([key for key in keys if key[0] in stamped])
        before, positions = self._logs(keys), self._positions(keys)
        started = time.monotonic()
        wait(apart_s)
        apart_ms = round(1000 * (time.monotonic() - started))
        after, groups = self._logs(keys), self._groups(keys, positions, in_process)
        newer = self._newest([key for key in keys if key[0] in stamped])
        clock = Clock(newer - _now_ms(), newer - looked_ms) if newest is not None and newer and newer > newest else None
        return KafkaFacts(
            self._address,
            in_process,
            len(brokers),
            tuple(topics),
            config,
            tuple(before),
            tuple(after),
            apart_ms,
            tuple(self._with_unread(one, after) for one in groups),
            () if in_process else tuple(self._open(before, after)),
            clock,
            tuple(dict.fromkeys(self._unread)),
        )

    def look(self) -> KafkaFacts:
        """Logs and positions only. Raises BrokerUnavailable."""
        in_process, brokers, topics = self._metadata()
        keys = [(one.name, part.partition) for one in topics for part in one.partitions if part.leader >= 0]
        positions = self._positions(keys)
        logs = self._logs(keys)  # later: the ledger holds what was committed by then
        groups = [Group(name, role, None, None, (), tuple(positions[role])) for role, name in self._roles.items()]
        return KafkaFacts(
            self._address,
            in_process,
            len(brokers),
            after=tuple(logs),
            groups=tuple(self._with_unread(one, logs) for one in groups),
            unread=tuple(dict.fromkeys(self._unread)),
        )

    def _metadata(self) -> tuple[bool, list[int], list[TopicFacts]]:
        try:
            found = self._admin.list_topics(timeout=ANSWER_S)
        except KafkaException as error:
            raise broker_unavailable(self._address, error) from error
        topics = [
            TopicFacts(
                name,
                tuple(
                    Replicas(number, part.leader, len(part.replicas), len(part.isrs))
                    for number, part in sorted(found.topics[name].partitions.items())
                ),
            )
            for name in self._topics
            if name in found.topics and found.topics[name].error is None
        ]
        return str(found.cluster_id or "").startswith(IN_PROCESS), list(found.brokers), topics

    def _described(self, topics: list[TopicFacts]) -> list[TopicFacts]:
        """With settings and ids."""
        if not topics:
            return topics
        names = [one.name for one in topics]
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = {one.name: self._settings(one, TOPIC_SETTINGS) for one in self._asked_configs(resources)}
        ids: dict[str, str] = {}
        try:
            asked = cast(
                "dict[str, Future[Any]]",
                self._admin.describe_topics(TopicCollection(names), request_timeout=ANSWER_S),
            )
            for name, answer in asked.items():
                ids[name] = id_text(answer.result(ANSWER_S + 5).topic_id)
        except (KafkaException, TimeoutError) as error:
            self._refused("the ids of topics", error)
        return [replace(one, config=configs.get(one.name), id=ids.get(one.name)) for one in topics]

    def _broker_config(self, brokers: list[int]) -> dict[str, str] | None:
        if not brokers:
            return None
        for one in self._asked_configs([ConfigResource(ResourceType.BROKER, str(brokers[0]))]):
            return self._settings(one, BROKER_SETTINGS)
        return None

    def _asked_configs(self, resources: list[ConfigResource]) -> list[Any]:
        """Described resources that were answered, with their settings as `configs`."""
        described: list[Any] = []
        try:
            asked = cast("dict[Any, Future[Any]]", self._admin.describe_configs(resources, request_timeout=ANSWER_S))
        except KafkaException as error:
            self._refused("settings", error)
            return []
        for resource, answer in asked.items():
            try:
                resource.configs = answer.result(ANSWER_S + 5)
            except (KafkaException, TimeoutError) as error:
                self._refused(f"the settings of {resource.name}", error)
            else:
                described.append(resource)
        return described

    @staticmethod
    def _settings(described: Any, names: frozenset[str]) -> dict[str, str]:
        return {name: str(one.value) for name, one in described.configs.items() if name in names}

    def _offsets(self, keys: Iterable[Key], spec: Any, isolation: IsolationLevel) -> dict[Key, Any]:
        """Answers by partition. A topic that is a second old has no leader that knows it, so those are asked again."""
        found: dict[Key, Any] = {}
        left = set(keys)
        deadline = time.monotonic() + LEADER_S
        while left:
            refusals = self._ask_offsets(left, spec, isolation, found)
            left = {key for key, error in refusals.items() if _code(error) in MOVED}
            if not left or time.monotonic() > deadline:
                for (topic, partition), error in refusals.items():
                    self._refused(f"offsets of {topic}/{partition}", error)
                break
            time.sleep(RETRY_S)
        return found

    def _ask_offsets(
        self, keys: set[Key], spec: Any, isolation: IsolationLevel, found: dict[Key, Any]
    ) -> dict[Key, Exception]:
        try:
            asked = cast(
                "dict[TopicPartition, Future[Any]]",
                self._admin.list_offsets(  # pyright: ignore[reportUnknownMemberType]  # Future without its type
                    {TopicPartition(*key): spec for key in keys}, isolation_level=isolation, request_timeout=ANSWER_S
                ),
            )
        except KafkaException as error:
            return dict.fromkeys(keys, error)
        refusals: dict[Key, Exception] = {}
        for place, answer in asked.items():
            try:
                found[place.topic, place.partition] = answer.result(ANSWER_S + 5)
            except (KafkaException, TimeoutError) as error:
                refusals[place.topic, place.partition] = error
        return refusals

    def _logs(self, keys: list[Key]) -> list[Log]:
        start = self._offsets(keys, _EARLIEST(), IsolationLevel.READ_UNCOMMITTED)
        stable = self._offsets(keys, _LATEST(), IsolationLevel.READ_COMMITTED)
        end = self._offsets(keys, _LATEST(), IsolationLevel.READ_UNCOMMITTED)

        def offset(answers: dict[Key, Any], key: Key) -> int | None:
            return int(answers[key].offset) if key in answers else None

        return [Log(*key, offset(start, key), offset(end, key), offset(stable, key)) for key in keys]

    def _newest(self, keys: list[Key]) -> int | None:
        """The broker's time of the newest message; 0 when there is none, None when nobody says."""
        found = self._offsets(keys, _NEWEST(), IsolationLevel.READ_UNCOMMITTED)
        return max((int(one.timestamp) for one in found.values()), default=None)

    def _positions(self, keys: list[Key]) -> dict[str, list[Position]]:
        read = {"worker": RAW_TOPICS, "sink": STORED_TOPICS}
        return {
            role: self._committed(name, [key for key in keys if self._topics[key[0]] in read[role]])
            for role, name in self._roles.items()
        }

    def _committed(self, group: str, keys: list[Key]) -> list[Position]:
        if not keys:
            return []
        deadline = time.monotonic() + ANSWER_S
        with closing(self._consumer(group)) as consumer:
            while True:
                try:
                    answers = ask_committed(consumer, [TopicPartition(*key) for key in keys], ANSWER_S)
                    break
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        self._refused(f"the offsets of {group}", error)
                        return []
                time.sleep(RETRY_S)
        return [
            Position(one.topic, one.partition, one.offset if one.offset >= 0 else None, str(one.metadata or ""))
            for one in answers
            if one.error is None
        ]

    def _groups(self, keys: list[Key], before: Mapping[str, list[Position]], in_process: bool) -> list[Group]:
        states = dict[str, tuple[str | None, int | None]]() if in_process else self._members()
        after = self._positions(keys)
        return [
            Group(name, role, state, members, tuple(before[role]), tuple(after[role]))
            for role, name in self._roles.items()
            for state, members in [states.get(name, (None, None))]
        ]

    def _members(self) -> dict[str, tuple[str | None, int | None]]:
        found: dict[str, tuple[str | None, int | None]] = {}
        try:
            asked = cast(
                "dict[str, Future[Any]]",
                self._admin.describe_consumer_groups(list(self._roles.values()), request_timeout=ANSWER_S),
            )
        except KafkaException as error:
            self._refused("groups", error)
            return found
        for name, answer in asked.items():
            try:
                said = answer.result(ANSWER_S + 5)
            except (KafkaException, TimeoutError) as error:
                self._refused(f"the members of {name}", error)
                continue
            state = said.state.name if isinstance(said.state, ConsumerGroupState) else str(said.state)
            found[name] = (state.lower(), len(said.members))
        return found

    def _with_unread(self, group: Group, logs: list[Log]) -> Group:
        """The first message behind each position, if there is one."""
        places: dict[Key, int] = {}
        for one in group.after:
            log = next((log for log in logs if (log.topic, log.partition) == (one.topic, one.partition)), None)
            if log is None or log.start is None or log.end is None:
                continue
            begin = log.start if one.offset is None else one.offset
            if log.start <= begin <= log.end:
                places[one.topic, one.partition] = begin
        first = {(str(m.topic()), int(m.partition() or 0)): m.timestamp()[1] for m in self._until_end(places)}
        return replace(
            group,
            after=tuple(
                replace(one, unread=key in first, unread_since_ms=first.get(key) or None) if key in places else one
                for one in group.after
                for key in [(one.topic, one.partition)]
            ),
        )

    def _open(self, before: list[Log], after: list[Log]) -> Iterable[OpenTransaction]:
        """Partitions whose first open transaction was the same in both looks, with the age of its first message."""
        stood = {(one.topic, one.partition): one.stable for one in before}
        held = {
            (one.topic, one.partition): one.stable
            for one in after
            if one.stable is not None
            and one.end is not None
            and one.stable < one.end
            and stood.get((one.topic, one.partition)) == one.stable
        }
        since = {
            (str(m.topic()), int(m.partition() or 0)): m.timestamp()[1]
            for m in self._until_end(held, isolation="read_uncommitted")
        }
        return [OpenTransaction(*key, offset, since.get(key)) for key, offset in held.items()]

    def _until_end(
        self, places: Mapping[Key, int], *, first_only: bool = True, isolation: str = "read_committed"
    ) -> list[Message]:
        """The messages from these offsets to the ends, or only the first of each; what comes within some seconds."""
        if not places:
            return []
        found: list[Message] = []
        left = set(places)
        deadline = time.monotonic() + ANSWER_S
        with closing(self._consumer(f"sg-{self._region}-doctor", isolation)) as consumer:
            consumer.assign([TopicPartition(*key, offset) for key, offset in places.items()])
            while left and time.monotonic() < deadline:
                message = consumer.poll(0.5)
                if message is None:
                    continue
                key = (str(message.topic()), int(message.partition() or 0))
                error = message.error()
                if error is None and key in left:
                    found.append(message)
                if key in left and (first_only or error is not None):
                    left.discard(key)
                    consumer.pause([TopicPartition(*key)])
        if left:
            self._unread.append("some messages did not come in time; lags are known in offsets only")
        return found

    def _consumer(self, group: str, isolation: str = "read_committed") -> Consumer:
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            # one message of each partition is looked at
            "max.partition.fetch.bytes": 65_536,
            "queued.max.messages.kbytes": 1_024,
        }
        return Consumer(self._config | own)

    def _refused(self, what: str, error: Exception) -> None:
        said = error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else type(error).__name__
        self._unread.append(f"{what} cannot be read: {said}")


def _code(error: Exception) -> int | None:
    said = error.args[0] if error.args else None
    return said.code() if isinstance(said, KafkaError) else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def reader_of(settings: SinkSettings) -> KafkaReader:
    """Looks at the brokers of a region as its sinks reach them. Silent: a broker that does not answer is a finding."""
    roles = {"worker": ProcessorSettings(region=settings.region).group, "sink": settings.group}
    config = settings.librdkafka() | {"error_cb": _silent}
    return KafkaReader(config, ",".join(settings.brokers), settings.region, roles)


def _silent(_: Any) -> None:
    """For librdkafka's `error_cb`."""
