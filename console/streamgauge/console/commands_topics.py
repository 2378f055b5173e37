"""`streamgauge topics`: the topics of a region."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from confluent_kafka.admin import AdminClient

from streamgauge.console.cli import FINDING
from streamgauge.console.doctor_findings import span
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.settings import ConsoleSettings
from streamgauge.console.topic_admin import SAFE_REPLICATION, TopicState, ensure_topics, look
from streamgauge.console.topic_retention import USED, Kept, asked_by, shorten
from streamgauge.schemas.contract_topic import published
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import CONTRACTS

HELP = """Create the topics of a region that are missing, and say which ones differ.

Topics with rows of events keep messages for as long as the shortest retention that a contract declares, if that is less
than usual: contracts of files (--contracts) and those that were published. They are never made to keep more.

The number of partitions of a topic never changes: what differs is a finding (exit 1), and growing means a new version.
The default replication is the number of brokers, at most 3.

Example: streamgauge topics --region eu --partitions events=16 --dry-run
"""


@click.command(name="topics", help=HELP)
@click.option("--replication", type=click.IntRange(0, 32767), default=0, help="Copies of each topic.")
@click.option("--partitions", multiple=True, metavar="KIND=N", help="Partitions of one kind of topic; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Create nothing; say what is missing (exit 1).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "kafka", "contracts")
def topics_command(
    settings: ConsoleSettings, replication: int, partitions: tuple[str, ...], dry_run: bool, as_json: bool
) -> int:
    """Ensure the topics and print how they stand."""
    overrides = dict(_count(text) for text in partitions)
    admin = AdminClient(settings.kafka_config())
    states = ensure_topics(
        admin, settings.region, replication, partitions=overrides, dry_run=dry_run, address=settings.address
    )
    kept = _kept(admin, settings, states, dry_run)
    if as_json:
        by_name = {one.topic: one.json() for one in kept}
        print_json([state.json() | {"asked": by_name.get(state.name)} for state in states])
    else:
        rows = [(one.name, one.outcome, one.found, one.replication, one.purpose) for one in states]
        print_table(("topic", "", "partitions", "replication", "holds"), rows)
    for one in states:
        if one.outcome == "differs":
            note(
                f"{one.name} has {one.found} partitions, {one.wanted} are wanted: say --partitions, or use a new version"
            )
    for topic in kept:
        note(_told(topic))
    few = min((one.replication for one in states if one.outcome == "created"), default=SAFE_REPLICATION)
    if few < SAFE_REPLICATION:
        note(f"created with {few} copies: a lost disk is lost data; {SAFE_REPLICATION} are usual on servers")
    sys.stdout.flush()
    late = any(topic.before_ms is not None and not topic.changed for topic in kept)
    return FINDING if late or any(one.outcome in ("differs", "missing") for one in states) else 0


def _kept(admin: AdminClient, settings: ConsoleSettings, states: Sequence[TopicState], dry_run: bool) -> list[Kept]:
    """What contracts ask of the topics that exist, and have now. An in-process broker keeps no settings."""
    there = {one.name for one in states if one.outcome != "missing"}
    if look(admin, settings.address).in_process:
        return []
    contracts = dict(load_contracts(settings.contracts))
    if CONTRACTS.name(settings.region) in there:
        contracts |= published(settings.kafka_config(), settings.region)
    asked = asked_by(contracts.values())
    here = {
        topic.kind: asked[topic.kind] for topic in USED if topic.kind in asked and topic.name(settings.region) in there
    }
    return shorten(admin, settings.region, here, dry_run, settings.address)


def _told(one: Kept) -> str:
    floor = "" if one.asked.declared_ms >= one.asked.retention_ms else "; topics keep no less"
    why = f"{one.asked.contract} declares {span(one.asked.declared_ms)}{floor}"
    if one.before_ms is None:
        return f"{one.topic} keeps messages for {span(one.asked.retention_ms)} at most: {why}"
    before = "for ever" if one.before_ms == FOR_EVER else span(one.before_ms)
    changed = "keeps messages for" if one.changed else "is to keep messages for"
    return f"{one.topic} {changed} {span(one.asked.retention_ms)}, not {before}: {why}"


def _count(text: str) -> tuple[str, int]:
    kind, _, number = text.partition("=")
    if not number.isdecimal():
        raise InputError(f"--partitions {text}: say KIND=N, for instance events=16")
    return kind, int(number)
