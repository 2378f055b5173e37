"""Options: a settings dataclass as flags of a command, filled from flag > environment > file > `streamgauge dev` > default."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from streamgauge.console.settings import dev_layer, find_dev_file, read_dev_file
from streamgauge.schemas.settings import PREFIX, Secret, load, read_file, variable

T = TypeVar("T")
Command = Callable[..., Any]

PARTS = (
    "streamgauge.console.settings:ConsoleSettings",
    "streamgauge.processors.settings:ProcessorSettings",
    "streamgauge.sinks.settings:SinkSettings",
    "streamgauge.producers.settings:ProducerSettings",
    "streamgauge.console.gateway_settings:GatewaySettings",
)
"""Settings classes whose variables may stand in the environment of any command."""


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Decorators that several commands have in common, as one. Options stand in this order in the help."""

    def decorate(command: Command) -> Command:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


def with_settings(cls: type[Any], *flags: str) -> Callable[[Command], Command]:
    """Give a command `settings`, an instance of `cls`, and a flag for each setting (or only for those named).

    Secrets have no flag: a command line shows in the list of processes. They come from environment or file.
    """

    def decorate(command: Command) -> Command:
        declared = {one.name: one for one in dataclasses.fields(cls) if not isinstance(one.default, Secret)}
        shown = [name for name in declared if not flags or name in flags]

        @functools.wraps(command)
        def run(settings_file: Path | None, **values: Any) -> Any:
            given = {name: values.pop(f"setting_{name}") for name in shown}
            return command(settings=resolve(cls, given, os.environ, settings_file, Path.cwd()), **values)

        wrapped: Command = click.option(
            "--settings", "settings_file", type=click.Path(path_type=Path, dir_okay=False), help="TOML settings file."
        )(run)
        for name in reversed(shown):
            text = f"{declared[name].metadata['help']} ({variable(name)})"
            wrapped = click.option(f"--{name.replace('_', '-')}", f"setting_{name}", metavar="TEXT", help=text)(wrapped)
        return wrapped

    return decorate


def resolve(
    cls: type[T], flags: Mapping[str, Any], environ: Mapping[str, str], settings_file: Path | None, here: Path
) -> T:
    """Settings from every source there is; `here` is where the search for the dev file starts. Raises SettingsError."""
    file = read_file(settings_file) if settings_file else {}
    given = {name for name, value in flags.items() if value is not None}
    given |= {key[len(PREFIX) :].lower() for key in environ if key.startswith(PREFIX)} | file.keys()
    declared = {one.name for one in dataclasses.fields(cls)}  # type: ignore[arg-type]  # a settings dataclass by contract
    dev = find_dev_file(here)
    layer = dev_layer(read_dev_file(dev), frozenset(given)) if dev else {}
    below = {key: value for key, value in layer.items() if key in declared}
    known = known_settings(PARTS) if given - declared else frozenset[str]()
    return load(cls, flags, environ, {**below, **file}, known)


def known_settings(parts: Iterable[str]) -> frozenset[str]:
    """Names of the settings of every part that is installed."""
    found: set[str] = set()
    for part in parts:
        module, _, name = part.partition(":")
        with suppress(ImportError, AttributeError):
            found |= {one.name for one in dataclasses.fields(getattr(importlib.import_module(module), name))}
    return frozenset(found)
