"""`streamgauge release`: decides which cells of finished windows may be shown, where contracts hide small groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from streamgauge.console.interrupts import ended_by_signal
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, progress
from streamgauge.schemas.contracts import Contract, load_contracts
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.settings import duration_ms
from streamgauge.sinks.settings import SinkSettings

if TYPE_CHECKING:
    from streamgauge.console.output import Report
    from streamgauge.sinks.releases import Release
    from streamgauge.sinks.store import Store

Contracts = Mapping[tuple[str, int], Contract]


@dataclass(slots=True)
class Decided:
    """What one run decided of an event: windows, how many of them are withheld, and cells of the others."""

    event: str
    tier: str
    k: int
    windows: int = 0
    withheld: int = 0
    shown: int = 0
    hidden: int = 0
    first: str = ""
    last: str = ""

    def add(self, one: Release) -> None:
        """One window more; they come oldest first."""
        self.last = f"{datetime.fromtimestamp(one.window, UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.first = self.first or self.last
        self.windows += 1
        self.withheld += one.verdict.withheld
        self.shown += len(one.verdict.shown)
        self.hidden += one.verdict.hidden

    def text(self) -> str:
        """As people read it."""
        windows = "1 window" if self.windows == 1 else f"{self.windows} windows"
        held = f", {self.withheld} of them withheld" if self.withheld else ""
        return (
            f"{self.event}: {windows} of {self.tier} decided{held}, {self.first} to {self.last};"
            f" {self.shown} cells shown, {self.hidden} in remainders (fewer than {self.k} contributors, or hiding such)"
        )


def _every(_: click.Context, __: click.Parameter, value: str) -> int:
    try:
        every = duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if every <= 0:
        raise click.BadParameter("say a time, such as 5m")
    return every


@click.command("release", epilog="Example: streamgauge release --once --contracts contracts/")
@with_settings(SinkSettings, "brokers", "region", "kafka", "contracts", "store", "store_user", "database")
@click.option("--once", is_flag=True, help="Decide what is due and end, for cron.")
@click.option("--every", default="5m", show_default=True, callback=_every, help="Look again after so long.")
@click.option("--files-only", is_flag=True, help="Do not ask Kafka for contracts that were published.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each run that decided something.")
def release(settings: SinkSettings, once: bool, every: int, files_only: bool, as_json: bool) -> int:
    """Decide, once for each window, which cells the views `<event>_released` show, and which are in the remainder.

    It decides for contracts that say `small_cells`, windows that have been over for as long as they say. May be killed,
    repeated, and run twice at once: the first decision of a window stays for ever.
    """
    from streamgauge.sinks.store import Store, StoreError, error_text

    store = Store(settings.address())
    store.check()

    def run(ended: Callable[[], bool]) -> None:
        known = _contracts(settings, files_only)
        with progress("deciding") as report:
            found = release_once(store, settings.database, known, ended, report)
        _say(found, once, as_json)

    with ended_by_signal() as ended:
        while not ended.is_set():
            try:
                run(ended.is_set)
            except StoreError as error:
                if once:
                    raise store.unavailable(error) from error
                note(f"the store does not answer, trying again: {error_text(error)}")
            except BrokerUnavailable as error:
                if once:
                    raise
                note(f"nothing is decided while contracts cannot be read, trying again: {error}")
            if once:
                break
            ended.wait(every / 1000)
    return 0


def release_once(
    store: Store, database: str, contracts: Contracts, ended: Callable[[], bool], report: Report
) -> list[Decided]:
    """Decide what is due, until it is done or `ended`; what was decided, by event."""
    from streamgauge.sinks.releases import asking, release_due
    from streamgauge.sinks.views import current_ranges

    found: list[Decided] = []
    ranges = current_ranges(store, database)
    for contract, asked in asking(contracts.values()):
        of = Decided(contract.name, asked.tier, asked.k)
        for one, left in release_due(store, database, contract, asked, lambda: datetime.now(UTC), ranges):
            of.add(one)
            report(of.windows / (of.windows + left), f"{contract.name} {of.last}, {left} left")
            if ended():
                break
        found.append(of)
        if ended():
            break
    return found


def _contracts(settings: SinkSettings, files_only: bool) -> Contracts:
    """Of files and of the topic. Raises BrokerUnavailable: an older version than the newest may hide less."""
    from streamgauge.schemas.contract_topic import published

    known = load_contracts(settings.contracts)
    return known if files_only else published(settings.librdkafka(), settings.region) | known


def _say(found: list[Decided], once: bool, as_json: bool) -> None:
    decided = [one for one in found if one.windows]
    if as_json and (decided or once):
        body: dict[str, Any] = {"at": datetime.now(UTC), "decided": [asdict(one) for one in decided]}
        click.echo(orjson.dumps(body).decode())
    elif decided:
        click.echo("\n".join(one.text() for one in decided))
    elif once:
        note("nothing is due" if found else "no contract asks for it (small_cells)")
    sys.stdout.flush()
