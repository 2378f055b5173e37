"""`streamgauge tail`: raw messages as they come in, cleaned."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import click
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from streamgauge.console.dead_letters import Origin
from streamgauge.console.hashing import hasher_of
from streamgauge.console.interrupts import Check, deferred_interrupt
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, printable
from streamgauge.console.sender import ANSWER_WITHIN_S, broker_unavailable
from streamgauge.console.settings import ConsoleSettings
from streamgauge.console.tail import Filter, Glass, Passing, Seen
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.contract_topic import ContractFeed, published
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.topics import RAW_TOPICS

HELP = """Follow the raw topics: every batch with its first rows, cleaned as a worker would; Ctrl-C ends it.

Only declared fields are shown. What is counted distinct appears as a few digits of its pseudonym where
STREAMGAUGE_KEYS is set. Reads in no group's name and commits nothing.

Example: streamgauge tail --event order_placed --limit 10
"""


@click.command(help=HELP)
@click.option("--event", "names", multiple=True, help="Only this event or metric; repeatable.")
@click.option("--service", "services", multiple=True, help="Only from this service; repeatable.")
@click.option("--limit", type=click.IntRange(0), default=0, help="End after so many batches; 0: never.")
@click.option("--rows", type=click.IntRange(0, 100), default=3, show_default=True, help="Rows of each batch to show.")
@click.option("--from-beginning", is_flag=True, help="Begin with what the topics still hold.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@with_settings(ConsoleSettings, "brokers", "region", "contracts", "kafka", "keys")
def tail(
    settings: ConsoleSettings,
    names: tuple[str, ...],
    services: tuple[str, ...],
    limit: int,
    rows: int,
    from_beginning: bool,
    as_json: bool,
) -> None:
    """Follow and print."""
    hasher = hasher_of(settings) if settings.has_keys else None
    glass, wanted = Glass(Scrubber(), hasher, rows), Filter(names, services)
    known = load_contracts(settings.contracts) | published(settings.kafka_config(), settings.region)
    feed = ContractFeed(settings.kafka_config(), settings.region, known)
    shown = 0
    try:
        with deferred_interrupt() as check, _raw_topics(settings, from_beginning) as consumer:
            feed.start()
            for passing in _follow(consumer, check):
                seen = glass.look(passing, feed.current())
                if wanted.takes(seen):
                    _print(seen, settings.region, as_json)
                    shown += 1
                    if shown == limit:
                        return
    except KeyboardInterrupt:
        note(f"{shown:,} batches shown")
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        feed.close()


@contextmanager
def _raw_topics(settings: ConsoleSettings, from_beginning: bool) -> Generator[Consumer]:
    """A consumer at the end, or at the beginning, of every raw partition. Raises BrokerUnavailable or InputError."""
    own = {"group.id": f"streamgauge-tail-{secrets.token_hex(6)}", "enable.auto.commit": False}
    consumer = Consumer({**settings.kafka_config(), **own, "auto.offset.reset": "latest"})
    try:
        # all topics: asking for one by name could create it
        topics = consumer.list_topics(timeout=ANSWER_WITHIN_S).topics
        places = [
            TopicPartition(name, partition)
            for name in (topic.name(settings.region) for topic in RAW_TOPICS)
            if name in topics
            for partition in topics[name].partitions
        ]
        if not places:
            raise InputError(
                f"{settings.address} has no raw topics of region {settings.region}; create them with `streamgauge topics`, "
                "or check --region"
            )
        for place in places:
            # the end as it is now: what comes in from here on is shown
            _, end = cast("tuple[int, int]", consumer.get_watermark_offsets(place, ANSWER_WITHIN_S))
            place.offset = OFFSET_BEGINNING if from_beginning else end
        consumer.assign(places)
        note(f"following {len(places)} raw partitions of region {settings.region}; Ctrl-C ends it")
        yield consumer
    except KafkaException as error:
        raise broker_unavailable(settings.address, error) from error
    finally:
        consumer.close()


def _follow(consumer: Consumer, check: Check) -> Iterator[Passing]:
    while True:
        check()
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            yield _passing(message)


def _passing(message: Message) -> Passing:
    value, headers = message.value(), message.headers() or []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Passing(
        Origin(str(message.topic()), cast("int", message.partition()), cast("int", message.offset())),
        max(0, message.timestamp()[1]),
        value if isinstance(value, bytes) else None,
        [(name, held) for name, held in pairs if isinstance(held, bytes)],
    )


def _print(seen: Seen, region: str, as_json: bool) -> None:
    lines = [orjson.dumps(seen.json(region)).decode()] if as_json else map(printable, seen.lines(region))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
