"""`streamgauge replay`: load a data file as events."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import orjson
from confluent_kafka import Producer

from streamgauge.console.cli import FINDING, INTERRUPTED
from streamgauge.console.datafile import DataFile, open_data
from streamgauge.console.interrupts import Check, deferred_interrupt
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, progress
from streamgauge.console.replay import Account, Plan, Refusals, replay, stream_names
from streamgauge.console.rows import SENT_KINDS, RefusedRows
from streamgauge.console.sender import DrySender, KafkaSender, Sender
from streamgauge.console.settings import ConsoleSettings
from streamgauge.schemas.consent import Consent, denial, is_gated
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract, load_contracts
from streamgauge.schemas.errors import DeclarationError, InputError
from streamgauge.schemas.topics import EVENTS

HELP = """Load FILE (Parquet, CSV, NDJSON; also .gz or .zip) as events with their own times.

Rows that do not fit the contract are counted by reason and left out; --refused FILE lists them by number, without values.
A time without zone is UTC. A number counts seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, else
nanoseconds.

Example: streamgauge replay flights.csv.zip --contract contracts/flight.json --rate 20000
"""


@click.command(name="replay", help=HELP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--contract", "contract_name", required=True, metavar="C", help="Contract file, or a name in --contracts."
)
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, help="Events a second; 0: as fast as it goes.")
@click.option("--streams", type=click.IntRange(1, 256), default=8, show_default=True, help="Streams to spread over.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=2_000, show_default=True, help="Rows in one batch.")
@click.option("--stream-prefix", default="", help="First part of the streams' names (default: replay-<event>-<run>).")
@click.option("--service", default="replay", show_default=True, help="Service that the rows are said to come from.")
@click.option("--missing", multiple=True, metavar="WORD", help="Word for a missing value in CSV, instead of a guess.")
@click.option("--refused", "refused_file", type=click.Path(path_type=Path), help="List refused rows here, as NDJSON.")
@click.option(
    "--granted", default="", metavar="PURPOSES", help="Purposes that everybody in FILE has consented to, a,b."
)
@click.option("--pace-group", default="", help="Never run further ahead of this consumer group than 2 MiB a partition.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "environment", "contracts", "kafka")
def replay_command(
    settings: ConsoleSettings,
    file: Path,
    contract_name: str,
    rate: float,
    streams: int,
    batch: int,
    stream_prefix: str,
    service: str,
    missing: tuple[str, ...],
    refused_file: Path | None,
    granted: str,
    pace_group: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Read options, replay, print the account."""
    contract = find_contract(contract_name, settings.contracts)
    consent = consent_for(contract, granted)
    data, columns = open_for(file, contract, missing)
    run = secrets.token_hex(4)
    group = pace_group or (settings.process_group if settings.embedded else "")
    instance = stream_prefix or f"replay-{contract.name}-{run}"
    context = {"service": service, "environment": settings.environment, "instance": instance, "region": settings.region}
    with deferred_interrupt() as check, _refusals(refused_file) as refusals:
        sender, partitions = _sender(settings, group, dry_run, check)
        if not dry_run:  # workers and sinks learn the contract before its first event
            publish(Producer(settings.kafka_config()), settings.region, [contract])
        names = stream_names(instance, streams, partitions)
        plan = Plan(contract, context, names, int(time.time() * 1000), batch, rate, consent)
        with progress(file.name) as report:
            account = replay(data.slices(columns), plan, sender, time.monotonic, report, refusals, check)
    _print(account, as_json, dry_run)
    if account.interrupted:
        return INTERRUPTED
    return 0 if account.complete else FINDING


def find_contract(wanted: str, places: Sequence[Path]) -> Contract:
    """The contract in the file `wanted`, or the latest of that name in `places`. Raises InputError or ContractError."""
    path = Path(wanted)
    if path.is_file():
        return next(iter(load_contracts([path]).values()))
    known = load_contracts(places)
    versions = [version for name, version in known if name == wanted]
    if not versions:
        there = ", ".join(sorted({name for name, _ in known})) or "none (see --contracts)"
        raise InputError(f"{wanted} is no contract file, and no contract of this name is known; there are: {there}")
    return known[wanted, max(versions)]


def consent_for(contract: Contract, granted: str) -> Consent | None:
    """The consent of every row; None where the contract does not depend on one. Raises InputError where it is denied."""
    goals, basis = contract.all_purposes(), contract.legal_basis
    if not is_gated(goals, basis):
        return None
    try:
        consent = Consent(frozenset(name.strip() for name in granted.split(",") if name.strip()))
    except DeclarationError as error:
        raise InputError(f"--granted: {error}") from error
    if reason := denial(goals, basis, consent):
        raise InputError(
            f"the contract {contract.name} depends on people's consent, so no row may be sent ({reason}). Load a file that holds "
            f"only people who have given it, and say so: --granted {','.join(goals)}"
        )
    return consent


def open_for(file: Path, contract: Contract, missing: Sequence[str] = ()) -> tuple[DataFile, list[str]]:
    """The file and the columns of it that the contract sends, checked to be there. Raises InputError."""
    if not contract.time:
        raise InputError(
            f'contract {contract.name} names no time column; add "time": "<column>", or use contract infer --time'
        )
    data = open_data(file, missing or None)
    sent = {name: one for name, one in contract.fields.items() if one.kind in SENT_KINDS}
    named = {contract.column(name): one for name, one in sent.items()}
    data.need([contract.time, *(column for column, one in named.items() if not one.optional or column in data.columns)])
    if data.missing and not missing:
        words = ", ".join(repr(word) for word in data.missing)
        note(
            f"{file.name}: {words} stands for a missing value here, as in its columns of numbers (--missing overrides)"
        )
    return data, [contract.time, *named]


def _sender(settings: ConsoleSettings, group: str, dry_run: bool, check: Check) -> tuple[Sender, int]:
    if dry_run:
        return DrySender(), 1
    sender = KafkaSender(settings.kafka_config(), EVENTS.name(settings.region), group, check=check)
    return sender, sender.partitions


@contextmanager
def _refusals(path: Path | None) -> Generator[Refusals]:
    if path is None:
        yield lambda _refused, _first: None
        return
    try:
        stream = path.open("wb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with stream:
        yield refusal_writer(stream.write)


def refusal_writer(write: Callable[[bytes], object]) -> Refusals:
    """Writes each refused row as a line of JSON: row, reason, field. Never a value."""

    def tell(refused: RefusedRows, first: int) -> None:
        for position in refused.positions.tolist():
            line = {"row": first + position, "reason": refused.reason, "field": refused.field}
            write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    return tell


def _print(account: Account, as_json: bool, dry_run: bool) -> None:
    if account.problem:
        note(f"error: {account.problem}")
    if account.interrupted:
        note("interrupted; what was acknowledged stays, and a second replay would count it twice")
    if as_json:
        print_json(account.json() | ({"dry_run": True} if dry_run else {}))
    else:
        sys.stdout.write(f"{'dry run, nothing sent: ' if dry_run else ''}{account.text()}\n")
