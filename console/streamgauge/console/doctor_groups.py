"""Groups: how far workers and sinks are, whether they move, and what stands in their way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamgauge.console.doctor_facts import Facts, Group, KafkaFacts, Log, Position, Reached, Wanted
from streamgauge.console.doctor_findings import Finding, error, note, ok, span, warning
from streamgauge.console.doctor_topics import WORKER_TRANSACTION_MS
from streamgauge.processors.broker import Committed
from streamgauge.schemas.topics import LEDGER
from streamgauge.sinks.decisions import FORGIVING, at_start, stop
from streamgauge.sinks.ranges import Place, read_commit

LAG, TRANSACTIONS = "lag", "transactions"
LATE_MS = 30_000
"""A message that nobody has read for so long makes a lag worth a finding."""
COMMANDS = {"worker": "streamgauge process", "sink": "streamgauge sink"}

Key = tuple[str, int]


def groups(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Findings of the worker's and the sink's group, partition by partition."""
    if facts.kafka is None:
        return
    reached = {(one.topic, one.partition): one for one in facts.store.reached} if facts.store else {}
    for group in facts.kafka.groups:
        yield from _Group(facts, facts.kafka, group, reached, wanted).findings()


class _Group:
    """One group with everything that is known of its partitions."""

    def __init__(
        self, facts: Facts, kafka: KafkaFacts, group: Group, reached: Mapping[Key, Reached], wanted: Wanted
    ) -> None:
        self.now_ms = facts.now_ms
        self.kafka = kafka
        self.group = group
        self.reached = reached
        self.wanted = wanted
        self.before = {(one.topic, one.partition): one for one in group.before}
        self.logs_before = {(one.topic, one.partition): one for one in kafka.before}
        self.logs = {(one.topic, one.partition): one for one in kafka.after}
        self.topics = {one.name: one for one in kafka.topics}

    def findings(self) -> Iterator[Finding]:
        """The group's, then its partitions'."""
        problems = [*self._membership()]
        for one in self.group.after:
            problems += self._partition(one, self.logs.get((one.topic, one.partition)))
        yield from problems
        if not any(one.bad for one in problems) and self.group.after:
            oldest = max((self._age(one) for one in self.group.after), default=0)
            late = f", the oldest unread message is {span(oldest)} old" if oldest else ", nothing is unread"
            yield ok(LAG, self.group.name, f"{len(self.group.after)} partitions are read{late}")

    def _age(self, one: Position) -> int:
        return max(0, self.now_ms - one.unread_since_ms) if one.unread and one.unread_since_ms else 0

    def _membership(self) -> Iterator[Finding]:
        group = self.group
        if group.members is None:
            yield note(LAG, group.name, "the broker does not tell who is in the group")
            return
        if group.members:
            return
        waiting = sum(1 for one in group.after if one.unread)
        start = f"{COMMANDS[group.role]} --brokers {self.kafka.address} --region {self.wanted.region}"
        what = f"no {group.role} is running"
        remedy = f"start one: {start}"
        if waiting:
            yield error(LAG, group.name, f"{what}, and {waiting} partitions have unread messages", remedy)
        else:
            yield warning(LAG, group.name, what, remedy)
        yield from self._expiry()

    def _expiry(self) -> Iterator[Finding]:
        """A group without members loses its offsets some time after the last one left."""
        minutes = (self.kafka.config or {}).get("offsets.retention.minutes", "")
        last = max(
            (
                self.reached[key].at_ms
                for one in self.group.after
                if (key := (one.topic, one.partition)) in self.reached
            ),
            default=None,
        )
        if not minutes.isdecimal() or last is None or all(one.offset is None for one in self.group.after):
            return
        left = last + 60_000 * int(minutes) - self.now_ms
        what = "its committed offsets are deleted " + (f"in {span(left)}" if left > 0 else "any moment")
        remedy = "start a member before, or raise offsets.retention.minutes in the brokers' properties"
        if left < self.wanted.outage_ms:
            yield error(LAG, self.group.name, what, remedy)
        else:
            yield note(LAG, self.group.name, f"{what} if nobody joins", remedy)

    def _partition(self, one: Position, log: Log | None) -> Iterator[Finding]:
        where = f"{self.group.role} {one.topic}/{one.partition}"
        if one.offset is None:
            yield from self._without_offset(one, log, where)
            return
        if log is not None and log.start is not None and one.offset < log.start:
            then = (
                "workers stop there; with STREAMGAUGE_GO_ON_AFTER_LOSS=true they go on, and the ledger counts offsets_lost"
                if self.group.role == "worker"
                else "the sink stops there; set the group's offset to go on without them"
            )
            yield error(
                LAG,
                where,
                f"{log.start - one.offset:,} offsets are gone unread: retention has passed by offset {one.offset}",
                then,
                "" if self.group.role == "worker" else self._reset(one, "--to-earliest"),
            )
            return
        if log is not None and log.end is not None and one.offset > log.end:
            yield error(
                LAG,
                where,
                f"the committed offset {one.offset:,} lies behind the end of the topic, {log.end:,}: it was made anew",
                f"stop the {self.group.role}s, then set the group to the beginning",
                self._reset(one, "--to-earliest"),
            )
            return
        if (refusal := self._intent(one, where)) is not None:
            yield refusal
            return
        yield from self._lag(one, log, where)

    def _without_offset(self, one: Position, log: Log | None, where: str) -> Iterator[Finding]:
        known = self.reached.get((one.topic, one.partition))
        topic = self.topics.get(one.topic)
        if known is not None and topic is not None and topic.id is not None and self._earlier(known.life, topic.id):
            yield error(
                LAG,
                where,
                "has no committed offset: the topic was made anew, and the store knows the earlier one",
                f"stop the {self.group.role}s, then set the group to the beginning",
                self._reset(one, "--to-earliest"),
            )
        elif known is not None and not self.kafka.in_process:
            yield error(
                LAG,
                where,
                f"has no committed offset, though the store knows it up to offset {known.offset:,}: read from the start, it "
                "may count twice",
                f"stop the {self.group.role}s, then set the offset (--to-earliest if the topic was made anew)",
                self._reset(one, f"--to-offset {known.offset}"),
            )
        elif one.unread and (self.group.members is None or self.group.members) and self._age(one) >= LATE_MS:
            yield warning(
                LAG,
                where,
                f"nothing was ever read; the first message waits for {span(self._age(one))}",
                f"see the log of the {self.group.role}",
            )

    def _earlier(self, life: str, now: str) -> bool:
        """Whether a life of a topic is known, and is not that of now."""
        ledger = self.topics.get(LEDGER.name(self.wanted.region))
        return bool(life) and life != now and (ledger is None or life != ledger.id)

    def _intent(self, one: Position, where: str) -> Finding | None:
        """A commit that a member would not go on from."""
        topic = self.topics.get(one.topic)
        if topic is None or topic.id is None or one.offset is None:
            return None
        if self.group.role != "sink":
            if not self._earlier(Committed.read(one.offset, one.metadata).life, topic.id):
                return None
            return error(
                LAG,
                where,
                "a worker that starts here stops: the topic was made anew, and the committed offset is of the earlier one",
                f"stop the {self.group.role}s, then set the group to the beginning",
                self._reset(one, "--to-earliest"),
            )
        place = Place(self.wanted.region, one.topic, topic.id, one.partition)
        says = read_commit(place, one.offset, one.metadata)
        decision = at_start(says.kind, FORGIVING.found)
        if decision.why is None:
            return None
        advice = str(stop(decision.why, place, says, FORGIVING))
        return error(LAG, where, "a sink that starts here stops: its committed offset cannot be used", advice)

    def _lag(self, one: Position, log: Log | None, where: str) -> Iterator[Finding]:
        key = (one.topic, one.partition)
        age = self._age(one)
        yield from self._soon_gone(one, where, age)
        if not one.unread or age < LATE_MS or self.group.members == 0:
            return
        before, log_before = self.before.get(key), self.logs_before.get(key)
        lag = _distance(one, log)
        if before is not None and before.offset == one.offset:
            yield error(
                LAG,
                where,
                f"does not move: offset {one.offset:,} waits for {span(age)}"
                + (f", {lag:,} offsets behind" if lag is not None else ""),
                f"see the log of the {self.group.role}: it says what it waits for",
            )
            return
        earlier = _distance(before, log_before) if before is not None else None
        if lag is not None and earlier is not None and lag < earlier and self.kafka.apart_ms:
            left = self.kafka.apart_ms * lag / (earlier - lag)
            yield note(LAG, where, f"{span(age)} behind and catching up: {lag:,} offsets, about {span(left)} to go")
        else:
            yield warning(
                LAG,
                where,
                f"{span(age)} behind and not catching up" + (f": {lag:,} offsets" if lag is not None else ""),
                f"start more {self.group.role}s, up to one a partition",
            )

    def _soon_gone(self, one: Position, where: str, age: int) -> Iterator[Finding]:
        """Unread messages that retention will reach within an outage."""
        topic = self.topics.get(one.topic)
        kept = (topic.config or {}).get("retention.ms", "") if topic is not None else ""
        if not one.unread or not kept.isdecimal() or age < LATE_MS or int(kept) - age >= self.wanted.outage_ms:
            return
        left = int(kept) - age
        yield error(
            LAG,
            where,
            f"the oldest unread message is {span(age)} old and is deleted {f'in {span(left)}' if left > 0 else 'any moment'}",
            f"let the topic keep it until the {self.group.role}s have caught up",
            f"kafka-configs --bootstrap-server {self.kafka.address} --alter --entity-type topics --entity-name {one.topic}"
            f" --add-config retention.ms={2 * int(kept)}",
        )

    def _reset(self, one: Position, target: str) -> str:
        return (
            f"kafka-consumer-groups --bootstrap-server {self.kafka.address} --group {self.group.name}"
            f" --topic {one.topic}:{one.partition} --reset-offsets {target} --execute"
        )


def _distance(one: Position, log: Log | None) -> int | None:
    return max(0, log.end - one.offset) if log is not None and log.end is not None and one.offset is not None else None


def transactions(facts: Facts) -> Iterator[Finding]:
    """Transactions that stay open and hold back everyone who reads committed messages."""
    if facts.kafka is None:
        return
    if facts.kafka.in_process:
        yield note(TRANSACTIONS, facts.kafka.address, "an in-process broker has no transactions: at least once")
        return
    bad = False
    for one in facts.kafka.open_transactions:
        age = None if one.since_ms is None else facts.now_ms - one.since_ms
        if age is not None and age <= 2 * WORKER_TRANSACTION_MS:
            continue
        bad = True
        since = "longer than this look took" if age is None else span(age)
        yield (warning if age is None else error)(
            TRANSACTIONS,
            f"{one.topic}/{one.partition}",
            f"a transaction is open for {since}, at offset {one.offset:,}: sinks read nothing behind it",
            "a worker's is ended by the broker after 20 s, so this is a hanging one: find it, then abort it",
            f"kafka-transactions --bootstrap-server {facts.kafka.address} find-hanging --topic {one.topic}"
            f" --partition {one.partition}",
        )
    if not bad and facts.kafka.after:
        yield ok(TRANSACTIONS, facts.kafka.address, "none is open for longer than a worker's may be")
