"""`streamgauge doctor`: what is wrong or dangerous in a region, with remedies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.doctor_facts import Facts, KafkaFacts, StoreFacts, Wanted
from streamgauge.console.doctor_findings import Finding, Severity
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import BrokerUnavailable, InputError, StoreUnavailable
from streamgauge.schemas.settings import duration_ms
from streamgauge.sinks.settings import SinkSettings

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
    "retention_events",
)


def _duration(_: click.Context, __: click.Parameter, value: str) -> int:
    try:
        found = duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found <= 0:
        raise click.BadParameter("say a time, for instance 30m")
    return found


@click.command("doctor", epilog="Example: streamgauge doctor --region eu --outage 6h")
@with_settings(SinkSettings, *SETTINGS)
@click.option(
    "--outage",
    default="30m",
    show_default=True,
    callback=_duration,
    help="How long a part may be away without loss or doubling.",
)
@click.option("--partitions", multiple=True, metavar="KIND=N", help="Partitions that were chosen; may be repeated.")
@click.option(
    "--apart", default="3s", show_default=True, callback=_duration, help="Time between the two looks at lags."
)
@click.option("--json", "as_json", is_flag=True, help="Print all findings, and the facts behind them, as JSON.")
def doctor(settings: SinkSettings, outage: int, partitions: tuple[str, ...], apart: int, as_json: bool) -> int:
    """Say what is wrong or dangerous in a region's Kafka and ClickHouse, worst first, with remedies.

    Reads only. Give it the settings of the sink, its user too. Exit code 1 when there is a warning or an error.
    """
    from streamgauge.console.doctor import diagnose
    from streamgauge.sinks.migrations import shipped

    facts, contracts = read_facts(settings, apart / 1000)
    wanted = Wanted(
        settings.region, settings.database, outage, settings.retention(), _counts(partitions), tuple(contracts)
    )
    findings = diagnose(facts, wanted, shipped())
    if as_json:
        print_json(as_document(findings, facts))
    else:
        show(findings)
    return FINDING if any(one.bad for one in findings) else 0


def read_facts(settings: SinkSettings, apart_s: float) -> tuple[Facts, list[Contract]]:
    """Facts of both; where one does not answer, why. And the contracts of files and topic."""
    from streamgauge.console.doctor_kafka_reader import reader_of
    from streamgauge.schemas.contracts import load_contracts

    reader = reader_of(settings)
    kafka: KafkaFacts | None = None
    contracts = load_contracts(settings.contracts)
    kafka_problem = ""
    try:
        contracts |= {(one.name, one.version): one for one in reader.contracts()}
    except BrokerUnavailable as error:
        kafka_problem = str(error)
    # before Kafka's positions: an offset that is missing there, and known here, is missing indeed
    store, store_problem = _read_store(settings, list(contracts.values()))
    if not kafka_problem:
        try:
            kafka = reader.read(apart_s, time.sleep)
        except BrokerUnavailable as error:
            kafka_problem = str(error)
    facts = Facts(time.time_ns() // 1_000_000, kafka, store, kafka_problem, store_problem)
    return facts, list(contracts.values())


def _read_store(settings: SinkSettings, contracts: Sequence[Contract]) -> tuple[StoreFacts | None, str]:
    from streamgauge.console.doctor_store_reader import StoreReader
    from streamgauge.sinks.migrations import shipped
    from streamgauge.sinks.store import Store, StoreError

    store = Store(settings.address())
    try:
        store.check()
        reader = StoreReader(store, settings.store, settings.store_user, settings.database, settings.region)
        return reader.read(shipped(), contracts), ""
    except StoreUnavailable as error:
        return None, str(error)
    except StoreError as error:
        return None, str(store.unavailable(error))


def _counts(given: tuple[str, ...]) -> dict[str, int]:
    from streamgauge.console.topic_admin import wanted_partitions
    from streamgauge.schemas.topics import TOPICS

    counts: dict[str, int] = {}
    for text in given:
        kind, _, number = text.partition("=")
        if not number.isdecimal():
            raise InputError(f"--partitions {text}: say KIND=N, for instance events=16")
        counts[kind] = int(number)
    return wanted_partitions(TOPICS, counts)


def as_document(findings: Sequence[Finding], facts: Facts) -> dict[str, object]:
    """Everything as one JSON document."""
    counts = {str(severity): sum(one.severity is severity for one in findings) for severity in Severity}
    return {"findings": [asdict(one) for one in findings], "counts": counts, "facts": asdict(facts)}


def show(findings: Sequence[Finding]) -> None:
    """What is not in order as a table, the remedies below it, and a line about the rest."""
    said = [one for one in findings if one.severity is not Severity.OK]
    if said:
        print_table(
            ["", "", "where", "what"],
            [[number, one.severity, one.where, one.what] for number, one in enumerate(said, 1)],
        )
    remedies: dict[tuple[str, str], list[int]] = {}
    for number, one in enumerate(said, 1):
        if one.remedy:
            remedies.setdefault((one.remedy, one.sql), []).append(number)
    for (remedy, sql), numbers in remedies.items():
        click.echo(f"{', '.join(map(str, numbers)):>3}  {remedy}{':' if sql else ''}")
        for line in sql.splitlines():
            click.echo(f"       {line}")
    if fine := [one for one in findings if one.severity is Severity.OK]:
        click.echo(f"{chr(10) if said else ''}in order:")
        for one in fine:
            click.echo(f"     {one.area}: {one.where} {one.what}")
    bad = sum(one.bad for one in findings)
    note(f"{bad} warnings and errors" if bad else "nothing is wrong")
