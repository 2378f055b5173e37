"""`streamgauge dev` and `streamgauge demo`: everything in one command, without a server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamgauge.console.home import Home
from streamgauge.console.output import note, print_json
from streamgauge.console.service import configure_logging
from streamgauge.schemas.errors import InputError

if TYPE_CHECKING:
    from streamgauge.console.page_accounts import Accounts
    from streamgauge.console.session import Session
    from streamgauge.console.shops import Shops

BOTH = (
    click.option(
        "--directory",
        type=click.Path(path_type=Path),
        default=Path(".streamgauge"),
        show_default=True,
        help="Where data is kept.",
    ),
    click.option("--fresh", is_flag=True, help="Start with an empty store."),
    click.option(
        "--store-port", type=click.IntRange(1, 65535), help="Port of ClickHouse's HTTP interface (8123 if it is free)."
    ),
    click.option("--page-port", type=click.IntRange(1, 65535), help="Port of the page (8080 if it is free)."),
    click.option("--verbose", is_flag=True, help="Say more."),
)


def _both(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(BOTH):
        command = option(command)
    return command


@click.command("dev", epilog="Example: streamgauge dev --fresh")
@_both
@click.option("--browser", is_flag=True, help="Open the page in a browser.")
def dev(
    directory: Path, fresh: bool, store_port: int | None, page_port: int | None, verbose: bool, browser: bool
) -> int:
    """Run broker, worker, sink and store on this machine until Ctrl-C.

    Producers and commands that are started in this directory, or below it, find them by themselves. The broker keeps its
    messages in memory only: at least once, for development. ClickHouse clients connect to the store's address.
    """
    configure_logging(verbose)
    session = _session(directory, fresh, store_port, page_port, "dev")
    accounts = asyncio.run(_dev(session, browser))
    gone = accounts.refused_by_reason.get("offsets_lost", 0) if accounts else 0
    if gone:
        note(f"lost {gone:,} batches: the in-process broker dropped them before they were read; send more slowly")
    return 1 if gone or (accounts and (accounts.lost or accounts.doubled)) else 0


@click.command("demo", epilog="Example: streamgauge demo --seconds 60 --no-browser --json out.json")
@_both
@click.option(
    "--seconds", type=click.FloatRange(5, 86_400), default=600.0, show_default=True, help="How long the shop is open."
)
@click.option("--seed", default=7, show_default=True, help="Seed of the shop's load.")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the final account to this file."
)
def demo(
    directory: Path, fresh: bool, store_port: int | None, page_port: int | None, verbose: bool,
    seconds: float, seed: int, no_browser: bool, json_file: Path | None,
) -> int:  # fmt: skip
    """A shop in three regions under load, with live charts and an account of every point.

    Ends by itself, or on Ctrl-C. Exit code 0 only if the account balances: everything that was emitted is in the store,
    once. An incident lifts the error rate of ap-southeast-2 from a quarter to three quarters of the run.
    """
    configure_logging(verbose)
    if json_file is not None:
        _check_writable(json_file)
    session = _session(directory, fresh, store_port, page_port, "demo")
    session.run_s = seconds
    accounts = asyncio.run(_demo(session, seed, not no_browser))
    if json_file is not None:
        from streamgauge.console.page_accounts import balance_json

        _write_json(json_file, balance_json(accounts))
    if not accounts.balanced:
        note("the account does not balance: " + ("; ".join(accounts.differences()) or "it is not final"))
    return 0 if accounts.balanced else 1


def _check_writable(path: Path) -> None:
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _write_json(path: Path, document: object) -> None:
    with path.open("w") as file, contextlib.redirect_stdout(file):
        print_json(document)


def _session(directory: Path, fresh: bool, store_port: int | None, page_port: int | None, mode: str) -> Session:
    from streamgauge.console.embedded import PAGE_PORT, STORE_PORT, Embedded, free_port
    from streamgauge.console.session import Session

    store = free_port(store_port or STORE_PORT, store_port is not None, "store", "--store-port")
    page = free_port(page_port or PAGE_PORT, page_port is not None, "page", "--page-port")
    home = Home(directory)
    home.open(fresh)
    return Session(Embedded(home, store_port=store), page, mode)


def _ended_by_signal() -> asyncio.Event:
    """Set by SIGTERM and Ctrl-C; a second one ends at once."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        ended.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return ended


def _introduce(session: Session, browser: bool) -> None:
    embedded = session.embedded
    page = session.page.address if session.page else ""
    note(f"  broker     {embedded.brokers}   in process, memory only")
    note(
        f"  store      {embedded.store_address}   ClickHouse {embedded.store_version} in process, data in {embedded.home.path}/"
    )
    note(f"  page       {page}{'   (opened in your browser)' if browser else ''}")
    if embedded.ring and embedded.ring.done:
        done = "made now" if embedded.ring.done == "made" else "made now, from the key of an older release"
        note(f"  keys       {embedded.ring.path}   {done}; pseudonyms depend on it")
    if browser:
        webbrowser.open(page)


async def _dev(session: Session, browser: bool) -> Accounts | None:
    ended = _ended_by_signal()
    try:
        await session.open(note, ended)
        _introduce(session, browser)
        note("  emit       from any program below this directory; Ctrl-C ends")
        await ended.wait()
        return await session.settle(2.0)
    finally:
        await session.close()


async def _demo(session: Session, seed: int, browser: bool) -> Accounts:
    from streamgauge.console.shops import INCIDENT_REGION, REGIONS, Shops, shop_contracts

    ended = _ended_by_signal()
    shops: Shops | None = None
    try:
        await session.open(note, ended)
        await asyncio.to_thread(session.embedded.publish, shop_contracts())
        session.shop = f"{len(REGIONS)} regions, {2 * len(REGIONS)} services, 240 requests/s, 35 orders/s"
        session.incident = {"region": INCIDENT_REGION, "from_s": session.run_s / 4, "to_s": session.run_s * 3 / 4}
        environ = session.embedded.environ() | session.producer_environ("shop")
        for name in ("KEYS", "STORE", "DATABASE", "CONTRACTS", "INCARNATION", "EMBEDDED", "SERVICE"):
            environ.pop(f"STREAMGAUGE_{name}", None)  # a shop knows where to send, and nothing else
        shops = Shops(environ, session.run_s, seed, session.emissions.__setitem__)
        shops.open()
        _introduce(session, browser)
        note(f"  shop       {session.shop}; an incident starts in {INCIDENT_REGION} after a quarter of the run\n")
        await _until_closed(session, shops, ended)
        await shops.close()
        accounts = await session.settle()
        _say(session, accounts, last=True)
        return accounts
    finally:
        if shops is not None:
            await shops.close()
        await session.close()


async def _until_closed(session: Session, shops: Shops, ended: asyncio.Event) -> None:
    closed = asyncio.ensure_future(shops.wait())
    stopped = asyncio.ensure_future(ended.wait())
    said = 0.0
    while not (closed.done() or stopped.done()):
        await asyncio.wait([closed, stopped], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        if session.accounts is not None and (sys.stderr.isatty() or time.monotonic() - said >= 5):
            said = time.monotonic()
            _say(session, session.accounts)
    stopped.cancel()
    closed.cancel()


def _say(session: Session, accounts: Accounts, last: bool = False) -> None:
    """The account on one line; on a terminal it replaces the one before."""
    from streamgauge.console.page_accounts import status_line

    line = f"  {status_line(session.elapsed_s, accounts)}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}{chr(10) if last else ''}")
        sys.stderr.flush()
    else:
        note(line)
