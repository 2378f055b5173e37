"""`streamgauge verify`: the ledger against the tables."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import orjson

from streamgauge.console.accounts_store import day_text, read_verification
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.verify import DayReport, Verification
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.settings import SinkSettings

if TYPE_CHECKING:
    from streamgauge.sinks.store import Store

SETTINGS = (
    "region",
    "store",
    "store_user",
    "database",
    "retention_10s",
    "retention_1m",
    "retention_1h",
    "retention_1d",
)


def _optional_duration(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    milliseconds = None if value is None else _duration(context, parameter, value)
    if milliseconds is not None and milliseconds <= 0:
        raise click.BadParameter("say a time, such as 30s")
    return milliseconds


def _duration(_: click.Context, __: click.Parameter, value: str) -> int:
    try:
        return duration_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("verify", epilog="Example: streamgauge verify --last 24h")
@with_settings(SinkSettings, *SETTINGS)
@click.option(
    "--last", default="forever", show_default=True, callback=_duration, help="Whole UTC days from so long ago on."
)
@click.option(
    "--wait",
    default="15s",
    show_default=True,
    callback=_duration,
    help="How long to wait while nothing changes, if points are on their way.",
)
@click.option(
    "--every",
    callback=_optional_duration,
    help="Go on and check again after so long, one line each time, until Ctrl-C.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
def verify(settings: SinkSettings, last: int, wait: int, every: int | None, as_json: bool) -> int:
    """Compare what the workers' ledger added with what every tier of the store holds, by UTC day.

    Exit code 1 when points are lost or doubled, values do not add up, or the ledger has holes or overlaps.
    """
    from streamgauge.sinks.store import Store, StoreError

    store = Store(settings.address())
    store.check()
    if every is not None:
        return _stand_watch(store, settings, last, wait, every, as_json)
    try:
        found = check(store, settings, last, wait)
    except StoreError as error:
        raise store.unavailable(error) from error
    if as_json:
        print_json(as_document(found))
    else:
        show(found)
    return 0 if found.exact else 1


def check(store: Store, settings: SinkSettings, last: int, wait: int) -> Verification:
    """The account, once nothing that is missing was on its way for `wait` ms."""
    kept = (settings.retention_10s, settings.retention_1m, settings.retention_1h, settings.retention_1d)
    before: tuple[int, int] | None = None
    deadline = time.monotonic() + wait / 1000
    while True:
        now = time.time_ns() // 1_000_000
        since = 0 if last == FOR_EVER else now - last
        found = read_verification(store, settings.database, settings.region, kept, since, now)
        if found.exact or time.monotonic() >= deadline:
            return found
        if (found.lost, found.doubled) != before:  # blocks are still on their way: wait from here on
            if before is not None:
                note(f"{found.lost:,} points are on their way")
            before, deadline = (found.lost, found.doubled), time.monotonic() + wait / 1000
        time.sleep(0.5)


def _stand_watch(store: Store, settings: SinkSettings, last: int, wait: int, every: int, as_json: bool) -> int:
    """Check until Ctrl-C. The exit code tells whether any check found something."""
    from streamgauge.sinks.store import StoreError, error_text

    since: datetime | None = None
    code = 0
    try:
        while True:
            at = datetime.now(UTC)
            try:
                found = check(store, settings, last, wait)
            except StoreError as error:
                note(f"the store does not answer, trying again: {error_text(error)}")
            else:
                since = None if found.exact else since or at
                code = code or (0 if found.exact else 1)
                line = watch_line(found, at, since)
                click.echo(orjson.dumps(line).decode() if as_json else watch_text(line))
            time.sleep(every / 1000)
    except KeyboardInterrupt:
        return code


def watch_line(found: Verification, at: datetime, since: datetime | None) -> dict[str, object]:
    """One check: what is wrong, and since when a check found that."""
    return {
        "at": at.isoformat(timespec="seconds"),
        "exact": found.exact,
        "points": sum(one.points for one in found.partitions),
        "lost": found.lost,
        "doubled": found.doubled,
        "edited": len(found.values),
        "missing": found.missing,
        "refused": sum(found.refused.values()),
        "since": None if since is None else since.isoformat(timespec="seconds"),
    }


def watch_text(line: Mapping[str, object]) -> str:
    """The same for people."""
    verdict = "exact" if line["exact"] else f"not exact since {line['since']}"
    numbers = "   ".join(
        f"{key} {line[key]:,}" for key in ("points", "lost", "doubled", "edited", "missing", "refused")
    )
    return f"{line['at']}   {verdict}   {numbers}"


def as_document(found: Verification) -> dict[str, object]:
    """The account as one JSON document."""
    days = [
        {"day": day_text(one.day), "ledger": one.ledger}
        | {
            tier: None if pair is None else {"expected": pair[0], "found": pair[1]}
            for tier, pair in zip(TIER_NAMES, one.tiers, strict=True)
        }
        for one in found.days
    ]
    return {
        "partitions": [asdict(one) for one in found.partitions],
        "days": days,
        "points": sum(one.points for one in found.partitions),
        "refused": dict(found.refused),
        "values": [{**asdict(one), "day": day_text(one.day)} for one in found.values],
        "missing": found.missing,
        "lost": found.lost,
        "doubled": found.doubled,
    }


def show(found: Verification) -> None:
    """The account as tables."""
    print_table(
        ["topic", "partition", "offsets", "batches", "points", "ledger gaps"],
        [
            [
                p.topic,
                p.partition,
                f"{p.start:,} – {p.end:,}",
                f"{p.batches:,}",
                f"{p.points:,}",
                _faults(p.gaps, p.overlaps),
            ]
            for p in found.partitions
        ],
    )
    print_table(["day", "ledger", *TIER_NAMES], [[day_text(d.day), f"{d.ledger:,}", *_tiers(d)] for d in found.days])
    for one in found.values:
        click.echo(
            f"{day_text(one.day)}, tier {one.tier}: values add up to {one.found:,.10g}, those of the ledger to "
            f"{one.expected:,.10g}: rows were edited, or written by something else"
        )
    if found.missing:
        click.echo(f"missing {found.missing:,} batches that producers numbered and that never came")
    reasons = ", ".join(f"{reason} {points:,}" for reason, points in sorted(found.refused.items()))
    refused = sum(found.refused.values())
    click.echo(
        f"lost {found.lost:,}   doubled {found.doubled:,}   refused {refused:,}{f' ({reasons})' if reasons else ''}"
    )


def _faults(gaps: tuple[tuple[int, int], ...], overlaps: tuple[tuple[int, int], ...]) -> str:
    said = [f"missing {a:,} – {b:,}" for a, b in gaps] + [f"twice {a:,} – {b:,}" for a, b in overlaps]
    return ", ".join(said) or "none"


def _tiers(day: DayReport) -> list[str]:
    """`=` where a tier holds what it should, `–` where it has expired, else by how much it differs."""
    return ["–" if pair is None else "=" if pair[0] == pair[1] else f"{pair[1] - pair[0]:+,}" for pair in day.tiers]
