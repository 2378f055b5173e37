"""Keys: what recognising idempotency keys costs, in memory and CPU, and how long a new owner takes to know them again.

Beside a plain dictionary of bytes; and, of adding events, beside the same events without a key.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

import numpy as np
from confluent_kafka import Producer

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.broker import Broker
from streamgauge.processors.key_memory import SLICE_S, Reading, prefix
from streamgauge.processors.keys import KeyHasher, KeyPolicy, KeyTable, RecentKeys
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.batches import Origin, encode_events
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.keys import KEYS_A_MESSAGE, Keys, KeysMessage
from streamgauge.schemas.packing import pack_optional, pack_strings
from streamgauge.schemas.topics import EVENTS, STATE
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB
from tests.benchmarks.report import Figure
from tests.support.kafka import KafkaBroker, create_topic

BATCH = 2_000
NOW_S = 1_795_354_000
PLACE = Place("bench", EVENTS.name("bench"), 0)
FIELDS = {"country": Field("dimension"), "amount": Field("measure", "number", unit="{USD}")}
KEYED = Contract("paid", 1, {"order_id": Field("idempotency_key"), **FIELDS})
PLAIN = Contract("paid", 1, {"order_id": Field("dropped"), **FIELDS})


def random_keys(n: int) -> Keys:
    """So many keys, spread over a day."""
    random = np.random.default_rng(1)
    low, high = random.integers(1, 1 << 64, n, np.uint64), random.integers(0, 1 << 64, n, np.uint64)
    return Keys(low, high, (NOW_S - 86_000 + np.arange(n) * 86_000 // n).astype(np.uint32))


def encoded(keys: Keys) -> Iterator[tuple[bytes, bytes]]:
    """Records of the state topic that hold these keys, as slices."""
    for part, piece in enumerate(keys.split()):
        start_s = int(piece.at[0]) // SLICE_S * SLICE_S
        message = KeysMessage(PLACE.region, PLACE.topic, PLACE.partition, "slice", 1, start_s, piece, part, part + 1)
        yield prefix(PLACE) + f"slice/{start_s}/{part}".encode(), message.encode()


def added(keys: Keys, policy: KeyPolicy) -> tuple[KeyTable, float, float, float]:
    """A table to which these were added: CPU seconds for new ones and for known ones, and the longest batch (s)."""
    table, longest = KeyTable(policy), 0.0
    spent: list[float] = []
    for new in (True, False):
        began = time.process_time()
        for batch in keys.split(BATCH):
            start = time.perf_counter()
            mask = table.add(batch.low, batch.high, NOW_S)
            longest = max(longest, time.perf_counter() - start)
            if int(mask.sum()) != (len(batch) if new else 0):
                raise BenchmarkFailed("the table counts wrong")
        spent.append(time.process_time() - began)
    return table, spent[0], spent[1], longest


def dictionary(keys: Keys) -> tuple[float, float]:
    """CPU seconds and bytes a key of a dictionary from 16 bytes to a time."""
    digests = np.stack([keys.low, keys.high], axis=1).tobytes()
    known: dict[bytes, int] = {}
    began = time.process_time()
    for start in range(0, len(digests), 16):
        known.setdefault(digests[start : start + 16], NOW_S)
    spent = time.process_time() - began
    return spent, (sys.getsizeof(known) + len(known) * sys.getsizeof(digests[:16])) / len(known)


def adding(contract: Contract, batches: int) -> float:
    """CPU seconds an event of adding batches, each of other orders."""
    messages = [
        encode_events(
            Origin({"service": "shop"}, "s", 1, number), "paid", 1, [NOW_S * 1000] * BATCH,
            {
                "order_id": pack_strings([f"order-{number * BATCH + row:010d}" for row in range(BATCH)]),
                "country": pack_strings([("JP", "AU", "NZ")[row % 3] for row in range(BATCH)]),
                "amount": pack_optional("f8", [1.0 + row % 90 for row in range(BATCH)]),
            },
        )
        for number in range(batches)
    ]  # fmt: skip
    tools = Tools(Scrubber(), DistinctHasher(b"benchmark" * 4, "bench"))
    accumulator = Accumulator(PLACE, tools, keys=RecentKeys(KeyTable()))
    began = time.process_time()
    for offset, value in enumerate(messages):
        accumulator.add(offset, value, {("paid", 1): contract}, NOW_S * 1000, lambda _: False)
    spent = time.process_time() - began
    if accumulator.points != 2 * batches * BATCH:
        raise BenchmarkFailed(f"{accumulator.points} points were counted")
    return spent / (batches * BATCH)


def restored(keys: Keys) -> tuple[Reading, float, int]:
    """What reading these from their messages takes, in CPU seconds, and the bytes of the messages."""
    reading = Reading(PLACE, KeyPolicy(max_bytes=1 << 30), NOW_S)
    spent, size = 0.0, 0
    for key, value in encoded(keys):
        began = time.process_time()
        reading.take(key, value)
        spent += time.process_time() - began
        size += len(value)
    if len(reading.table.since(0)) != len(keys):
        raise BenchmarkFailed("not every key was restored")
    return reading, spent, size


def from_broker(keys: Keys) -> float:
    """Seconds to read these from a real broker."""
    topic = STATE.name("bench")
    with KafkaBroker() as broker:
        create_topic(broker.bootstrap, topic)
        config = {"bootstrap.servers": broker.bootstrap}
        producer = Producer(config | {"compression.type": "zstd", "linger.ms": 50})
        for key, value in encoded(keys):
            producer.produce(topic, value, key, partition=0)
            producer.poll(0)
        if producer.flush(60):
            raise BenchmarkFailed("the broker did not take the keys")
        reading = Reading(PLACE, KeyPolicy(max_bytes=1 << 30), NOW_S)
        began = time.perf_counter()
        asyncio.run(Broker(config, "bench").each_state(topic, 0, None, reading.take))
        spent = time.perf_counter() - began
    if len(reading.table.since(0)) != len(keys):
        raise BenchmarkFailed("not every key was read")
    return spent


def run(options: Options) -> Iterator[Figure]:
    """The table first, then events, then restoring."""
    n = options.sized(1_000_000, 50_000)
    keys = random_keys(n)
    cpu, size = dictionary(keys)
    table, new, known, longest = added(keys, KeyPolicy())
    case = f"{n:,} keys, {BATCH:,} a batch"
    yield Figure(case, "CPU a new key", new / n * 1e9, "ns", cpu / n * 1e9, "a dictionary")
    yield Figure(case, "CPU a key seen before", known / n * 1e9, "ns")
    yield Figure(case, "longest batch, with growing", longest * 1e3, "ms")
    yield Figure(case, "memory a key", table.nbytes / n, "B", size, "a dictionary")
    values = [f"order-{number:010d}" for number in range(n // 5)]
    began = time.process_time()
    KeyHasher(b"benchmark" * 4, "bench").hashes("paid", "", values)
    yield Figure(case, "CPU to hash a key", (time.process_time() - began) / len(values) * 1e9, "ns")
    batches = options.sized(200, 20)
    plain, keyed = adding(PLAIN, batches), adding(KEYED, batches)
    yield Figure(
        f"{batches * BATCH:,} events", "CPU to add an event with a key", keyed * 1e6, "us", plain * 1e6, "without one"
    )
    for many in (n, 10 * n):
        every = random_keys(many)
        reading, cpu, size = restored(every)
        case = f"restoring {many:,} keys"
        yield Figure(case, "CPU", cpu, "s")
        yield Figure(case, "in messages, not compressed", size / many, "B a key")
        yield Figure(case, "table", reading.table.nbytes / MIB, "MiB")
        del reading
    yield Figure(f"restoring {n:,} keys", f"from a broker, {KEYS_A_MESSAGE:,} a message", from_broker(keys), "s")
