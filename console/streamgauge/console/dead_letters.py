"""Dead letters in the store: which ones are meant, and what is known of them. Reads only; shows no raw value."""

# ruff: noqa: S608  (only identifiers and fixed words are filled in; values are bound)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from streamgauge.schemas.errors import InputError
from streamgauge.schemas.ledger import DeadLetter, read_sample
from streamgauge.schemas.packing import Json
from streamgauge.schemas.row_sets import RowSet, read_row_set
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.topics import DEAD, RAW_TOPICS, TOPICS
from streamgauge.sinks.ddl import Reader, table

SHOWN_RANGES = 12


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a raw message stands. Written as `events:2:1201` for a topic of ours, else with the topic's whole name."""

    topic: str
    partition: int
    offset: int

    def text(self, region: str) -> str:
        """As people write it."""
        kinds = {topic.name(region): topic.kind for topic in TOPICS}
        return f"{kinds.get(self.topic, self.topic)}:{self.partition}:{self.offset}"


def origin_of(letter: DeadLetter) -> Origin:
    """Where what a letter stands for was sent first."""
    return Origin(letter.topic, letter.partition, letter.offset)


def of_earlier_life(letter: DeadLetter, lives: Mapping[str, str]) -> bool:
    """Whether a letter's topic was made anew since: what stands at its offset now is another message.

    `lives` are those of the topics now. A sink notes that of the dead topic where a letter says none: nothing is known then.
    """
    now = lives.get(letter.topic, "")
    unknown = ("", lives.get(DEAD.name(letter.region), ""))
    return bool(now) and letter.incarnation not in unknown and letter.incarnation != now


def parse_origin(text: str, region: str) -> Origin:
    """Read `TOPIC:PARTITION:OFFSET`. Raises InputError."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        raise InputError(f"{text}: say TOPIC:PARTITION:OFFSET, as `streamgauge dead list` prints it")
    return Origin(topic_name(topic, region), int(partition), int(offset))


def topic_name(topic: str, region: str) -> str:
    """The whole name of a topic that may be named by its kind."""
    return next((one.name(region) for one in TOPICS if one.kind == topic), topic)


def raw_topics(region: str) -> frozenset[str]:
    """The topics that can be replayed into."""
    return frozenset(topic.name(region) for topic in RAW_TOPICS)


def parse_since(text: str, now_ms: int) -> int:
    """`24h`: so long ago; or an instant such as 2026-03-01T12:00 (UTC where it says no zone). Raises InputError."""
    try:
        ago = duration_ms(text)
    except ValueError:
        try:
            instant = datetime.fromisoformat(text)
        except ValueError as error:
            raise InputError(
                f"--since {text}: say a duration such as 24h, or an instant such as 2026-03-01T12:00"
            ) from error
        return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)
    return 0 if ago == FOR_EVER else max(0, now_ms - ago)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is empty excludes nothing. `again` includes refusals of replays."""

    region: str
    reasons: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    since_ms: int = 0
    origin: Origin | None = None
    again: bool = True

    def where(self) -> tuple[str, Json]:
        """As a condition and the values that are bound to it."""
        bound: Json = {"region": self.region}
        said = ["region = {region:String}"]
        for name, column, values in (
            ("reasons", "reason", self.reasons),
            ("events", "event", self.events),
            ("topics", "topic", self.topics),
        ):
            if values:
                said.append(f"{column} IN {{{name}:Array(String)}}")
                bound[name] = list(values)
        if self.since_ms:
            said.append("at >= fromUnixTimestamp64Milli({since:Int64})")
            bound["since"] = self.since_ms
        if self.origin:
            said.append("topic = {topic:String} AND partition = {partition:UInt16} AND offset = {offset:UInt64}")
            bound |= {"topic": self.origin.topic, "partition": self.origin.partition, "offset": self.origin.offset}
        if not self.again:
            said.append("again = 0")
        return " AND ".join(said), bound


COLUMNS = "topic, partition, offset, reason, rows, at_ms, event, detail, contract, service, size, hash, which, again, incarnation"
NEWEST_FIRST = "at DESC, topic, partition, offset, reason, again"
BY_ORIGIN = "topic, partition, offset, again, reason"


def read_letters(
    store: Reader, database: str, wanted: Wanted, order: str = BY_ORIGIN, limit: int = 0, samples: bool = True
) -> list[DeadLetter]:
    """The letters, in an `order` of this module; at most `limit`, if there is one."""
    where, bound = wanted.where()
    source = f"(SELECT *, toUnixTimestamp64Milli(at) AS at_ms FROM {table(database, 'dead')} FINAL WHERE {where})"
    cut = f" LIMIT {int(limit)}" if limit else ""
    sample = "sample" if samples else "''"
    rows = store.query_rows(f"SELECT {COLUMNS}, {sample} FROM {source} ORDER BY {order}{cut}", bound)
    return [_letter(wanted.region, row) for row in rows]


def _letter(region: str, row: Sequence[Any]) -> DeadLetter:
    (
        topic,
        partition,
        offset,
        reason,
        points,
        at_ms,
        event,
        detail,
        contract,
        service,
        size,
        digest,
        which,
        again,
        incarnation,
        sample,
    ) = row
    return DeadLetter(
        region, topic, partition, offset, reason, points, at_ms, event, detail, contract, service, size, digest,
        read_row_set(orjson.loads(which)) if which else None, read_sample(orjson.loads(sample)) if sample else (), again,
        incarnation,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Letters of one reason: how many, their points, how many are refusals of replays, when the first and the last came."""

    reason: str
    letters: int
    points: int
    again: int
    first_ms: int
    last_ms: int


def count_letters(store: Reader, database: str, wanted: Wanted) -> list[ReasonCount]:
    """Counts by reason."""
    where, bound = wanted.where()
    rows = store.query_rows(
        "SELECT reason, count(), sum(rows), countIf(again > 0), toUnixTimestamp64Milli(min(at)), toUnixTimestamp64Milli(max(at)) "
        f"FROM {table(database, 'dead')} FINAL WHERE {where} GROUP BY reason ORDER BY reason",
        bound,
    )
    return [ReasonCount(str(reason), *map(int, numbers)) for reason, *numbers in rows]


def letter_json(letter: DeadLetter) -> Json:
    """A letter as it travels, with its origin as text."""
    body: Json = orjson.loads(letter.encode())
    return {"origin": origin_of(letter).text(letter.region)} | {k: v for k, v in body.items() if k not in {"v", "kind"}}


def rows_text(which: RowSet | None) -> str:
    """Which rows, for people: `0, 3, 6-9 of 200`; of a whole message, `all`."""
    if which is None:
        return "all"
    rows = which.rows().tolist()
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][1] + 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    said = ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in parts[:SHOWN_RANGES])
    more = f" … ({len(rows)} rows)" if len(parts) > SHOWN_RANGES else ""
    return f"{said}{more} of {which.of}"


def instant_text(ms: int) -> str:
    """An instant as people write it, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def fields_text(fields: Mapping[str, object]) -> str:
    """Fields of a sample row on one line."""
    return "  ".join(f"{name}={'' if value is None else value}" for name, value in fields.items())
