"""Output: JSON, tables and progress for people and for pipes. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import IO, Any

import orjson

Report = Callable[[float, str], None]
"""Takes the share that is done (0 to 1) and a few words."""

LINE_EVERY_S = 5.0
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def printable(value: object) -> str:
    """A value as one line of text that cannot move the cursor or colour the terminal."""
    return "" if value is None else str(value).translate(_CONTROL)


def print_json(value: Any) -> None:
    """One JSON document and a newline on stdout. What JSON does not know is written as text."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(value, default=str, option=option).decode())
    sys.stdout.flush()


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table on stdout, as wide as the terminal, or as wide as it needs to be in a pipe."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    held = [list(row) for row in rows]
    for position, name in enumerate(names):
        numbers = all(isinstance(row[position], (int, float)) for row in held)
        table.add_column(Text(printable(name)), justify="right" if held and numbers else "left", overflow="fold")
    for row in held:
        table.add_row(*(Text(printable(value)) for value in row))
    # a pipe has no width: cells must not be folded there
    width = None if sys.stdout.isatty() else 100_000
    Console(file=sys.stdout, width=width, highlight=False).print(table, crop=False)


def note(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def progress(
    title: str, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
) -> Generator[Report]:
    """Progress of long work: a bar on a terminal, else a line every few seconds, on stderr unless a `stream` is given."""
    target = sys.stderr if stream is None else stream
    if target.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[said]}"), console=Console(file=target)) as bar:
            task = bar.add_task(title, total=1.0, said="")
            yield lambda share, words: bar.update(task, completed=share, said=words)
        return
    last = clock()

    def line(share: float, words: str) -> None:
        nonlocal last
        if clock() - last >= LINE_EVERY_S:
            last = clock()
            target.write(f"{title} {share:4.0%}  {words}\n")
            target.flush()

    yield line
