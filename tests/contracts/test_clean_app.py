"""Agents of one's own over clean topics see what was committed, and nothing that was taken back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streamgauge.processors.faust_app import clean_app, raw_app
from tests.support import kafka as kafka_support


async def transactions(bootstrap: str, topic: str) -> None:
    """Every second one is taken back; the last one is kept."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-writer")
    await producer.start()
    try:
        for number in range(9):
            await producer.begin_transaction()
            for _ in range(3):
                await producer.send_and_wait(topic, b"%d" % number, partition=0)
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
    finally:
        await producer.stop()


async def read(app: Any, topic: str, until: bytes) -> list[bytes]:
    """What an agent of the app sees, up to the third message with this value."""
    seen: list[bytes] = []
    done = asyncio.Event()

    async def agent(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if seen.count(until) == 3:
                done.set()

    app.agent(app.topic(topic, value_serializer="raw"), concurrency=1)(agent)
    await app.start()
    try:
        await asyncio.wait_for(done.wait(), 60)
    finally:
        await app.stop()
    return seen


@pytest.mark.kafka
@pytest.mark.parametrize(("make", "numbers"), [(clean_app, [0, 2, 4, 6, 8]), (raw_app, range(9))])
async def test_what_was_taken_back_is_not_seen(
    kafka: kafka_support.Broker, unique: str, make: Any, numbers: list[int]
) -> None:
    kafka_support.create_topic(kafka.bootstrap, unique, 1)
    await transactions(kafka.bootstrap, unique)
    seen = await read(make(unique, [kafka.bootstrap]), unique, b"8")
    assert seen == [b"%d" % number for number in numbers for _ in range(3)]


def test_a_name_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="call it something else"):
        clean_app("sg-eu-process", ["127.0.0.1:9092"])
