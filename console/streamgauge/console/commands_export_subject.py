"""`streamgauge export-subject`: a person's single events, for the person who asked for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from streamgauge.console.commands_forget import (
    field_name,
    of_somebody,
    print_receipt,
    searched_where,
    with_search_settings,
)
from streamgauge.console.erasure import EXPORT, finish
from streamgauge.console.erasure_input import read_values
from streamgauge.console.output import note, printable, progress
from streamgauge.console.settings import ConsoleSettings
from streamgauge.console.subject_search import now_ms, receipt_lines, search
from streamgauge.schemas.errors import InputError

HELP = """Write the single events of a person who is known by a value of the unique field FIELD, one JSON object a line.

Values are given as for `forget`. Pseudonyms in other fields, which may be other people's, are withheld, and named; free text
is as it is stored, so read it before you hand it on. The file is made for your eyes only (0600), and never replaced.

Example: streamgauge export-subject customer_id --values request.txt --output answer.jsonl
"""


@click.command("export-subject", help=HELP)
@of_somebody
@click.option("--output", metavar="FILE", required=True, help="File to write; - is stdout.")
@searched_where
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@with_search_settings
def export_subject(
    settings: ConsoleSettings,
    field: str | None,
    rest: tuple[str, ...],
    subject: str | None,
    source: str | None,
    output: str,
    events: tuple[str, ...],
    tenants: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search, write, print the receipt."""
    name = field_name(field, rest, subject)
    values = read_values(source, f"{name} of whom")
    with search(settings, EXPORT, name, values, events, tenants) as found:
        receipt, total = found.receipt, sum(found.receipt.found.values())
        found.store.write(receipt)
        with _target(output) as target, progress("export") as tell:
            for count, line in enumerate(found.store.rows(receipt.id, name), 1):
                target.write(line)
                if not count % 1_000:
                    tell(min(1.0, count / max(1, total)), f"{count:,} rows")
            receipt = finish(found.store, receipt, now_ms())
    if output == "-":  # there is the answer
        for label, value in receipt_lines(receipt):
            note(f"{label:<11} {printable(value)}")
    else:
        print_receipt(receipt, as_json)


@contextmanager
def _target(output: str) -> Generator[IO[bytes]]:
    """The open file; it is removed if it does not become whole."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{path} is there already; name a new file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be made ({error.strerror}); name a file in a directory of yours") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
