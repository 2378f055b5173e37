"""`streamgauge verify`: the ledger against the tables."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from streamgauge.console.accounts_store import day_text, read_verification
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.console.verify import DayReport, Verification
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.settings import SinkSettings

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
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
def verify(settings: SinkSettings, last: int, wait: int, as_json: bool) -> int:
    """Compare what the workers' ledger added with what every tier of the store holds, by UTC day.

    Exit code 1 when points are lost or doubled, or the ledger has holes or overlaps.
    """
    from streamgauge.sinks.store import Store

    store = Store(settings.address())
    store.check()
    kept = (settings.retention_10s, settings.retention_1m, settings.retention_1h, settings.retention_1d)
    before: tuple[int, int] | None = None
    deadline = time.monotonic() + wait / 1000
    while True:
        now = time.time_ns() // 1_000_000
        since = 0 if last == FOR_EVER else now - last
        found = read_verification(store, settings.database, settings.region, kept, since, now)
        if found.exact or time.monotonic() >= deadline:
            break
        if (found.lost, found.doubled) != before:  # blocks are still on their way: wait from here on
            if before is not None:
                note(f"{found.lost:,} points are on their way")
            before, deadline = (found.lost, found.doubled), time.monotonic() + wait / 1000
        time.sleep(0.5)
    if as_json:
        print_json(as_document(found))
    else:
        show(found)
    return 0 if found.exact else 1


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
