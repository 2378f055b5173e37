"""The frame of the command line: a group that knows its commands by name and imports one only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

import click

COMMANDS: Mapping[str, tuple[str, str]] = {
    "contract": ("streamgauge.console.commands_contract:contract", "Check and compare contracts, or propose one."),
    "dead": ("streamgauge.console.commands_dead:dead", "Look at what was refused, and send it again."),
    "demo": ("streamgauge.console.commands_dev:demo", "Watch a shop in three regions, with live charts."),
    "dev": ("streamgauge.console.commands_dev:dev", "Run everything on this machine, without a server."),
    "doctor": ("streamgauge.console.commands_doctor:doctor", "Say what is wrong in a region, with remedies."),
    "export-subject": (
        "streamgauge.console.commands_export_subject:export_subject",
        "Write one person's single events to a file.",
    ),
    "forget": ("streamgauge.console.commands_forget:forget", "Delete one person's single events, with a receipt."),
    "gateway": (
        "streamgauge.console.commands_gateway:gateway",
        "Take StatsD, OTLP and events from any application.",
    ),
    "inbox": ("streamgauge.console.commands_inbox:inbox", "List new keys and suspicious ones, by shape only."),
    "keys": ("streamgauge.console.commands_keys:keys", "Make, list, rotate and destroy keys of pseudonyms."),
    "migrate": ("streamgauge.console.commands_sink:migrate", "Bring the store's tables and views up to date."),
    "process": ("streamgauge.console.commands_process:process", "Run a worker: scrub and roll up."),
    "query": ("streamgauge.console.commands_query:query", "Ask the store in SQL."),
    "release": ("streamgauge.console.commands_release:release", "Decide which small groups are hidden."),
    "region": ("streamgauge.console.commands_region:region", "Check what may leave a region."),
    "replay": (
        "streamgauge.console.commands_replay:replay_command",
        "Load a data file as events, with their own times.",
    ),
    "scrub": ("streamgauge.console.commands_scrub:scrub", "Say what would be dropped, replaced or hashed in a file."),
    "sink": ("streamgauge.console.commands_sink:sink", "Run a sink: store rollups exactly once."),
    "sink-offset": (
        "streamgauge.console.commands_offsets:sink_offset",
        "Show where sinks are, and say what a pending range is.",
    ),
    "tail": ("streamgauge.console.commands_tail:tail", "Follow what comes in, cleaned."),
    "topics": ("streamgauge.console.commands_topics:topics_command", "Create a region's topics, or say what differs."),
    "verify": ("streamgauge.console.commands_verify:verify", "Compare the ledger with every tier of the store."),
    "version": ("streamgauge.console.commands_version:version", "Show the versions of everything involved."),
}
"""Every command: where it is, and its line in the help. Adding a command is adding a module and a line here."""


class LazyGroup(click.Group):
    """A group over a table like `COMMANDS`: its help imports nothing."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = dict(table or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of this name."""
        if cmd_name not in self._table:
            return None
        module, _, name = self._table[cmd_name][0].partition(":")
        try:
            return cast("click.Command", getattr(importlib.import_module(module), name))
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("streamgauge"):
                raise
            raise click.ClickException(
                f"`streamgauge {cmd_name}` needs {error.name}: pip install 'streamgauge[all]'"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._table[name][1]) for name in self.list_commands(ctx)])


@click.command(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks; may stand anywhere.")
def root() -> None:
    """Measure what flows out of Python services: Kafka in, exact rollups in ClickHouse out.

    Settings come from flag > STREAMGAUGE_* > --settings FILE > a running `streamgauge dev` > default.
    Exit codes: 0 done, 1 a finding or a failure, 2 a wrong call, setting or file.

    Example: streamgauge query "SELECT count() FROM system.one"
    """
