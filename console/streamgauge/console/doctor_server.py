"""Server: the version of ClickHouse, what it lets the sink's user do, and its clock."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streamgauge.console.doctor_facts import Clock, ServerSetting, StoreFacts
from streamgauge.console.doctor_findings import Finding, error, note, ok, span, warning
from streamgauge.sinks.ddl import INSERT_SETTINGS

SETTINGS, VERSION, CLOCK = "settings", "version", "clock"
MVS_UNSAFE = ((24, 7), (26, 1))
"""From the first to the last, a repeated block reached materialized views although the table had recognised it."""
TTL_GROUP_BY_FIXED = {(26, 3): 17, (26, 4): 5, (26, 5): 6, (26, 6): 2}
"""The patch that ended endless merges of TTL … GROUP BY, by release; 26.7 and newer never had it."""
SKEW_WARNING_MS, SKEW_ERROR_MS = 2_000, 60_000


def version(facts: StoreFacts) -> Iterator[Finding]:
    """Versions in which repeats double, or tables with TTL … GROUP BY merge for ever."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:3])
    if len(numbers) < 2:
        yield note(VERSION, "ClickHouse", f"calls itself {facts.version!r}, so its version cannot be judged")
        return
    release, patch = (numbers[0], numbers[1]), numbers[2] if len(numbers) > 2 else 0
    bad = False
    if release < MVS_UNSAFE[0]:
        bad = True
        yield error(VERSION, "ClickHouse", f"{facts.version} is older than anything that was tested", "upgrade to 26.x")
    elif release <= MVS_UNSAFE[1]:
        bad = True
        yield error(
            VERSION,
            "ClickHouse",
            f"{facts.version}: by default a repeated insert counts twice behind materialized views (24.7 to 26.1)",
            "upgrade to 26.2 or newer; until then no insert by hand may be repeated",
        )
    grouping = [one.name for one in facts.tables if re.search(r"\bTTL\b.*\bGROUP BY\b", one.engine_full)]
    if release < (26, 7) and patch < TTL_GROUP_BY_FIXED.get(release, 1 << 30):
        if grouping:
            bad = True
            yield error(
                VERSION,
                ", ".join(grouping),
                f"TTL … GROUP BY merges for ever in {facts.version}",
                "upgrade to 26.7 (or 26.3.17, 26.4.5, 26.5.6, 26.6.2), or remove that TTL with `streamgauge migrate`",
            )
        else:
            yield note(
                VERSION,
                "ClickHouse",
                f"{facts.version}: TTL … GROUP BY would merge for ever; no table here uses it",
                "add none before 26.7 (26.3.17, 26.4.5, 26.5.6, 26.6.2)",
            )
    if not bad:
        yield ok(VERSION, "ClickHouse", facts.version)


def settings(facts: StoreFacts) -> Iterator[Finding]:
    """Whether this user may state what every insert of the sink states."""
    held = {one.name: one for one in facts.settings}
    if not held:
        return
    problems = list(_refusals(held, facts.user))
    yield from problems
    default = held.get("async_insert")
    if default is not None and default.value == "1":
        yield note(
            SETTINGS,
            f"user {facts.user}",
            "async_insert is on by default; the sink turns it off for each insert of its own",
            "inserts by hand into these tables should say SETTINGS async_insert = 0",
        )
    if not problems:
        yield ok(SETTINGS, f"user {facts.user}", "may state what the sink's inserts state")


def _refusals(held: dict[str, ServerSetting], user: str) -> Iterator[Finding]:
    where = f"user {user}"
    if (mode := held.get("readonly")) is not None and mode.value != "0":
        yield error(
            SETTINGS,
            where,
            f"reads only (readonly = {mode.value}): a sink with this user can insert nothing",
            "give the sink a user whose profile has readonly = 0; if this is not the sink's user, run doctor with it",
        )
        return
    unknown = [name for name in INSERT_SETTINGS if name not in held]
    if unknown:
        yield error(
            SETTINGS,
            "ClickHouse",
            f"does not know {', '.join(unknown)}, so it refuses every insert of the sink",
            "upgrade to ClickHouse 26.2 or newer",
        )
    for name, value in INSERT_SETTINGS.items():
        one = held.get(name)
        if one is None or one.value == str(value):
            continue
        if one.locked or _outside(value, one.minimum, one.maximum):
            limit = "may not be changed" if one.locked else f"must lie in {one.minimum or '…'} to {one.maximum or '…'}"
            yield error(
                SETTINGS,
                where,
                f"{name} is {one.value} and {limit}; the sink states {value}, so its inserts are refused",
                f"allow it in the user's profile: remove the constraint on {name}, or fix it at {value}",
            )


def _outside(value: str | int, minimum: str | None, maximum: str | None) -> bool:
    if isinstance(value, str):
        return False
    return any(
        bound is not None and re.fullmatch(r"-?\d+", bound) is not None and beyond * value > beyond * int(bound)
        for bound, beyond in ((minimum, -1), (maximum, 1))
    )


def clock(found: Clock | None, whose: str, why_not: str) -> Iterator[Finding]:
    """How another clock stands to ours. Instants of events, windows and retention all come from some clock."""
    if found is None:
        yield note(CLOCK, whose, f"its clock was not measured: {why_not}")
        return
    off = max(found.at_least_ms, -found.at_most_ms, 0.0)
    direction = "ahead of" if found.at_least_ms > 0 else "behind"
    text = f"is {span(off)} {direction} the clock of this machine"
    remedy = "synchronise the clocks (chrony, ntpd): windows, retention and lags are told by them"
    if off >= SKEW_ERROR_MS:
        yield error(CLOCK, whose, text, remedy)
    elif off >= SKEW_WARNING_MS:
        yield warning(CLOCK, whose, text, remedy)
    else:
        yield ok(CLOCK, whose, f"agrees with this machine ({found.at_least_ms:+,.0f} to {found.at_most_ms:+,.0f} ms)")
