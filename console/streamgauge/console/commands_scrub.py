"""`streamgauge scrub`: what a worker would drop, replace, hash or make coarse in a sample, without sending anything."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.commands_replay import find_contract
from streamgauge.console.datafile import open_data
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table, progress
from streamgauge.console.scrub_report import MAX_SHAPES, ColumnReport, ScrubReport
from streamgauge.console.settings import ConsoleSettings

HELP = """Say what would become of the values in FILE (Parquet, CSV, NDJSON; also .gz or .zip), by column and rule.

Nothing is sent, and no value is shown: of values that detectors find, only their shapes are (a+@a+.a+). With --contract the
fields of an event are meant; without one every column is treated as the label of a metric. Exit code 1 when detectors
find personal data in a column that would be kept: name it for what it is, declare it unique or dropped, or close its values.

Example: streamgauge scrub sample.csv --contract contracts/order_placed.json
"""


@click.command("scrub", help=HELP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--contract", "contract_name", metavar="C", help="Contract file, or a name in --contracts.")
@click.option("--rows", "limit", type=click.IntRange(1), help="Look at the first so many rows only.")
@click.option("--missing", multiple=True, metavar="WORD", help="Word for a missing value in CSV, instead of a guess.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "contracts")
def scrub(
    settings: ConsoleSettings,
    file: Path,
    contract_name: str | None,
    limit: int | None,
    missing: tuple[str, ...],
    as_json: bool,
) -> int:
    """Read the sample, print the report."""
    from streamgauge.processors.cleaner import Cleaner
    from streamgauge.processors.scrub import Scrubber

    contract = find_contract(contract_name, settings.contracts) if contract_name else None
    data = open_data(file, missing or None)
    report = ScrubReport(Cleaner(Scrubber()), data.columns, contract)
    unreadable = 0
    with progress(file.name) as tell:
        for part in data.slices([name for name in data.columns if name not in data.nested]):
            left = None if limit is None else limit - report.rows
            report.add(part.frame if left is None else part.frame.head(left))
            unreadable += len(part.broken)
            tell(part.share, f"{report.rows:,} rows")
            if limit is not None and report.rows >= limit:
                break
    suspicious = report.suspicious()
    if as_json:
        print_json({**report.json(), "nested": len(data.nested), "unreadable": unreadable, "suspicious": suspicious})
    else:
        print_table(("column", "becomes", "rows", "changed", "by rule", "shapes", "why"), map(_row, report.columns()))
        sys.stdout.write(f"{report.rows:,} rows{f', policy {report.version}' if report.version else ''}\n")
    if data.nested:
        note(f"{len(data.nested)} columns hold lists or objects: they are no fields, and were not looked at")
    if unreadable:
        note(f"{unreadable:,} rows cannot be read, and were not looked at")
    for column in suspicious:
        note(f"{column}: detectors found personal data here; declare what this column is (see --help)")
    return FINDING if suspicious else 0


def _row(one: ColumnReport) -> tuple[object, ...]:
    action, rule = one.action, f" {one.action.rule}" if one.action.rule else ""
    rules = ", ".join(f"{name} {count:,}" for name, count in one.changed.most_common())
    shapes = "  ".join(text for text, _ in one.shapes.most_common(MAX_SHAPES))
    return one.column, f"{action.kind}{rule}", one.rows, one.changed.total(), rules, shapes, action.why
