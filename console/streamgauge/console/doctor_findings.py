"""Findings: what the doctor says of a region, how bad it is, and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is. Warnings and errors are what a region should not have; notes are worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    OK = "ok"


WORST_FIRST = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, dangerous, worth knowing or in order.

    `remedy` says in a sentence what to do; `sql` holds the statement or command to run, when there is one.
    """

    severity: Severity
    area: str
    where: str
    what: str
    remedy: str = ""
    sql: str = ""

    @property
    def bad(self) -> bool:
        """Whether a healthy region would not have it."""
        return self.severity in (Severity.ERROR, Severity.WARNING)


def error(area: str, where: str, what: str, remedy: str, sql: str = "") -> Finding:
    """Numbers are wrong or lost, or will be, or nothing moves."""
    return Finding(Severity.ERROR, area, where, what, remedy, sql)


def warning(area: str, where: str, what: str, remedy: str, sql: str = "") -> Finding:
    """It works now, and the next outage may cost something."""
    return Finding(Severity.WARNING, area, where, what, remedy, sql)


def note(area: str, where: str, what: str, remedy: str = "", sql: str = "") -> Finding:
    """Worth knowing; also everything that could not be told."""
    return Finding(Severity.NOTE, area, where, what, remedy, sql)


def ok(area: str, where: str, what: str) -> Finding:
    """Looked at and in order."""
    return Finding(Severity.OK, area, where, what)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors before warnings before notes; within one severity in the order in which they were found."""
    return tuple(sorted(findings, key=lambda one: WORST_FIRST.index(one.severity)))


def span(milliseconds: float) -> str:
    """A length of time as people say it, in the unit that fits."""
    seconds = milliseconds / 1000
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
