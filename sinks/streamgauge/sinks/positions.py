"""Positions: where the group is in every partition, what a sink would do there, and what a person may say instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamgauge.schemas.committed import ask_committed
from streamgauge.schemas.errors import BrokerUnavailable, InputError, StreamgaugeError
from streamgauge.sinks.commits import FENCED
from streamgauge.sinks.decisions import Act, Decision, StoreView, stop, would_do
from streamgauge.sinks.ranges import ANY_CONTENT, Committed, GroupSays, Place, done_in, read_commit

STORED, AGAIN = "stored", "insert-again"
ANSWERS = (STORED, AGAIN)

WITHIN_S = 20


@dataclass(frozen=True, slots=True)
class Position:
    """A partition, what is committed of it, and what the store has of that."""

    place: Place
    says: GroupSays
    view: StoreView

    @property
    def decision(self) -> Decision:
        """What a sink would do that is started now."""
        return would_do(self.says, self.view)

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        pending, decision = self.says.pending, self.decision
        found: dict[str, Any] = {
            "place": str(self.place),
            "life": self.place.incarnation,
            "offset": max(self.says.offset, -1),
            "committed": self.says.kind.name.lower(),
            "pending": None,
            "store": self.view.found.name.lower(),
            "store_until": self.view.until,
            "does": decision.act.name.lower(),
            "why": decision.why and decision.why.value,
            "advice": decision.why and str(stop(decision.why, self.place, self.says, self.view)),
        }
        if pending is not None:
            names = ("start", "end", "block_format", "content", "written_ms")
            found["pending"] = {name: getattr(pending, name) for name in names} | {"covered": self.view.covered}
        return found


def resolved(position: Position, answer: str, now_ms: int) -> tuple[int, str]:
    """Offset and metadata that say what a person knows: everything that was begun is `stored`, or `insert-again`.

    Raises InputError where that would not help.
    """
    says, view, decision = position.says, position.view, position.decision
    pending = says.pending
    if answer == AGAIN:
        if pending is None or says.kind not in {Committed.PENDING, Committed.ASKED}:
            raise InputError(
                f"{position.place} has no pending range that could be inserted again here: {says.kind.value}"
            )
        return pending.start, replace(pending, content=ANY_CONTENT, written_ms=now_ms).intent()
    if says.kind in {Committed.MOVED, Committed.FOREIGN, Committed.OTHER_LIFE} and decision.why is not None:
        raise InputError(str(stop(decision.why, position.place, says, view)))
    if pending is None and decision.act is not Act.STOP:
        raise InputError(f"{position.place} has nothing to resolve: a sink would {decision.act.value}")
    if pending is None and not view.until:
        raise InputError(f"the store has no block of {position.place} in this life of the topic: nothing is stored")
    return max(says.offset, view.until, pending.end if pending else 0), done_in(position.place)


class GroupBusy(StreamgaugeError):
    """A sink is a member of the group, so its offsets belong to it. Nothing was changed."""


class GroupOffsets:
    """Committed offsets of a group of which nobody is a member. The broker itself refuses to change them otherwise."""

    def __init__(self, config: Mapping[str, Any], group: str) -> None:
        self._group = group
        self._address = config.get("bootstrap.servers")
        self._consumer = Consumer({**config, "group.id": group, "enable.auto.commit": False})

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """All partitions of some topics. Raises BrokerUnavailable."""
        try:
            found = self._consumer.list_topics(timeout=WITHIN_S).topics
        except KafkaException as error:
            raise self._unavailable(error) from error
        return [TopicPartition(name, number) for name in topics for number in sorted(found[name].partitions)]

    def read(self, places: Iterable[Place]) -> list[GroupSays]:
        """What is committed, in the same order. Raises BrokerUnavailable."""
        asked = list(places)
        try:
            found = ask_committed(self._consumer, [TopicPartition(p.topic, p.partition) for p in asked], WITHIN_S)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return [read_commit(place, one.offset, one.metadata) for place, one in zip(asked, found, strict=True)]

    def write(self, place: Place, offset: int, metadata: str) -> None:
        """Commit. Raises GroupBusy, BrokerUnavailable."""
        wanted = TopicPartition(place.topic, place.partition, offset, metadata=metadata)
        try:
            for one in self._consumer.commit(offsets=[wanted], asynchronous=False) or []:
                if one.error is not None:
                    raise KafkaException(one.error)
        except KafkaException as error:
            if error.args[0].code() in FENCED:
                raise GroupBusy(
                    f"a sink is a member of group {self._group}: stop all sinks of the region first (one that was killed "
                    "stays a member until its session has timed out). Nothing was changed"
                ) from error
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _unavailable(self, error: KafkaException) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"group {self._group} at {self._address} does not answer ({error.args[0].str()}); set STREAMGAUGE_BROKERS"
        )
