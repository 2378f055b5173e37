"""Nothing that a sender must not pass on is found behind the worker: in no topic, table, log, page or output of a command."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import clickhouse_connect
import orjson
import pytest
import re2
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.schemas.again import AGAIN_HEADER
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.packing import pack_strings
from streamgauge.schemas.topics import EVENTS, METRICS, RAW_TOPICS, TOPICS
from tests.integration.test_embedded import Dev
from tests.support.canaries import NAMES, PERSONAL, SECRET, anywhere, event, everything, metric, single, traces
from tests.support.deployment import KEY, Deployment
from tests.support.kafka import Broker
from tests.support.progress import Progress, insistent
from tests.unit.processors.raw import CONTRACTS

pytestmark = [pytest.mark.clickhouse, pytest.mark.timeout(300)]

HELD = ("contract", "contract version of an event that is not known")
"""Places that make a worker wait for a contract: two minutes, where nobody sets another time."""
SEEN = "canary-that-sings"
"""May pass: an ordinary value. A search that does not find it finds nothing."""
Message = tuple[str, bytes, str, list[tuple[str, str | bytes | None]]]
"""Topic kind, value, Kafka key, headers."""


def planted(without: Collection[str] = ()) -> tuple[list[Message], dict[str, str]]:
    """Messages, but for those of some places, and what must not be found of them: mark → the place where it was put."""
    messages: list[Message] = []
    marks: dict[str, str] = {}

    def plant(place: str, mark: str, body: Mapping[str, Any] | bytes, key: str = "", header: bytes = b"") -> None:
        marks[mark] = place
        value = body if isinstance(body, bytes) else orjson.dumps(now(body))
        kind = METRICS.kind if b'"kind":"metrics"' in value else EVENTS.kind
        messages.append((kind, value, key, [(AGAIN_HEADER, header)] if header else []))

    for number, place in enumerate(one for one in everything("x") if one not in without):
        mark = f"canary-{number}@example.com"
        plant(place, mark, everything(mark)[place])
        for personal in PERSONAL[1:]:
            plant(f"{place} (a number)", personal, everything(personal)[place])
    for number, place in enumerate(anywhere("x")):
        mark = f"{SECRET}-{number:03}"
        plant(place, mark, anywhere(mark)[place])
    for number, (place, make) in enumerate(NAMES.items()):
        mark = f"name-{number}@example.com"
        plant(place, mark, make(mark))
    plant("what is no JSON", "broken@example.com", b'{"v":1,"kind":"events","x":"broken@example.com"')
    plant("bytes", f"{SECRET}-bytes", b"\xff\xfe" + f"{SECRET}-bytes".encode())
    plant("a Kafka key", "key@example.com", event(), "key@example.com")
    plant("a header", f"{SECRET}-header", event(), header=b'{"offset":"' + SECRET.encode() + b'-header"}')
    return messages, marks


def now(body: Mapping[str, Any]) -> dict[str, Any]:
    """With the time of today: what is too old would never come to where it could leak."""
    fresh: dict[str, Any] = dict(body)
    if type(fresh.get("t0")) is int:
        fresh["t0"] = time.time_ns() // 1_000_000
    return fresh


def send(bootstrap: str, region: str, messages: list[Message]) -> None:
    """The messages, among batches of ordinary ones."""
    publish(Producer({"bootstrap.servers": bootstrap}), region, list(CONTRACTS.values()))
    producer = Producer({"bootstrap.servers": bootstrap})
    good = [
        (EVENTS.kind, event(fields={"country": pack_strings([SEEN])})),
        (EVENTS.kind, single(remark=pack_strings([SEEN]))),
        (METRICS.kind, metric(series=[[0, SEEN]])),
    ]
    ordinary: list[Message] = [(kind, orjson.dumps(now(body)), "", []) for kind, body in good]
    for kind, value, key, headers in [*messages, *ordinary]:
        sent: list[Any] = []

        def told(error: Any, _: Any, sent: list[Any] = sent) -> None:
            sent.append(error)

        producer.produce(f"sg.{region}.{kind}.v1", value, key or None, headers=headers, on_delivery=told)
        producer.flush(30)
        assert sent == [None]


def topics(bootstrap: str, region: str) -> Iterator[tuple[str, bytes]]:
    """Every record of every topic but the raw ones, aborted ones too: key, value and headers."""
    for topic in TOPICS:
        if topic in RAW_TOPICS:
            continue
        name = topic.name(region)
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "search",
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
            }
        )
        try:
            found = consumer.list_topics(name, timeout=10).topics[name].partitions
            consumer.assign([TopicPartition(name, one, 0) for one in found])
            left = len(found)
            while left:
                message = consumer.poll(20)
                assert message is not None, f"{name} was not read to its end"
                if message.error():
                    left -= 1
                else:
                    yield (
                        name,
                        b"\0".join([message.key() or b"", message.value() or b"", repr(message.headers()).encode()]),
                    )
        finally:
            consumer.close()


def tables(port: int, database: str) -> Iterator[tuple[str, bytes]]:
    """Every table of ours, states included, and what the server keeps of its own life."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database)
    try:
        named = "database = {d:String} OR (database = 'system' AND (name LIKE '%_log' OR name = 'processes'))"
        asked = (
            f"SELECT database, name FROM system.tables WHERE ({named}) AND engine NOT IN ('Null', 'MaterializedView')"
        )
        for where, name in client.query(asked, parameters={"d": database}).result_rows:
            yield f"{where}.{name}", client.raw_query(f"SELECT * FROM `{where}`.`{name}`", fmt="JSONEachRow")
    finally:
        client.close()


def files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, as its bytes are."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(directory)), path.read_bytes()


def leaks(marks: Mapping[str, str], found: Iterator[tuple[str, bytes]]) -> tuple[list[str], set[str]]:
    """Which marks stand where, in words; and where the one stands that may be seen."""
    places = {needle: place for mark, place in marks.items() for needle in traces(mark)}
    # one pass over what may be a lot
    words = [re.escape(one) for one in sorted(places, key=len, reverse=True)]
    pattern: Any = re2.compile(b"|".join(words))
    told, seen = set[str](), set[str]()
    for where, data in found:
        if SEEN.encode() in data:
            seen.add(where)
        told |= {f"{places[one]} in {where}" for one in set[bytes](pattern.findall(data))}
    return sorted(told), seen


def until(condition: Callable[[], bool], what: str, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.kafka
def test_nothing_leaks_from_a_region_on_servers(kafka: Broker, tmp_path: Path, unique: str) -> None:
    messages, marks = planted()
    with Deployment(
        kafka.bootstrap, tmp_path, unique, commit_interval="200ms", block_interval="200ms", contract_wait="1s"
    ) as region:
        region.start("worker", "process", "--verbose", session_timeout="6s")
        region.start("sink", "sink", "--verbose", session_timeout="6s")
        send(kafka.bootstrap, unique, messages)
        raw = {topic.name(unique): topic.partitions for topic in RAW_TOPICS}
        progress = Progress(kafka.bootstrap, f"sg-{unique}-process", raw)
        until(lambda: not insistent(progress.behind, 60), "the worker has read everything")
        progress.close()
        sung = "SELECT count() FROM series WHERE has(mapValues(labels), {s:String})"
        until(lambda: region.rows(sung, {"s": SEEN}) == [(2,)], "both ordinary batches are stored")
        kept = "SELECT count() FROM events WHERE has(mapValues(texts), {s:String})"
        until(lambda: region.rows(kept, {"s": SEEN}) == [(1,)], "the single event is stored")
        refused = "SELECT count() FROM dead"
        until(lambda: int(region.rows(refused)[0][0]) > len(NAMES), "letters are stored")
        region.verify("20s")
        said: list[tuple[str, bytes]] = []
        for words in (
            ("dead", "list", "--json", "--limit", "1000"),
            ("dead", "list", "--summary"),
            ("tail", "--from-beginning", "--limit", str(len(messages)), "--rows", "100"),
            ("tail", "--from-beginning", "--limit", str(len(messages)), "--rows", "100", "--json"),
            ("verify", "--json"),
            ("doctor", "--json"),
            ("query", "SELECT * FROM series"),
            ("query", "SELECT * FROM dead"),
            ("query", "SELECT * FROM asked_events"),
            ("dead", "replay", "--dry-run", "--json"),
        ):
            ended = region.run(*words)
            said.append((" ".join(words[:2]), ended.stdout + ended.stderr))
        region.parts["worker"].send_signal(signal.SIGABRT)  # with whatever it leaves behind
        region.parts.pop("worker").wait(20)
        found, seen = leaks(marks, topics(kafka.bootstrap, unique))
        more, in_tables = leaks(marks, tables(region.port, "streamgauge"))
        outputs, shown = leaks(marks, iter(said))
        left, _ = leaks(marks, files(tmp_path))
        assert [*found, *more, *outputs, *left] == []
        assert {f"sg.{unique}.rollups.v1", f"sg.{unique}.events_scrubbed.v1"} <= seen
        assert {"streamgauge.series", "streamgauge.events"} <= in_tables
        assert {"tail --from-beginning", "query SELECT * FROM series"} <= shown


def test_nothing_leaks_from_a_region_in_one_process(tmp_path: Path) -> None:
    messages, marks = planted(without=HELD)
    dev = Dev(tmp_path)
    try:
        bootstrap, region = str(dev.addresses["brokers"]), str(dev.addresses["region"])
        send(bootstrap, region, messages)
        dev.wait_for(f"SELECT count() FROM series WHERE has(mapValues(labels), '{SEEN}')", 2)
        dev.wait_for(f"SELECT count() FROM events WHERE has(mapValues(texts), '{SEEN}')", 1)
        dev.wait_for(f"SELECT count() > {len(NAMES)} FROM dead", 1)
        pages: list[tuple[str, bytes]] = []
        for path in ("/", "/api/state", "/api/board", "/api/catalog"):
            with urllib.request.urlopen(f"{dev.addresses['page']}{path}", timeout=20) as answer:
                pages.append((path, answer.read()))
        port = int(str(dev.addresses["store"]).rpartition(":")[2])
        found, seen = leaks(marks, topics(bootstrap, region))
        more, in_tables = leaks(marks, tables(port, str(dev.addresses["database"])))
        outputs, _ = leaks(marks, iter(pages))
    finally:
        dev.end()
    left, _ = leaks(marks, files(tmp_path))
    assert [*found, *more, *outputs, *left] == []
    assert seen
    assert in_tables


def test_a_key_that_cannot_be_used_is_not_repeated(tmp_path: Path) -> None:
    for wrong in (f"{SECRET}-not-hexadecimal", KEY[:20], KEY * 5):
        ended = Deployment("127.0.0.1:1", tmp_path, "nowhere", pseudonym_key=wrong).run("process")
        assert ended.returncode == 2
        assert wrong.encode() not in ended.stderr + ended.stdout
        assert json.dumps(wrong).encode() not in ended.stderr
