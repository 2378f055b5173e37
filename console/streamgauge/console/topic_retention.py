"""Topic retention: how long topics may keep messages, because contracts say so. Shortened where a topic keeps them longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from streamgauge.console.sender import ANSWER_WITHIN_S, broker_unavailable
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import BrokerUnavailable, StreamgaugeError
from streamgauge.schemas.keeping import SINGLE_EVENTS, kept_ms, newest
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import DAY_MS, DISTINCT, EVENTS, HOUR_MS, ROLLUPS, SCRUBBED, Topic

FLOOR_MS: Final = HOUR_MS
"""No contract makes a topic keep less: workers and sinks could not be restarted in time."""
SHORT_MS: Final = DAY_MS
"""What keeps less covers no night in which nobody looks."""
LEAST_SEGMENT_MS: Final = 600_000

USED: Final = (EVENTS, ROLLUPS, DISTINCT, SCRUBBED)
"""Topics with rows of events. Metrics have no contract; ledger and dead letters hold no values."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How long a topic may keep messages because `contract` declares `declared_ms`, the shortest of all."""

    retention_ms: int
    contract: str
    declared_ms: int

    @property
    def segment_ms(self) -> int:
        """Whole segments go, and one that is written to stays: so it is closed after a twelfth of the time."""
        return max(LEAST_SEGMENT_MS, self.retention_ms // 12)

    def config(self) -> dict[str, str]:
        """The topic's settings."""
        return {"retention.ms": str(self.retention_ms), "segment.ms": str(self.segment_ms)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A topic for which a contract asks. `before_ms` is what it kept until now, where that was longer (-1: for ever).

    `changed` is whether it was shortened; on a dry run it is not.
    """

    topic: str
    asked: Asked
    before_ms: int | None
    changed: bool

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "topic": self.topic,
            "retention_ms": self.asked.retention_ms,
            "contract": self.asked.contract,
            "declared_ms": self.asked.declared_ms,
            "before_ms": self.before_ms,
            "changed": self.changed,
        }


def asked_by(contracts: Iterable[Contract]) -> dict[str, Asked]:
    """By kind of topic, the shortest retention that the newest version of a contract declares which uses it.

    Topics that may keep messages for as long as they do anyway are left out.
    """
    current = sorted(newest(contracts).items())
    found: dict[str, Asked] = {}
    for topic in USED:
        tier = SINGLE_EVENTS if topic is SCRUBBED else ""
        spans = [(kept_ms(one, tier), name) for name, one in current if _uses(one, topic)]
        if finite := [(span, name) for span, name in spans if span != FOR_EVER]:
            declared, name = min(finite)
            if declared < topic.retention_ms:
                found[topic.kind] = Asked(max(FLOOR_MS, declared), name, declared)
    return found


def _uses(contract: Contract, topic: Topic) -> bool:
    if topic is SCRUBBED:
        return contract.store_events
    return topic is not DISTINCT or bool(contract.of_kind("unique"))


def shorten(
    admin: AdminClient, region: str, asked: Mapping[str, Asked], dry_run: bool, address: str = "the configured address"
) -> list[Kept]:
    """Make topics that exist keep messages for no longer than asked; those that keep less are left alone.

    Raises BrokerUnavailable, and StreamgaugeError when the broker refuses.
    """
    wanted = {topic.name(region): asked[topic.kind] for topic in USED if topic.kind in asked}
    try:
        live = _configs(admin, list(wanted)) if wanted else {}
        late = {name: one for name, one in live.items() if _longer(one, wanted[name])}
        if late and not dry_run:
            _alter(admin, {name: wanted[name].config() for name in late})
    except KafkaException as error:
        raise broker_unavailable(address, error) from error
    except TimeoutError as error:
        raise BrokerUnavailable(f"the broker at {address} did not answer in time; try again") from error
    return [
        Kept(
            name, wanted[name], int(live[name]["retention.ms"]) if name in late else None, name in late and not dry_run
        )
        for name in live
    ]


def _longer(live: Mapping[str, str], asked: Asked) -> bool:
    kept = int(live["retention.ms"])
    return kept == -1 or kept > asked.retention_ms or int(live["segment.ms"]) > asked.segment_ms


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    asked = cast("dict[Any, Future[Any]]", admin.describe_configs(resources, request_timeout=ANSWER_WITHIN_S))
    found: dict[str, dict[str, str]] = {}
    for resource, answer in asked.items():
        configs = answer.result(ANSWER_WITHIN_S + 5)
        found[str(resource.name)] = {key: str(configs[key].value) for key in ("retention.ms", "segment.ms")}
    return found


def _alter(admin: AdminClient, wanted: Mapping[str, Mapping[str, str]]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
            ],
        )
        for name, config in wanted.items()
    ]
    answers = cast("dict[Any, Future[Any]]", admin.incremental_alter_configs(resources))
    for resource, answer in answers.items():
        try:
            answer.result(ANSWER_WITHIN_S + 5)
        except KafkaException as failed:
            raise StreamgaugeError(f"{resource.name}: the broker refuses: {failed.args[0].str()}") from failed
