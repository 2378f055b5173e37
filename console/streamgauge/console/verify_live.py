"""Verify, live: what Kafka's offsets add to what the store says. Pure.

They tell whether what is missing is on its way, and see what the store alone cannot: that the newest transactions, or
blocks, are gone without a trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamgauge.console.doctor_facts import Group, KafkaFacts, Log, Position

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LivePosition:
    """A partition that a group reads. `end` is the log's, `accounted` where the store's ledger (of a `raw` one) or blocks
    end; None: not known. `unaccounted` offsets were committed, and the store has nothing of them.
    """

    topic: str
    partition: int
    raw: bool
    committed: int
    end: int | None
    accounted: int | None
    unaccounted: int


def arrived(before: KafkaFacts, after: KafkaFacts, topics: Iterable[str]) -> bool:
    """Whether sinks have stored these topics as far as they were `before`: what is missing now is not on its way."""
    wanted = frozenset(topics)
    logs = {(one.topic, one.partition): one for one in before.after if one.topic in wanted}
    read = {(one.topic, one.partition): one for one in _positions(after, "sink")}
    return all(_past(read.get(key), log) for key, log in logs.items())


def _past(one: Position | None, log: Log) -> bool:
    if log.stable is None:
        return False
    if one is None or one.offset is None:
        return log.stable == log.start
    # behind the last message stand control records, which nobody reads
    return one.offset >= log.stable or one.unread is False


def live_positions(
    before: KafkaFacts,
    accounted: Mapping[Key, Mapping[str, int]],
    raw_decided: bool,
    blocks: Iterable[str],
    letters: Iterable[tuple[str, int, int]] = (),
) -> tuple[LivePosition, ...]:
    """Partitions with a committed offset. `accounted` was read of the store after `before`: where each partition ends, by the
    name of its topic's life, which the committed metadata says too ("" is any life). `blocks` are the topics whose
    messages become blocks, `letters` their messages that were refused: (topic, partition, offset).

    A worker's commit reaches the store through the ledger's topic: `raw_decided` says that it has `arrived`. A sink's own
    comes after its block.
    """
    logs = {(one.topic, one.partition): one for one in before.after}
    stored, refused = frozenset(blocks), frozenset(letters)
    found = [_live(one, logs, accounted, True, raw_decided) for one in _positions(before, "worker")]
    for one in _positions(before, "sink"):
        if one.topic in stored:
            key = (one.topic, one.partition)
            # a range of refused messages only leaves no block
            begin = _end(accounted.get(key, {}), one.metadata) or 0
            excused = any((topic, of) == key and at >= begin for topic, of, at in refused)
            found.append(_live(one, logs, accounted, False, not excused))
    return tuple(found)


def _positions(facts: KafkaFacts, role: str) -> list[Position]:
    groups: list[Group] = [one for one in facts.groups if one.role == role]
    return [one for group in groups for one in group.after if one.offset is not None]


def _live(
    one: Position, logs: Mapping[Key, Log], accounted: Mapping[Key, Mapping[str, int]], raw: bool, decided: bool
) -> LivePosition:
    key = (one.topic, one.partition)
    log, committed, known = logs.get(key), one.offset or 0, _end(accounted.get(key, {}), one.metadata)
    begin = committed if log is None or log.start is None else log.start
    unaccounted = max(0, committed - (begin if known is None else known)) if decided else 0
    return LivePosition(one.topic, one.partition, raw, committed, None if log is None else log.end, known, unaccounted)


def _end(ends: Mapping[str, int], metadata: str) -> int | None:
    """Where the store ends in the life that the metadata names; in any, where it names none that the store knows."""
    named = [life for life in ends if life and f"topic {life}" in metadata]
    return max((end for life, end in ends.items() if not named or life in {"", *named}), default=None)
