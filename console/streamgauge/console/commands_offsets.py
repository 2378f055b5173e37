"""`streamgauge sink-offset`: where sinks are, what is pending, and a person's word where a sink cannot decide."""

from __future__ import annotations

import sys
import time

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.incarnations import Incarnations
from streamgauge.schemas.topics import STORED_TOPICS
from streamgauge.sinks.decisions import FORGIVING
from streamgauge.sinks.positions import ANSWERS, GroupOffsets, Position, resolved
from streamgauge.sinks.ranges import Place
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.standing import COUNTED_KINDS, Standing
from streamgauge.sinks.store import Store, StoreError

HELP = """Show where sinks are in every partition, what is pending there, and what a sink would do that is started now.

Exit code 1 when it would stop with advice. Then compare the ledger with the tiers (`streamgauge verify`), stop all sinks,
and say what the pending range is: `--resolve PLACE stored` goes on behind everything that was begun or is in the store,
`--resolve PLACE insert-again` inserts the pending range once more, whatever the store has. A wrong word loses or doubles it.

Example: streamgauge sink-offset --region eu --resolve sg.eu.rollups.v1/0 stored
"""


@click.command("sink-offset", help=HELP)
@with_settings(SinkSettings, "brokers", "region", "kafka", "incarnation", "store", "store_user", "database")
@click.option(
    "--resolve",
    type=(str, click.Choice(ANSWERS)),
    metavar="PLACE ANSWER",
    help="Say what a pending range is: stored, or insert-again. Only while no sink runs.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the offset is written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sink_offset(settings: SinkSettings, resolve: tuple[str, str] | None, yes: bool, as_json: bool) -> int:
    """Show positions, or resolve one."""
    store = Store(settings.address())
    store.check()
    group = GroupOffsets(settings.librdkafka(), settings.group)
    try:
        found = positions(settings, group, store)
        if resolve is None:
            return _show(found, as_json)
        place, answer = resolve
        named = [one for one in found if str(one.place) == place]
        if not named:
            raise InputError(f"there is no {place}; there are {', '.join(str(one.place) for one in found)}")
        now_ms = time.time_ns() // 1_000_000
        offset, metadata = resolved(named[0], answer, now_ms)
        if not yes:
            click.confirm(f"{place}: commit offset {offset} with {metadata!r}?", abort=True, err=True)
        group.write(named[0].place, offset, metadata)
        (after,) = positions(settings, group, store, only=place)
    finally:
        group.close()
    if as_json:
        print_json(after.json())
    else:
        note(f"{place}: offset {offset}, {metadata!r}; a sink would {_does(after)}")
    return 0


def positions(settings: SinkSettings, group: GroupOffsets, store: Store, only: str = "") -> list[Position]:
    """All partitions of the region, or one."""
    topics = {topic.name(settings.region): topic.kind for topic in STORED_TOPICS}
    lives = Incarnations(settings.librdkafka(), topics, settings.incarnation)
    lives.find()
    places = [Place(settings.region, one.topic, lives[one.topic], one.partition) for one in group.partitions(topics)]
    places = [one for one in places if str(one) == only or not only]
    standing = Standing(store, settings.database)
    now_ms = time.time_ns() // 1_000_000
    found: list[Position] = []
    try:
        for place, says in zip(places, group.read(places), strict=True):
            counted = topics[place.topic] in COUNTED_KINDS
            found.append(Position(place, says, standing.beside(says, place, now_ms) if counted else FORGIVING))
    except StoreError as error:
        raise store.unavailable(error) from error
    return found


def _show(found: list[Position], as_json: bool) -> int:
    if as_json:
        print_json([one.json() for one in found])
    else:
        rows = [
            (
                str(one.place),
                max(one.says.offset, -1),
                f"{one.says.pending.start}-{one.says.pending.end}" if one.says.pending else "",
                one.says.kind.value,
                one.view.found.value,
                _does(one),
            )
            for one in found
        ]
        print_table(("place", "offset", "pending", "committed", "store", "a sink would"), rows)
        for one in found:
            if advice := one.json()["advice"]:
                note(advice)
    sys.stdout.flush()
    return FINDING if any(one.decision.why for one in found) else 0


def _does(one: Position) -> str:
    why = one.decision.why
    return f"stop: {why.value}" if why else one.decision.act.value
