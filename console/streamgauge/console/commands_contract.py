"""`streamgauge contract`: check contract files, compare two, or propose the first one of a data file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, printable
from streamgauge.console.settings import ConsoleSettings, split_names
from streamgauge.schemas.compatibility import compare as compare_contracts
from streamgauge.schemas.compatibility import compatible
from streamgauge.schemas.contracts import Contract, load_contracts
from streamgauge.schemas.errors import ContractError, InputError
from streamgauge.schemas.windows import TIER_NAMES

CHECK_HELP = """Check contract files and directories of them; exit 1 and every problem when one is wrong.

With --class, the contract of that event's name must also say what the Python class says. Fields whose values a worker
will replace or make coarse because of their names are noted; --explain says what becomes of every field, and why.

Example: streamgauge contract check contracts/ --class shop.events:OrderPlaced
"""
INFER_HELP = """Propose the first contract of FILE (Parquet, CSV, NDJSON; also .gz or .zip). Review it before use.

Columns that are not named stay undeclared, and undeclared means dropped. Without any --dimension, --measure or
--unique the fields are guessed, and what was guessed is said. Names may be separated by commas.

Example: streamgauge contract infer flights.csv.zip --name flight --time time_hour --dimension carrier,origin \
--measure dep_delay --unique tailnum --granularity 1h --output contracts/flight.json
"""
DIFF_HELP = """Say whether contract NEW may replace OLD: every change, and why one is refused.

Optional fields and values of a closed set may be added. Removing, retyping or requiring a field, removing a value, another
granularity, showing more of a person than before, and another content under the same version are refused (exit 1).
With --published, give NEW only: it is compared with its own version in the contracts topic, else with the latest one there.

Example: streamgauge contract diff contracts/order_placed.json contracts/order_placed_2.json
"""


@click.group()
def contract() -> None:
    """Check contracts, compare two versions, or propose one from a data file.

    Example: streamgauge contract check contracts/
    """


@contract.command(help=CHECK_HELP)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--class", "classes", multiple=True, metavar="MODULE:CLASS", help="Python class to compare; repeatable.")
@click.option("--explain", is_flag=True, help="Say what becomes of each field's values, by which rule.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(paths: tuple[Path, ...], classes: tuple[str, ...], explain: bool, as_json: bool) -> int:
    """Read every file, compare every class, print what is wrong."""
    from streamgauge.processors.detectors import standard_rules
    from streamgauge.schemas.privacy import compile_policy, findings

    found, problems = read_all(paths)
    policies = [compile_policy(one, standard_rules().edition) for one in found]
    notes = [f"{one.name} version {one.version}: {finding}" for one in found for finding in findings(one)]
    for name in classes:
        problems += compare(name, found)
    if as_json:
        explained = {"policies": [one.json() for one in policies]} if explain else {}
        print_json({"contracts": [one.json() for one in found], "problems": problems, "notes": notes, **explained})
    else:
        for one, policy in zip(found, policies, strict=True):
            kept = "; single events are kept" if one.store_events else ""
            sys.stdout.write(f"{one.name} version {one.version}: {len(one.fields)} fields{kept}\n")
            sys.stdout.writelines(f"  {line}\n" for line in policy.explain() if explain)
        for text in notes:
            note(f"note: {text}")
        for problem in problems:
            note(problem)
    return FINDING if problems else 0


def read_all(paths: tuple[Path, ...]) -> tuple[list[Contract], list[str]]:
    """All contracts that can be read, and the problems of the others. Raises InputError for a path that does not exist."""
    if absent := [str(path) for path in paths if not path.exists()]:
        raise InputError(f"there is no {', '.join(absent)}")
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"no *.json in {', '.join(map(str, paths))}")
    found: dict[tuple[str, int], Contract] = {}
    problems: list[str] = []
    for file in files:
        try:
            one = next(iter(load_contracts([file]).values()))
        except ContractError as error:
            problems.append(str(error))
            continue
        if found.setdefault((one.name, one.version), one) != one:
            problems.append(f"{file}: version {one.version} of {one.name!r} is declared twice, differently")
    return list(found.values()), problems


def compare(name: str, contracts: list[Contract]) -> list[str]:
    """What differs between a Python class (`module:Class`) and its contract. Raises InputError when there is no such class."""
    from streamgauge.schemas.events import check_equal, contract_of

    cls = load_class(name)
    declared = contract_of(cls)
    same = [one for one in contracts if (one.name, one.version) == (declared.name, declared.version)]
    if not same:
        return [f"{name}: no contract {declared.name} version {declared.version} among the files"]
    try:
        check_equal(cls, same[0])
    except ContractError as error:
        return [str(error)]
    return []


def load_class(name: str) -> Any:
    """The event class `module:Class`, looked for in the current directory too."""
    from streamgauge.schemas.events import Event

    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--class {name}: {error}; say module:Class") from error
    if not (isinstance(cls, type) and issubclass(cls, Event)):
        raise InputError(f"--class {name}: not an Event class")
    return cls


@contract.command(name="diff", help=DIFF_HELP)
@click.argument("files", nargs=-1, required=True, metavar="[OLD] NEW", type=click.Path(path_type=Path))
@click.option("--published", "against_published", is_flag=True, help="Compare NEW with what the contracts topic holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "kafka")
def diff(settings: ConsoleSettings, files: tuple[Path, ...], against_published: bool, as_json: bool) -> int:
    """Compare and print."""
    if len(files) != (1 if against_published else 2):
        raise click.UsageError("say OLD NEW, or NEW --published")
    new = one_contract(files[-1])
    if against_published:
        from streamgauge.schemas.contract_topic import published

        old = latest(new, published(settings.kafka_config(), settings.region))
    else:
        old = one_contract(files[0])
    changes = compare_contracts(old, new) if old else []
    if as_json:
        named = {"name": new.name, "old": old.version if old else None, "new": new.version}
        print_json({**named, "compatible": compatible(changes), "changes": [change.json() for change in changes]})
    elif old is None:
        sys.stdout.write(f"{new.name}: nothing is published yet; version {new.version} is the first\n")
    else:
        sys.stdout.write(f"{new.name}: version {old.version} to version {new.version}\n")
        for change in changes:
            sys.stdout.write(
                f"  {'fine   ' if change.compatible else 'refused'}  {change.place}: {printable(change.text)}\n"
            )
        sys.stdout.write("compatible\n" if compatible(changes) else "not compatible\n")
    return 0 if compatible(changes) else FINDING


def one_contract(file: Path) -> Contract:
    """The contract in a file. Raises InputError when there is no such file, ContractError when it holds none."""
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    return next(iter(load_contracts([file]).values()))


def latest(new: Contract, known: Mapping[tuple[str, int], Contract]) -> Contract | None:
    """What `new` is compared with: its own version where there is one, else the highest of its name."""
    versions = [version for name, version in known if name == new.name]
    if not versions:
        return None
    return known[new.name, new.version if new.version in versions else max(versions)]


@contract.command(name="infer", help=INFER_HELP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Name of the event (default: the file's name).")
@click.option("--time", default="", metavar="COLUMN", help="Column of the event's time.")
@click.option("--time-format", default="", metavar="FORMAT", help="How texts in --time are written (strftime's words).")
@click.option("--dimension", multiple=True, metavar="COLUMNS", help="Columns to group by.")
@click.option("--measure", multiple=True, metavar="COLUMNS", help="Columns of numbers to sum up.")
@click.option("--unique", multiple=True, metavar="COLUMNS", help="Columns to count distinct, under a pseudonym.")
@click.option("--idempotency-key", multiple=True, metavar="COLUMN", help="Column that names an event once.")
@click.option("--dropped", multiple=True, metavar="COLUMNS", help="Columns declared as never sent.")
@click.option("--granularity", type=click.Choice(TIER_NAMES), default="10s", show_default=True, help="Finest window.")
@click.option("--owner", default="", help="Who answers for the event.")
@click.option("--close-values", is_flag=True, help="Close the values of dimensions that have at most 20.")
@click.option("--missing", multiple=True, metavar="WORD", help="Word for a missing value in CSV, instead of a guess.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of to stdout.")
@click.option("--force", is_flag=True, help="Overwrite the output file.")
@click.option("--json", "as_json", is_flag=True, help="Print contract, undeclared columns and warnings as JSON.")
def infer_command(
    file: Path,
    name: str,
    time: str,
    time_format: str,
    dimension: tuple[str, ...],
    measure: tuple[str, ...],
    unique: tuple[str, ...],
    idempotency_key: tuple[str, ...],
    dropped: tuple[str, ...],
    granularity: str,
    owner: str,
    close_values: bool,
    missing: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Profile the file, propose, write."""
    from streamgauge.console.datafile import open_data
    from streamgauge.console.infer import Wish, infer, profile

    if output and output.exists() and not force:
        raise InputError(f"{output} exists; say --force to overwrite it, or name another --output")
    kinds = {
        "dimension": split_names(dimension),
        "measure": split_names(measure),
        "unique": split_names(unique),
        "idempotency_key": split_names(idempotency_key),
        "dropped": split_names(dropped),
    }
    data = open_data(file, missing or None)
    wish = Wish(name or file.name.split(".")[0], time, kinds, owner, granularity, close_values, time_format)
    data.need(column for column in (time, *(one for names in kinds.values() for one in names)) if column)
    found = infer(profile(data, time, time_format), wish)
    if data.missing:
        note(
            f"{file.name}: {', '.join(map(repr, data.missing))} stands for a missing value, as in its columns of numbers"
        )
    for text in (*found.notes, *(f"warning: {warning}" for warning in found.warnings)):
        note(text)
    note(f"undeclared, so dropped: {', '.join((*found.undeclared, *data.nested)) or 'none'}")
    if output:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_bytes(found.contract.dump())
        except OSError as error:
            raise InputError(f"{output}: {error.strerror}") from error
        note(f"wrote {output}; review it: it decides what leaves the process")
    if as_json:
        body = {"contract": found.contract.json(), "undeclared": found.undeclared, "warnings": found.warnings}
        print_json(body)
    elif output is None:
        sys.stdout.write(found.contract.dump().decode())
