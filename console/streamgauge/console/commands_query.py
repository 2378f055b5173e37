"""`streamgauge query`: SQL against the configured store."""

from __future__ import annotations

import csv
import sys
from contextlib import closing

import click

from streamgauge.console.asking import Answer, ask, check, connect
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.settings import ConsoleSettings
from streamgauge.schemas.errors import InputError

HELP = """Run one SQL statement that reads, and print its answer.

Parameters are bound by the server: {name:Type} in the statement, --param name=value beside it.

Example: streamgauge query "SELECT carrier, sum(value) FROM flight_1h WHERE origin = {o:String} GROUP BY carrier" --param o=JFK
"""


@click.command(help=HELP)
@click.argument("sql")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Value of a {NAME:Type}; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (meta, data, rows).")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@with_settings(ConsoleSettings, "store", "store_user", "database")
def query(settings: ConsoleSettings, sql: str, parameters: tuple[str, ...], as_json: bool, as_csv: bool) -> None:
    """Ask and print."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    values = dict(_pair(text) for text in parameters)
    check(sql, values)
    with closing(connect(settings)) as client:
        answer = ask(client, sql, values, settings.store)
    _print(answer, as_json, as_csv)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(f"--param {name}: say name=value")
    return name, value


def _print(answer: Answer, as_json: bool, as_csv: bool) -> None:
    if as_json:
        print_json(answer.json())
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.names)
        writer.writerows(answer.rows)
    else:
        print_table(answer.names, answer.rows)
        note(f"{len(answer.rows):,} row{'' if len(answer.rows) == 1 else 's'}")
