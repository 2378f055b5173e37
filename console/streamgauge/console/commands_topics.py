"""`streamgauge topics`: the topics of a region."""

from __future__ import annotations

import sys

import click
from confluent_kafka.admin import AdminClient

from streamgauge.console.cli import FINDING
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.settings import ConsoleSettings
from streamgauge.console.topic_admin import SAFE_REPLICATION, ensure_topics
from streamgauge.schemas.errors import InputError

HELP = """Create the topics of a region that are missing, and say which ones differ.

The number of partitions of a topic never changes: what differs is a finding (exit 1), and growing means a new version.
The default replication is the number of brokers, at most 3.

Example: streamgauge topics --region eu --partitions events=16 --dry-run
"""


@click.command(name="topics", help=HELP)
@click.option("--replication", type=click.IntRange(0, 32767), default=0, help="Copies of each topic.")
@click.option("--partitions", multiple=True, metavar="KIND=N", help="Partitions of one kind of topic; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Create nothing; say what is missing (exit 1).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "kafka")
def topics_command(
    settings: ConsoleSettings, replication: int, partitions: tuple[str, ...], dry_run: bool, as_json: bool
) -> int:
    """Ensure the topics and print how they stand."""
    overrides = dict(_count(text) for text in partitions)
    admin = AdminClient(settings.kafka_config())
    states = ensure_topics(
        admin, settings.region, replication, partitions=overrides, dry_run=dry_run, address=settings.address
    )
    if as_json:
        print_json([state.json() for state in states])
    else:
        rows = [(one.name, one.outcome, one.found, one.replication, one.purpose) for one in states]
        print_table(("topic", "", "partitions", "replication", "holds"), rows)
    for one in states:
        if one.outcome == "differs":
            note(
                f"{one.name} has {one.found} partitions, {one.wanted} are wanted: say --partitions, or use a new version"
            )
    few = min((one.replication for one in states if one.outcome == "created"), default=SAFE_REPLICATION)
    if few < SAFE_REPLICATION:
        note(f"created with {few} copies: a lost disk is lost data; {SAFE_REPLICATION} are usual on servers")
    sys.stdout.flush()
    return FINDING if any(one.outcome in ("differs", "missing") for one in states) else 0


def _count(text: str) -> tuple[str, int]:
    kind, _, number = text.partition("=")
    if not number.isdecimal():
        raise InputError(f"--partitions {text}: say KIND=N, for instance events=16")
    return kind, int(number)
