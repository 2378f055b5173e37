"""Erasure input: values that stand for a person, from a file, a pipe or a hidden prompt; never from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import click

from streamgauge.schemas.errors import InputError

MOST = 10_000
MAX_BYTES = 1 << 24
HOW = "give a file, or - for a pipe, with --values, one value a line; or leave it out and type it, unseen"


def refuse_on_the_line() -> InputError:
    """What to say where a value was given as an argument. It is not repeated."""
    return InputError(
        f"a person's value never stands on the command line, where the shell's history and `ps` keep it: {HOW}. Remove the "
        "line from your history"
    )


def read_values(source: str | None, ask: str, stdin: IO[bytes] | None = None) -> list[str]:
    """The values, each once. Raises InputError, which shows none of them."""
    if source is None:
        if not sys.stdin.isatty():
            raise InputError(f"whom is this about? {HOW[0].upper()}{HOW[1:]}")
        return _lines(str(click.prompt(ask, hide_input=True, err=True)).encode(), "nothing was typed")
    if source == "-":
        return _lines((stdin or sys.stdin.buffer).read(MAX_BYTES + 1), "the pipe is empty")
    path = Path(source)
    try:
        if not path.is_file():
            raise InputError(f"--values names no file. If that was the value itself: {refuse_on_the_line()}")
        with path.open("rb") as file:
            return _lines(file.read(MAX_BYTES + 1), f"{path} is empty")
    except OSError as error:
        raise InputError(f"the file of --values cannot be read ({type(error).__name__})") from None


def _lines(content: bytes, empty: str) -> list[str]:
    if len(content) > MAX_BYTES:
        raise InputError(f"more than {MAX_BYTES >> 20} MiB of values: give a request its own values, one a line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("the values are not UTF-8 text, one value a line") from None
    found = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not found:
        raise InputError(f"{empty}: {HOW}")
    if len(found) > MOST:
        raise InputError(f"{len(found):,} values are more than {MOST:,}: split them")
    return found
