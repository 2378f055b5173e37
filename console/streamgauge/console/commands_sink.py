"""`streamgauge sink` and `streamgauge migrate`: the store's side."""

from __future__ import annotations

import click

from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json
from streamgauge.console.service import configure_logging, leave, on_end, run_until_ended
from streamgauge.sinks.settings import SinkSettings


@click.command(
    "sink", epilog="Example: streamgauge sink --brokers kafka:9092 --region eu --store http://clickhouse:8123"
)
@with_settings(SinkSettings)
@click.option("--verbose", is_flag=True, help="Say more.")
@click.option("--quiet", is_flag=True, help="Say only what is wrong.")
def sink(settings: SinkSettings, verbose: bool, quiet: bool) -> int:
    """Store rollups, distinct counts, ledger and dead letters, each block exactly once.

    Run `streamgauge migrate` first. Ends cleanly on SIGTERM and Ctrl-C; may be killed at any time.
    """
    configure_logging(verbose, quiet)
    on_end(leave)

    from streamgauge.sinks.app import Sink

    running = Sink(settings)
    run_until_ended(running.run, running.stop)
    return 0


@click.command("migrate", epilog="Example: streamgauge migrate --store http://clickhouse:8123 --retention-10s 3d")
@with_settings(
    SinkSettings,
    "store",
    "store_user",
    "database",
    "contracts",
    "retention_10s",
    "retention_1m",
    "retention_1h",
    "retention_1d",
    "retention_events",
)
@click.option("--allow-dangerous", is_flag=True, help="Carry out migrations that may destroy data.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def migrate(settings: SinkSettings, allow_dangerous: bool, as_json: bool) -> int:
    """Bring tables, functions, retention and views up to date. Repeating it changes nothing.

    Contracts shorten what the tiers keep, for their own events.
    """
    from streamgauge.schemas.contracts import load_contracts
    from streamgauge.sinks.migrations import migrate as bring_up_to_date
    from streamgauge.sinks.store import Store
    from streamgauge.sinks.table_ttl import longer_than_kept
    from streamgauge.sinks.views import ensure_views

    store = Store(settings.address())
    store.check()
    contracts = load_contracts(settings.contracts).values()
    done = bring_up_to_date(
        store, settings.retention(), settings.database, allow_dangerous=allow_dangerous, contracts=contracts
    )
    done += ensure_views(store, settings.database, (), contracts)
    for longer in longer_than_kept(settings.retention(), contracts):
        note(longer)
    if as_json:
        print_json({"done": done})
    else:
        note("\n".join(done) or "nothing to do: the store is up to date")
    return 0
