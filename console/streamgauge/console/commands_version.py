"""`streamgauge version`: what is installed."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from streamgauge.console.output import print_json

PACKAGES = ("streamgauge", "confluent-kafka", "faust-streaming", "clickhouse-connect", "chdb", "polars", "orjson")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Show the versions of streamgauge, Python, librdkafka and what else is installed.

    Example: streamgauge version --json
    """
    found = versions()
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    sys.stdout.writelines(f"{name:<{width}}  {number or 'not installed'}\n" for name, number in found.items())


def versions() -> dict[str, str | None]:
    """Versions by name; None for what is not installed."""
    found: dict[str, str | None] = {name: _installed(name) for name in PACKAGES}
    found["librdkafka"] = _librdkafka()
    found["python"] = platform.python_version()
    return found


def _installed(name: str) -> str | None:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return None


def _librdkafka() -> str | None:
    try:
        from confluent_kafka import libversion
    except ImportError:
        return None
    return libversion()[0]
