"""`streamgauge dead`: look at what was refused, and send it again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import click

from streamgauge.console.asking import StoreReader, connect
from streamgauge.console.cli import FINDING, INTERRUPTED
from streamgauge.console.dead_letters import (
    NEWEST_FIRST,
    Wanted,
    count_letters,
    fields_text,
    instant_text,
    letter_json,
    of_earlier_life,
    origin_of,
    parse_origin,
    parse_since,
    raw_topics,
    read_letters,
    rows_text,
    topic_name,
)
from streamgauge.console.dead_replay import SKIPPED, AgainSender, ReplayAccount, copy_of, is_of, replay_letters
from streamgauge.console.hashing import hasher_of
from streamgauge.console.interrupts import deferred_interrupt
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table, printable, progress
from streamgauge.console.raw_log import Absence, RawLog
from streamgauge.console.settings import ConsoleSettings
from streamgauge.processors.policy import TOO_OLD
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.topics import DEAD

LIST_HELP = """List dead letters, the newest first, or count them by reason with --summary.

Letters appear in the store about a second after the refusal. `rows` counts points.

Example: streamgauge dead list --reason unknown_contract --since 24h
"""
SHOW_HELP = """Show everything that is known of the refusals of one raw message, and whether the message still is there.

ORIGIN is TOPIC:PARTITION:OFFSET, as `dead list` prints it. Values are cleaned and only of declared fields; the raw message
itself is never shown.

Example: streamgauge dead show events:2:1201
"""
REPLAY_HELP = """Send what was refused again: the raw messages, restricted to the refused rows.

Put right first what they were refused for (publish the contract, for instance). Each refusal counts once, however often it
is replayed. Needs STREAMGAUGE_KEYS, by which raw messages are recognised. too_old needs --backfill. Refusals of
replays are left out without --again. Exit code 1 when something could not be sent.

Example: streamgauge dead replay --reason unknown_contract --event order_placed --dry-run
"""
SENT_WITHIN_S = 60.0
Command = Callable[..., Any]


@click.group()
def dead() -> None:
    """Look at what was refused, and send it again.

    Example: streamgauge dead list --summary
    """


def _filters(command: Command) -> Command:
    for option in (
        click.option("--since", default="forever", help="So long ago (24h) or an instant; when it was refused."),
        click.option("--topic", "topics", multiple=True, help="Only of this topic (events, metrics, …); repeatable."),
        click.option("--event", "events", multiple=True, help="Only of this event; repeatable."),
        click.option("--reason", "reasons", multiple=True, help="Only refused for this reason; repeatable."),
    ):
        command = option(command)
    return command


def _wanted(
    settings: ConsoleSettings,
    reasons: tuple[str, ...],
    events: tuple[str, ...],
    topics: tuple[str, ...],
    since: str,
    again: bool = True,
) -> Wanted:
    named = tuple(topic_name(topic, settings.region) for topic in topics)
    return Wanted(settings.region, reasons, events, named, parse_since(since, time.time_ns() // 1_000_000), again=again)


@dead.command(name="list", help=LIST_HELP)
@_filters
@click.option("--summary", is_flag=True, help="Count by reason.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Letters to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "region", "store", "store_user", "database")
def list_command(
    settings: ConsoleSettings,
    reasons: tuple[str, ...],
    events: tuple[str, ...],
    topics: tuple[str, ...],
    since: str,
    summary: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Read and print."""
    wanted = _wanted(settings, reasons, events, topics, since)
    with closing(connect(settings)) as client:
        store = StoreReader(client, settings.store)
        counts = count_letters(store, settings.database, wanted)
        letters = [] if summary else read_letters(store, settings.database, wanted, NEWEST_FIRST, limit)
    if summary and as_json:
        fields = ("reason", "letters", "points", "again", "first", "last")
        print_json([dict(zip(fields, row, strict=True)) for row in _count_rows(counts)])
    elif summary:
        print_table(("reason", "letters", "points", "of replays", "first", "last"), _count_rows(counts))
    elif as_json:
        print_json([letter_json(letter) for letter in letters])
    else:
        names = ("refused at", "origin", "reason", "points", "rows", "event", "service", "detail", "replay")
        print_table(names, [_row(letter) for letter in letters])
        if (total := sum(one.letters for one in counts)) > len(letters):
            note(f"{len(letters):,} of {total:,} letters; --limit shows more, --summary counts them")


def _count_rows(counts: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [
        (one.reason, one.letters, one.points, one.again, instant_text(one.first_ms), instant_text(one.last_ms))
        for one in counts
    ]


def _row(letter: DeadLetter) -> tuple[object, ...]:
    event = f"{letter.event} {letter.contract or ''}".strip()
    return (
        instant_text(letter.at_ms), origin_of(letter).text(letter.region), letter.reason, letter.rows,
        rows_text(letter.which), event, letter.service, letter.detail, letter.again or "",
    )  # fmt: skip


@dead.command(help=SHOW_HELP)
@click.argument("origin")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "store", "store_user", "database", "kafka", "keys")
def show(settings: ConsoleSettings, origin: str, as_json: bool) -> int:
    """Read, look at the raw topic, print."""
    wanted = Wanted(settings.region, origin=parse_origin(origin, settings.region))
    with closing(connect(settings)) as client:
        letters = read_letters(StoreReader(client, settings.store), settings.database, wanted)
    if not letters:
        note(f"no dead letter of {origin} in region {settings.region}; `streamgauge dead list` shows what there is")
        return FINDING
    found = [(letter, _presence(settings, letter)) for letter in letters]
    if as_json:
        print_json([letter_json(letter) | {"raw": said} for letter, said in found])
        return 0
    for letter, said in found:
        _print_letter(letter, said)
    return 0


def _lived(settings: ConsoleSettings) -> frozenset[str]:
    """Topics whose lives tell of a letter's: the in-process broker knows none."""
    return frozenset() if settings.embedded else raw_topics(settings.region) | {DEAD.name(settings.region)}


def _presence(settings: ConsoleSettings, letter: DeadLetter) -> str:
    """Whether the raw message still is there, in words."""
    if letter.topic not in raw_topics(settings.region):
        return "stands in a topic that nobody replays into"
    try:
        with closing(RawLog(settings.kafka_config())) as log:
            if of_earlier_life(letter, log.lives(_lived(settings))):
                return "gone: the topic was made anew since"
            raw = log.find(copy_of(letter))
    except BrokerUnavailable as error:
        return f"not known: {error}"
    if raw is Absence.GONE:
        return "gone: the raw topic's retention has passed"
    if raw is Absence.NEVER:
        return "not there: its offset lies beyond the end of the topic"
    if not letter.hash:
        return "a message is there; its letter records no hash to recognise it by"
    if not settings.has_keys:
        same = len(raw.value or b"") == letter.size
        said = "a message of its length is there" if same else "another message stands there"
        return f"{said}; set STREAMGAUGE_KEYS to be sure"
    return "there" if is_of(letter, raw, hasher_of(settings).recognises) else "another message stands there"


def _print_letter(letter: DeadLetter, raw: str) -> None:
    event = f"{letter.event} version {letter.contract}" if letter.contract else letter.event
    lines = [
        ("origin", origin_of(letter).text(letter.region)),
        ("reason", f"{letter.reason}{': ' if letter.detail else ''}{letter.detail}"),
        ("refused at", f"{instant_text(letter.at_ms)} UTC"),
        ("event", event),
        ("service", letter.service),
        ("points", f"{letter.rows:,}"),
        ("rows", rows_text(letter.which)),
        ("size", f"{letter.size:,} bytes" if letter.hash else ""),
        ("hash", letter.hash),
        ("replay", f"the replay at offset {letter.again} was refused" if letter.again else ""),
        ("raw", raw),
    ]
    for name, value in lines:
        if value:
            sys.stdout.write(f"{name:<11} {printable(value)}\n")
    for row in letter.sample:
        head = f"{row.metric}  " if row.metric else ""
        text = f"{instant_text(row.at_ms)}  {head}{fields_text(row.fields)}"
        sys.stdout.write(f"  row {row.row:<5} {printable(text)}\n")
    sys.stdout.write("\n")


@dataclass(slots=True)
class _DrySend:
    """Counts what would be sent."""

    account: ReplayAccount

    def __call__(self, letter: DeadLetter, _: object, __: object) -> None:
        self.account.sent += 1
        self.account.points += letter.rows


@dead.command(help=REPLAY_HELP)
@_filters
@click.option("--backfill", is_flag=True, help="Exempt what is sent from the limit on age.")
@click.option("--again", is_flag=True, help="Also what was refused when it was replayed.")
@click.option("--dry-run", is_flag=True, help="Look for the raw messages, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@with_settings(ConsoleSettings, "brokers", "region", "store", "store_user", "database", "kafka", "keys")
def replay(
    settings: ConsoleSettings,
    reasons: tuple[str, ...],
    events: tuple[str, ...],
    topics: tuple[str, ...],
    since: str,
    backfill: bool,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Read the letters, send their messages, print the account."""
    hasher = hasher_of(settings)
    wanted = _wanted(settings, reasons, events, topics, since, again)
    with closing(connect(settings)) as client:
        letters = read_letters(StoreReader(client, settings.store), settings.database, wanted, samples=False)
    if not backfill and any(letter.reason == TOO_OLD for letter in letters):
        note(
            f"{TOO_OLD} will be refused again unless the limit was raised: say --backfill, or leave it out with --reason"
        )
    account = ReplayAccount(len(letters))
    with deferred_interrupt() as check, progress("replay") as report:
        sender = AgainSender(settings.kafka_config(), account, check)
        send = _DrySend(account) if dry_run else sender.send
        with closing(RawLog(settings.kafka_config(), check)) as log:
            try:
                lives = log.lives(_lived(settings))
                replay_letters(
                    letters, log, send, hasher.recognises, raw_topics(settings.region), account, backfill, report,
                    lambda letter: of_earlier_life(letter, lives),
                )  # fmt: skip
            except KeyboardInterrupt:
                account.interrupted = True
            finally:
                sender.close(SENT_WITHIN_S)
    _print(account, as_json, dry_run)
    if account.interrupted:
        return INTERRUPTED
    return 0 if account.complete else FINDING


def _print(account: ReplayAccount, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(account.json() | {"dry_run": dry_run})
        return
    would = "would be sent" if dry_run else "sent"
    sys.stdout.write(f"{account.letters:,} letters: {account.sent:,} {would} ({account.points:,} points)\n")
    if account.gone:
        sys.stdout.write(f"  {account.gone:,} gone: the raw topic's retention has passed\n")
    for reason, count in account.skipped.items():
        sys.stdout.write(f"  {count:,} skipped: {SKIPPED[reason]}\n")
    for reason, count in account.failed.items():
        sys.stdout.write(f"  {count:,} not taken by the broker: {reason}\n")
