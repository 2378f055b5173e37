"""`streamgauge inbox`: which keys are new, and in which something personal was found, by shape only."""

from __future__ import annotations

import time
from contextlib import closing

import click

from streamgauge.console.asking import StoreReader, connect
from streamgauge.console.cli import FINDING
from streamgauge.console.key_inbox import WEEK_MS, InboxKey, inbox_keys, inbox_params, inbox_sql, instant
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.settings import ConsoleSettings
from streamgauge.schemas.settings import duration_ms

HELP = """List labels and fields that are new, suspicious ones first: what becomes of their values, and how these look.

Rules: `passes`; `unknown_field` where no contract declares the field, with what its values look like
(`unknown_field:email`); else what was found and taken out. No value is shown, only shapes: letters are `a`, digits `9`.
A key is new for as long as --since says; one in which something personal is found stays while it is. A field leaves when a
contract declares it. Exit code 1 with --fail-on-new, if anything is listed.

Example: streamgauge inbox --suspicious --since 30d
"""


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> int:
    try:
        return WEEK_MS if value is None else duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("inbox", help=HELP)
@click.option("--since", "span_ms", callback=_duration, metavar="TIME", help="From so long ago on.  [default: 7d]")
@click.option("--rule", default="", metavar="R", help="Only of this rule: email, unknown_field, …")
@click.option("--suspicious", is_flag=True, help="Only keys in which something personal was found.")
@click.option("--fail-on-new", is_flag=True, help="Exit code 1 when a key is listed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "store", "store_user", "database")
def inbox(
    settings: ConsoleSettings, span_ms: int, rule: str, suspicious: bool, fail_on_new: bool, as_json: bool
) -> int:
    """Ask and print."""
    since_ms = time.time_ns() // 1_000_000 - span_ms
    with closing(connect(settings)) as client:
        reader = StoreReader(client, settings.store)
        found = inbox_keys(reader.query_rows(inbox_sql(settings.database), inbox_params(since_ms, rule, suspicious)))
    if as_json:
        print_json({"since": instant(since_ms), "keys": [one.json() for one in found]})
    else:
        print_table(("", "family", "key", "rule", "shapes", "first seen", "last seen", "region"), map(_row, found))
        note(f"{len(found):,} keys, {sum(one.suspicious for one in found):,} suspicious")
    return FINDING if fail_on_new and found else 0


def _row(one: InboxKey) -> tuple[object, ...]:
    mark = "!" if one.suspicious else ""
    shapes = "  ".join(one.shapes)
    return mark, one.family, one.key, one.said, shapes, instant(one.first_ms), instant(one.last_ms), one.region
