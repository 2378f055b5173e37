"""Reference: the generated sections of the documentation. `python -m tests.support.reference` writes them anew.

A section stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of a page is written by hand.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click
import orjson

from streamgauge.console.frame import root
from streamgauge.console.gateway_settings import GatewaySettings, span_ms
from streamgauge.console.settings import ConsoleSettings
from streamgauge.processors.settings import ProcessorSettings, keys_interval_ms
from streamgauge.producers.settings import ProducerSettings
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.key_names import table
from streamgauge.schemas.settings import FOR_EVER, Secret, duration_ms, size_bytes, variable
from streamgauge.schemas.stock_classes import by_group
from streamgauge.schemas.topics import ROLLUPS, TOPICS, Topic
from streamgauge.sinks.ranges import Place, Range
from streamgauge.sinks.settings import SinkSettings
from tests.support.wire_examples import EXAMPLES

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PARTS: Mapping[str, type[Any]] = {
    "producers": ProducerSettings,
    "process": ProcessorSettings,
    "sink": SinkSettings,
    "console": ConsoleSettings,
    "gateway": GatewaySettings,
}
DURATIONS = {
    duration_ms,
    keys_interval_ms,
    span_ms,
    ProducerSettings.__dataclass_fields__["flush_interval"].metadata["parse"],
}

HEADS = (
    MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status")),
    MetricHead("queue_depth", "gauge", "{item}", ("queue",)),
    MetricHead("checkout_latency_seconds", "histogram", "s", ("endpoint",)),
)
ORDERS = Contract(
    "order_placed",
    1,
    {
        "country": Field("dimension"),
        "amount": Field("measure", "number", unit="{USD}"),
        "customer_id": Field("unique"),
    },
    store_events=True,
)


def commands(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups before what is in them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"the command line names {name} and has it not")
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def setting_text(parse: Callable[[str], Any], value: Any) -> str:
    """A default as a person would write it: what `parse` would read as `value`."""
    if value is None or value == "" or value == () or isinstance(value, Secret):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if parse in DURATIONS:
        return _duration(value)
    if parse is size_bytes:
        return _size(value)
    return ",".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)


def _duration(ms: int) -> str:
    if ms == FOR_EVER:
        return "forever"
    for unit, width in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms % width == 0:
            return f"{ms // width}{unit}"
    return f"{ms}ms"


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >> shift << shift == size:
            return f"{size >> shift}{unit}"
    return str(size)


def settings_section(part: str) -> str:
    """A table of one settings class."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for one in dataclasses.fields(PARTS[part]):
        default = setting_text(one.metadata["parse"], one.default)
        rows.append(f"| `{variable(one.name)}` | {f'`{default}`' if default else ''} | {one.metadata['help']} |")
    return "\n".join(rows)


def commands_section() -> str:
    """The help of every command."""
    found: list[str] = []
    top = click.Context(root, info_name="streamgauge", terminal_width=100, **root.context_settings)
    for words, command in commands():
        fresh = copy.copy(command)
        vars(fresh)["_help_option"] = None  # click keeps the one of the first caller, who may have known only `--help`
        context = click.Context(fresh, parent=top, info_name=" ".join(words), **fresh.context_settings)
        found.append(f"## {' '.join(words)}\n\n```text\n{fresh.get_help(context)}\n```")
    return "\n\n".join(found)


def topics_section() -> str:
    """A table of all topics."""
    rows = ["| topic | partitions | kept | holds |", "|---|---|---|---|"]
    rows += [
        f"| `{topic.name('<region>')}` | {topic.partitions} | {_kept(topic)} | {topic.purpose} |" for topic in TOPICS
    ]
    return "\n".join(rows)


def _kept(topic: Topic) -> str:
    return "compacted" if topic.compacted else _duration(topic.retention_ms)


def wire_section(kind: str) -> str:
    """An example of one kind of message."""
    body: Any = orjson.loads(EXAMPLES[kind])
    return f"```json\n{_json(body)}\n```"


def _json(value: Any, indent: str = "") -> str:
    """JSON on one line where it fits, else with one line per entry."""
    flat = orjson.dumps(value).decode()
    if len(flat) + len(indent) <= 118 or not isinstance(value, dict | list):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        rows = [f"{inner}{_json(one, inner)}" for one in cast("list[Any]", value)]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    rows = [f'{inner}"{key}": {_json(one, inner)}' for key, one in cast("dict[str, Any]", value).items()]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def metadata_section() -> str:
    """What a sink writes down about one block."""
    one = Range(Place("eu", ROLLUPS.name("eu"), "Nq3v0bXgQ0a7v1mBq8s5Kw", 1), 120, 184)
    one = dataclasses.replace(one, content="8f3a60c1d27be945", written_ms=1_796_083_200_123)
    return f"```text\n{one.intent()}\n{one.done()}\n{one.token}\n```"


class Engine:
    """The embedded engine in a directory of its own, as `sinks.ddl.Client`."""

    def __init__(self, path: Path) -> None:
        import clickhouse_connect

        self._client: Any = clickhouse_connect.get_client(interface="chdb", path=str(path))

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        """See Client."""
        return self._client.command(sql, parameters=params)

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """See Client."""
        return [tuple(row) for row in self._client.query(sql, parameters=params).result_rows]

    def close(self) -> None:
        """Let go of the directory."""
        self._client.close()


def table_sections(engine: Engine) -> dict[str, str]:
    """Columns of the views and of the tables that people read, as the engine describes them."""
    from streamgauge.sinks.migrations import migrate
    from streamgauge.sinks.retention import Retention
    from streamgauge.sinks.views import ensure_views

    database = "reference"
    migrate(engine, Retention(), database)
    ensure_views(engine, database, HEADS, [ORDERS])
    shown = {
        "tables.counter": "checkout_requests_1m",
        "tables.gauge": "queue_depth_1m",
        "tables.histogram": "checkout_latency_seconds_1m",
        "tables.event": "order_placed_1m",
        "tables.single": "order_placed_events",
        "tables.points": "points_1m",
        "tables.events": "events",
        "tables.ledger": "ledger",
        "tables.blocks": "blocks",
        "tables.dead": "dead",
        "tables.series": "series",
    }
    return {name: _columns(engine, database, table) for name, table in shown.items()}


def _columns(engine: Engine, database: str, table: str) -> str:
    rows = engine.query_rows(
        "SELECT name, type, comment FROM system.columns WHERE database = {d:String} AND table = {t:String} ORDER BY position",
        {"d": database, "t": table},
    )
    if not any(comment for _, _, comment in rows):
        return "\n".join(["| column | type |", "|---|---|", *(f"| `{name}` | `{kind}` |" for name, kind, _ in rows)])
    lines = [f"| `{name}` | `{kind}` | {comment} |" for name, kind, comment in rows]
    return "\n".join(["| column | type | |", "|---|---|---|", *lines])


ACTIONS = {"replace": "`[{}]`", "generalise": "`{}`", "scan": "scanned"}


def classes_section() -> str:
    """Stock classes, and what becomes of them."""
    rows = ["| class | becomes | attributes |", "|---|---|---|"]
    for group, members in by_group().items():
        for what in dict.fromkeys((one.action, one.rule) for one in members):
            named = ", ".join(f"`{one.attribute}`" for one in members if (one.action, one.rule) == what)
            rows.append(f"| {group} | {ACTIONS[what[0]].format(what[1])} | {named} |")
    return "\n".join(rows)


def key_names_section() -> str:
    """Words at the end of a name, and what replaces values under it."""
    rows = ["| values become | words at the end of the name |", "|---|---|"]
    rows += [f"| `[{rule}]` | {', '.join(' '.join(one) for one in words)} |" for rule, words in table().items()]
    return "\n".join(rows)


def plain_sections() -> dict[str, str]:
    """Every section that needs no engine."""
    found = {f"settings.{part}": settings_section(part) for part in PARTS}
    found |= {f"wire.{kind}": wire_section(kind) for kind in EXAMPLES}
    found |= {"classes": classes_section(), "key_names": key_names_section()}
    return found | {"commands": commands_section(), "topics": topics_section(), "metadata": metadata_section()}


def pages() -> list[Path]:
    """The pages that have generated sections."""
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in written if SECTION.search(path.read_text(encoding="utf-8")))


def renewed(text: str, sections: Mapping[str, str]) -> str:
    """A page with these sections in their places; sections that are not given stay."""

    def put(match: re.Match[str]) -> str:
        section = sections.get(match[2])
        return match[0] if section is None else f"{match[1]}{section}\n{match[3]}"

    return SECTION.sub(put, text)


def main() -> int:
    """Write all sections."""
    with tempfile.TemporaryDirectory() as directory:
        engine = Engine(Path(directory))
        sections = plain_sections() | table_sections(engine)
        engine.close()
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if unknown := {match[2] for match in SECTION.finditer(text)} - sections.keys():
            sys.stderr.write(f"{path}: nothing generates {', '.join(sorted(unknown))}\n")
            return 1
        path.write_text(renewed(text, sections), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
