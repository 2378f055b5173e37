"""Report: figures of one benchmark beside a floor measured in the same run, as a table and as a line of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

HEADINGS = ("case", "what", "value", "unit", "floor", "x floor", "floor is", "budget")
LEFT = frozenset({"case", "what", "unit", "floor is", "budget"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `floor` is what the least that could do the job needed in this run, in the same unit."""

    case: str
    what: str
    value: float
    unit: str
    floor: float | None = None
    against: str = ""
    budget: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over floor; None without a floor."""
        return self.value / self.floor if self.floor else None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a figure must be read with. `load` is the machine's load average over 1, 5 and 15 minutes."""

    at: str
    load: tuple[float, float, float]
    cpus: int
    python: str
    quick: bool

    def text(self) -> str:
        """As a line for people."""
        load = " ".join(f"{one:.1f}" for one in self.load)
        size = ", quick" if self.quick else ""
        return f"load {load} on {self.cpus} CPUs, Python {self.python}{size}"


def number(value: float) -> str:
    """Three significant digits, all of them before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """Aligned columns; those without any entry are left out. The name of a case stands once."""
    rows: list[tuple[str, ...]] = []
    before = ""
    for one in figures:
        floor = "" if one.floor is None else number(one.floor)
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        case = "" if one.case == before else one.case
        rows.append((case, one.what, number(one.value), one.unit, floor, ratio, one.against, one.budget))
        before = one.case
    used = [column for column in range(len(HEADINGS)) if any(row[column] for row in rows)]
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]

    def line(row: Sequence[str]) -> str:
        cells = (row[c].ljust(widths[c]) if HEADINGS[c] in LEFT else row[c].rjust(widths[c]) for c in used)
        return "  ".join(cells).rstrip()

    rule = ["-" * width for width in widths]
    return "\n".join(line(row) for row in (HEADINGS, rule, *rows))


def json_line(benchmark: str, figures: Sequence[Figure], conditions: Conditions) -> bytes:
    """One run of one benchmark, with its ratios, as a line of JSON."""
    found: list[Mapping[str, Any]] = [{**asdict(one), "ratio": one.ratio} for one in figures]
    body = {"benchmark": benchmark, **asdict(conditions), "figures": found}
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
