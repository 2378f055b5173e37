"""What `streamgauge verify` says: an account as tables, as one JSON document, and as one line of a watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import click

from streamgauge.console.accounts_store import day_text
from streamgauge.console.output import print_table
from streamgauge.console.verify import Chain, DayReport, Verification
from streamgauge.schemas.windows import TIER_NAMES


def watch_line(found: Verification, at: datetime, since: datetime | None) -> dict[str, object]:
    """One check: what is wrong, and since when a check found that."""
    return {
        "at": at.isoformat(timespec="seconds"),
        "exact": found.exact,
        "points": found.points,
        "lost": found.lost,
        "doubled": found.doubled,
        "moving": found.moving,
        "edited": len(found.values),
        "misplaced": found.misplaced,
        "missing": found.missing,
        "refused": sum(found.refused.values()),
        "since": None if since is None else since.isoformat(timespec="seconds"),
    }


def watch_text(line: Mapping[str, object]) -> str:
    """The same for people."""
    verdict = "exact" if line["exact"] else f"not exact since {line['since']}"
    numbers = "   ".join(
        f"{key} {line[key]:,}"
        for key in ("points", "lost", "doubled", "moving", "edited", "misplaced", "missing", "refused")
    )
    return f"{line['at']}   {verdict}   {numbers}"


def as_document(found: Verification) -> dict[str, object]:
    """The account as one JSON document."""
    days = [
        {"day": day_text(one.day), "ledger": one.ledger}
        | {
            tier: None if pair is None else _tier_document(one, number, pair)
            for number, (tier, pair) in enumerate(zip(TIER_NAMES, one.tiers, strict=True))
        }
        for one in found.days
    ]
    return {
        "partitions": [asdict(one) for one in found.partitions],
        "blocks": [asdict(one) for one in found.blocks],
        "live": None if found.live is None else [asdict(one) for one in found.live],
        "days": days,
        "events": asdict(found.events),
        "points": found.points,
        "refused": dict(found.refused),
        "values": [{**asdict(one), "day": day_text(one.day)} for one in found.values],
        "missing": found.missing,
        "misplaced": found.misplaced,
        "moving": found.moving,
        "lost": found.lost,
        "doubled": found.doubled,
        "forgotten": found.forgotten,
        "since": None if found.since_ms is None else _instant(found.since_ms),
    }


def _tier_document(day: DayReport, tier: int, pair: tuple[int, int]) -> dict[str, object]:
    document: dict[str, object] = {"expected": pair[0], "found": pair[1]}
    return document | ({"forgotten": day.forgotten(tier)} if tier in day.at_most else {})


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


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
                _faults(p),
            ]
            for p in found.partitions
        ],
    )
    if bad := [one for one in found.blocks if one.missing or one.repeated]:
        print_table(
            ["topic", "partition", "offsets", "block gaps"],
            [[one.topic, one.partition, f"{one.start:,} – {one.end:,}", _faults(one)] for one in bad],
        )
    for live in found.live or ():
        if live.unaccounted:
            by = "transaction" if live.raw else "block"
            click.echo(
                f"{live.topic}/{live.partition}: committed up to offset {live.committed:,}, and the store has no {by} of "
                f"the last {live.unaccounted:,}"
            )
    print_table(["day", "ledger", *TIER_NAMES], [[day_text(d.day), f"{d.ledger:,}", *_tiers(d)] for d in found.days])
    if found.forgotten:
        click.echo(
            f"{found.forgotten:,} points are forgotten: contracts let tiers keep them for less long than others of their day. "
            "Whether others are lost among them cannot be told; see the tiers that keep the day whole"
        )
    if found.events.stored or found.events.ledger:
        sent = "" if found.events.ledger is None else f", {found.events.ledger:,} in the ledger"
        twice = f", {found.events.repeated:,} of blocks that came twice" if found.events.repeated else ""
        click.echo(f"single events: {found.events.stored:,} in blocks{sent}{twice}")
    for one in found.values:
        click.echo(
            f"{day_text(one.day)}, tier {one.tier}: values add up to {one.found:,.10g}, those of the ledger to "
            f"{one.expected:,.10g}: rows were edited, or written by something else"
        )
    if found.since_ms is not None:
        click.echo(f"the first range that does not meet the one before it was written at {_instant(found.since_ms)}")
    if found.moving:
        click.echo(f"{found.moving:,} points may be on their way: look again, or see how far the sinks are")
    if found.missing:
        click.echo(f"missing {found.missing:,} batches that producers numbered and that never came")
    reasons = ", ".join(f"{reason} {points:,}" for reason, points in sorted(found.refused.items()))
    refused = sum(found.refused.values())
    click.echo(
        f"lost {found.lost:,}   doubled {found.doubled:,}   refused {refused:,}{f' ({reasons})' if reasons else ''}"
    )


def _faults(one: Chain) -> str:
    said = [f"missing {a:,} – {b:,}" for a, b in one.gaps] + [f"twice {a:,} – {b:,}" for a, b in one.overlaps]
    return ", ".join([*said[:3], *(["…"] if len(said) > 3 else [])]) or "none"


def _tiers(day: DayReport) -> list[str]:
    """`=` where a tier holds what it should, `–` where it has expired, else by how much it differs, and whether it may."""
    return [
        "–" if pair is None else "=" if pair[0] == pair[1] else f"{pair[1] - pair[0]:+,}{_may(day, tier)}"
        for tier, pair in enumerate(day.tiers)
    ]


def _may(day: DayReport, tier: int) -> str:
    return " forgotten" if day.forgotten(tier) else ""
