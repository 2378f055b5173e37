"""`streamgauge region`: what may leave a region."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.export_check import Checked, check_flow
from streamgauge.console.interrupts import deferred_interrupt
from streamgauge.console.mirror_file import flows, properties
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, printable, progress
from streamgauge.console.settings import ConsoleSettings
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.packing import Json
from streamgauge.schemas.topics import ROLLUPS

HELP = """Check that a properties file of MirrorMaker 2 takes nothing out of a region but its rollups.

Refused is every enabled flow that does not name sg.REGION.rollups.v1 exactly: patterns, an empty or missing `topics`,
any other topic. Notes say what goes along: rights, consumer groups, aborted transactions. With --look the newest messages
of these topics are read from --brokers, too: nothing person-level may be in them. Exit code 1 when something is refused.

Example: streamgauge region check-export deploy/mirrormaker/rollups.properties --region eu
"""


@click.group()
def region() -> None:
    """Check what may leave a region.

    Example: streamgauge region check-export mm2.properties --region eu
    """


@region.command("check-export", help=HELP)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--region", "regions", multiple=True, help="Whose rollups may leave; repeatable.  [default: any region's]"
)
@click.option("--look", is_flag=True, help="Read the topics, too.")
@click.option(
    "--messages", type=click.IntRange(1), default=10_000, show_default=True, help="At most so many a topic, the newest."
)
@click.option("--within", type=click.IntRange(1), default=60, show_default=True, help="Seconds that reading may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "brokers", "contracts", "kafka")
def check_export(
    settings: ConsoleSettings,
    file: Path,
    regions: tuple[str, ...],
    look: bool,
    messages: int,
    within: int,
    as_json: bool,
) -> int:
    """Check the file, then the topics."""
    found = flows(properties(file.read_text(encoding="utf-8", errors="replace")))
    checked = [check_flow(one, regions) for one in found if one.enabled]
    findings = [one for flow in checked for one in flow.findings]
    topics = sorted({*(topic for flow in checked for topic in flow.topics), *map(ROLLUPS.name, regions)})
    if look and not topics:
        raise InputError("--look: no flow names a rollups topic; say --region, or put the file right first")
    seen = _look(settings, topics, messages, within) if look else {}
    refused = any(one.refused for one in findings) or any(one["found"] for one in seen.values())
    if as_json:
        body: Json = {"refused": refused, "flows": list(map(_json, checked)), "disabled": len(found) - len(checked)}
        print_json(body | ({"topics": seen} if look else {}))
    else:
        for one in findings:
            sys.stdout.write(f"{printable(one.line())}\n")
        for topic, held in seen.items():
            rules = ", ".join(f"{rule} {count:,}" for rule, count in sorted(held["found"].items())) or "nothing"
            verdict = "refused" if held["found"] else "ok     "
            sys.stdout.write(f"{verdict}  {topic}: {held['messages']:,} messages, {rules}\n")
        _sum_up(checked, len(found) - len(checked), refused)
    return FINDING if refused else 0


def _sum_up(checked: list[Checked], disabled: int, refused: bool) -> None:
    off = f"; {disabled} not enabled, not checked" if disabled else ""
    if not checked:
        note(f"no flow is enabled: nothing leaves{off}")
    else:
        flows_ = f"{len(checked)} flow{'' if len(checked) == 1 else 's'}"
        note(f"{flows_}: {'refused' if refused else 'nothing but rollups leaves'}{off}")


def _json(one: Checked) -> Json:
    findings = [finding.json() for finding in one.findings]
    return {"flow": one.flow.name, "topics": list(one.topics), "findings": findings}


def _look(settings: ConsoleSettings, topics: list[str], most: int, within_s: int) -> dict[str, Json]:
    """What is found in each topic."""
    from streamgauge.console.export_look import ExportLook
    from streamgauge.console.newest import Newest
    from streamgauge.schemas.contract_topic import published
    from streamgauge.schemas.contracts import load_contracts

    seen: dict[str, Json] = {}
    with deferred_interrupt() as check, Newest(settings.kafka_config()) as newest:
        for topic in topics:
            name = topic.split(".")[1]
            known = load_contracts(settings.contracts) | published(settings.kafka_config(), name)
            look = ExportLook(name, known.values())
            with progress(topic) as tell:
                for message in newest.read(topic, most, time.monotonic() + within_s, check):
                    look.add(message.key, message.value, message.headers)
                    tell(look.messages / most, f"{look.messages:,} messages")
            if look.unknown:
                note(
                    f"{topic}: contracts of {len(look.unknown)} events are not known; say --contracts to check their labels"
                )
            seen[topic] = look.json()
    return seen
