"""`streamgauge verify`: the ledger against the tables."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import orjson

from streamgauge.console.cli import FINDING
from streamgauge.console.interrupts import ended_by_signal
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json
from streamgauge.console.verify_text import as_document, show, watch_line, watch_text
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.settings import SinkSettings

if TYPE_CHECKING:
    from streamgauge.console.doctor_facts import KafkaFacts
    from streamgauge.console.verify_checks import Checks
    from streamgauge.producers import Producer
    from streamgauge.schemas.contracts import Contract

WATCHED_MS: Final = 2 * DAY_MS
CONNECT_S: Final = 2.0
SETTINGS = (
    "brokers",
    "region",
    "kafka",
    "contracts",
    "store",
    "store_user",
    "database",
    "retention_10s",
    "retention_1m",
    "retention_1h",
    "retention_1d",
)


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _positive(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    milliseconds = _duration(context, parameter, value)
    if milliseconds is not None and milliseconds <= 0:
        raise click.BadParameter("say a time, such as 30s")
    return milliseconds


@click.command("verify", epilog="Example: streamgauge verify --last 24h")
@with_settings(SinkSettings, *SETTINGS)
@click.option(
    "--last", callback=_duration, help="Whole UTC days from so long ago on.  [default: forever; 2d with --every]"
)
@click.option(
    "--wait",
    default="15s",
    show_default=True,
    callback=_duration,
    help="How long to wait while nothing changes, if points are on their way.",
)
@click.option(
    "--every",
    callback=_positive,
    help="Go on and check again after so long, one line each time, until Ctrl-C.",
)
@click.option("--emit", is_flag=True, help="With --every: send the numbers as metrics streamgauge_verify_*, too.")
@click.option("--store-only", is_flag=True, help="Do not ask Kafka how far its readers are.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
def verify(
    settings: SinkSettings, last: int | None, wait: int, every: int | None, emit: bool, store_only: bool, as_json: bool
) -> int:
    """Compare what the workers' ledger added with what every tier of the store holds, by UTC day.

    Kafka's committed offsets tell what is still on its way. Exit code 1 when points are lost or doubled, values do not add
    up, or the ledger or the blocks have holes or overlaps.
    """
    from streamgauge.console.verify_checks import Checks
    from streamgauge.sinks.store import Store, StoreError

    if emit and every is None:
        raise click.BadParameter("only with --every: one number alone is no metric", param_hint="--emit")
    store = Store(settings.address())
    store.check()
    kafka = None if store_only else _kafka(settings)
    span = last if last is not None else FOR_EVER if every is None else WATCHED_MS
    checks = Checks(store, settings, span, kafka, _contracts(settings, kafka is not None))
    if every is not None:
        return _stand_watch(checks, settings, min(wait, every), every, emit, as_json)
    try:
        found = checks.until_settled(wait / 1000, note)
    except StoreError as error:
        raise store.unavailable(error) from error
    if as_json:
        print_json(as_document(found))
    else:
        show(found)
    return 0 if found.exact else FINDING


def _contracts(settings: SinkSettings, published: bool) -> list[Contract]:
    """Contracts of files, and those that were published, if Kafka is asked."""
    from streamgauge.console.doctor_kafka_reader import reader_of
    from streamgauge.schemas.contracts import load_contracts

    known = load_contracts(settings.contracts)
    if published:
        try:
            known |= {(one.name, one.version): one for one in reader_of(settings).contracts()}
        except BrokerUnavailable as error:
            note(f"published contracts cannot be read: {error}")
    return list(known.values())


def _kafka(settings: SinkSettings) -> Callable[[], KafkaFacts] | None:
    """Looks at the brokers; None, with a note, where there are none."""
    from streamgauge.console.doctor_kafka_reader import reader_of

    if not any(_listens(one) for one in settings.brokers):
        address = ",".join(settings.brokers)
        note(f"Kafka at {address} does not answer: what is on its way is not known (see --brokers, --store-only)")
        return None
    return reader_of(settings).look


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError):
        return False
    return True


def _stand_watch(checks: Checks, settings: SinkSettings, wait: int, every: int, emit: bool, as_json: bool) -> int:
    """Check until Ctrl-C or SIGTERM. The exit code tells whether any check found something."""
    from streamgauge.console.verify_metrics import VerifyMetrics
    from streamgauge.sinks.store import StoreError, error_text

    producer = _producer(settings) if emit else None
    metrics = None if producer is None else VerifyMetrics(producer)
    since: datetime | None = None
    code = 0
    try:
        with ended_by_signal() as ended:
            while not ended.is_set():
                at = datetime.now(UTC)
                try:
                    found = checks.until_settled(wait / 1000, patience=1)
                except StoreError as error:
                    note(f"the store does not answer, trying again: {error_text(error)}")
                else:
                    since = None if found.exact else since or at
                    code = code or (0 if found.exact else FINDING)
                    line = watch_line(found, at, since)
                    click.echo(orjson.dumps(line).decode() if as_json else watch_text(line))
                    if metrics is not None:
                        metrics.set(found, at, since)
                ended.wait(every / 1000)
    finally:
        if producer is not None:
            producer.close()
    return code


def _producer(settings: SinkSettings) -> Producer:
    from streamgauge.producers import Producer
    from streamgauge.producers.settings import ProducerSettings

    return Producer(
        ProducerSettings(
            brokers=",".join(settings.brokers),
            region=settings.region,
            service="streamgauge",
            kafka=settings.kafka,
            kafka_password=settings.kafka_password,
        )
    )
