"""`streamgauge forget`: find and delete a person's single events, look that none is left, and keep a receipt."""

from __future__ import annotations

import sys
import time

import click

from streamgauge.console.cli import INTERRUPTED
from streamgauge.console.erasure import FORGET, Receipt, erase
from streamgauge.console.erasure_input import read_values, refuse_on_the_line
from streamgauge.console.interrupts import deferred_interrupt
from streamgauge.console.options import together, with_settings
from streamgauge.console.output import note, print_json, printable, progress
from streamgauge.console.settings import ConsoleSettings
from streamgauge.console.subject_search import now_ms, receipt_lines, search
from streamgauge.schemas.errors import InputError

HELP = """Delete the single events of a person who is known by a value of the unique field FIELD.

The value comes from a file, a pipe (--values -) or a hidden prompt, never from the command line; several values, such as
all addresses of one person, stand one a line. Needs the key ring of the region's workers (STREAMGAUGE_KEYS), and their
STREAMGAUGE_PHONE_REGION. All live keys, events and tenants are searched. What stays: the receipt, which names nobody. Running
it again is safe; --receipt finishes one that was interrupted.

Example: streamgauge forget customer_id --values request.txt --dry-run
"""


of_somebody = together(
    click.argument("field", metavar="FIELD", required=False),
    click.argument("rest", metavar="", nargs=-1),
    click.option("--subject", hidden=True, help="Never given here."),
    click.option(
        "--values", "source", metavar="FILE", help="File with one value a line; - is stdin; else you are asked."
    ),
)
"""Whom a request is about; `field_name` and `read_values` read it."""
searched_where = together(
    click.option("--event", "events", multiple=True, help="Only in this event; repeatable."),
    click.option("--tenant", "tenants", multiple=True, help="Only of this tenant; repeatable."),
)
with_search_settings = with_settings(
    ConsoleSettings, "region", "contracts", "store", "store_user", "database", "keys", "phone_region"
)
"""What `subject_search.search` needs."""


@click.command("forget", help=HELP)
@of_somebody
@searched_where
@click.option("--receipt", "again", default="", metavar="ID", help="Finish the request that has this receipt.")
@click.option("--dry-run", is_flag=True, help="Count the rows, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@with_search_settings
def forget(
    settings: ConsoleSettings,
    field: str | None,
    rest: tuple[str, ...],
    subject: str | None,
    source: str | None,
    events: tuple[str, ...],
    tenants: tuple[str, ...],
    again: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Search, ask, delete, print the receipt."""
    name = field_name(field, rest, subject)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise InputError("nobody can be asked here: look first with --dry-run, then say --yes")
    values = read_values(source, f"{name} of whom")
    with search(settings, FORGET, name, values, events, tenants, again) as found:
        receipt = found.receipt
        rows = sum(receipt.found.values())
        if dry_run:
            print_receipt(receipt, as_json, dry_run=True)
            return 0
        if rows and not yes:
            for event, count in receipt.found.items():
                note(f"  {count:,} rows of {event}")
            click.confirm(f"{rows:,} rows: delete them for ever?", abort=True, err=True)
        note(f"receipt {receipt.id}: begun")
        try:
            with deferred_interrupt() as check, progress("delete") as report:

                def tell(share: float, words: str) -> None:
                    check()
                    report(share, words)

                receipt = erase(found.store, receipt, now_ms, time.sleep, tell)
        except KeyboardInterrupt:
            note(f"not finished: some rows may be left. Finish it with --receipt {receipt.id}")
            return INTERRUPTED
    print_receipt(receipt, as_json)
    return 0


def field_name(field: str | None, rest: tuple[str, ...], subject: str | None) -> str:
    """The name of the field. Raises InputError where a value was said beside it."""
    if rest or subject is not None or "=" in (field or ""):
        raise refuse_on_the_line()
    if not field:
        raise InputError("which unique field is the person known by? For example: streamgauge forget customer_id")
    return field


def print_receipt(receipt: Receipt, as_json: bool, dry_run: bool = False) -> None:
    """The receipt on stdout, with what to do next."""
    if as_json:
        print_json(receipt.json() | {"dry_run": dry_run})
        return
    for name, value in receipt_lines(receipt)[dry_run:]:
        sys.stdout.write(f"{name:<11} {printable(value)}\n")
    if dry_run:
        note("nothing was changed")
    elif receipt.kind == FORGET:
        note(
            f"what was sent before may still come in, also by a replay: run it again after {receipt.json()['again_after']}"
        )
