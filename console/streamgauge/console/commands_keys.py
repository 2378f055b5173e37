"""`streamgauge keys`: make, list, rotate and destroy the keys of a region's pseudonyms. No key is ever printed."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json, print_table
from streamgauge.processors.key_sources import PROVIDER, key_source
from streamgauge.processors.keyring import Key, Keyring, KeyState, day_of, new_ring, next_day
from streamgauge.processors.keyring_file import audit_path, change_ring, create_ring, read_ring
from streamgauge.processors.pseudonyms import pseudonym_key
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.schemas.errors import InputError, SettingsError
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.topics import RAW_TOPICS

NEW_HELP = """Make a key ring, in a file that only you may read. A ring that is there already is never replaced.

Its first key is in force for all times until the first rotation. Back the file up apart from Kafka and ClickHouse: without
it nobody can be recognised, and with it everybody can. --take-over makes the key in STREAMGAUGE_PSEUDONYM_KEY the first one,
so that its hashes stay; then unset that variable.

Example: streamgauge keys new --keys keys.json
"""
LIST_HELP = """List the keys of the ring: id, fingerprint, days and state. Exit code 1 when none can be used now.

Example: streamgauge keys list --keys keys.json
"""
ROTATE_HELP = """Add a key that is in force from the next midnight UTC on, or from a later day.

Workers read the ring again by themselves and change over at the same event time; the older key goes on hashing events of
its days. People who come on both sides of the change count twice in windows that span it.

Example: streamgauge keys rotate --keys keys.json --from 2027-01-01
"""
DESTROY_HELP = """Destroy a key: nobody, we included, can tell any more whom its pseudonyms stood for. It cannot be undone.

The secret is overwritten; a tombstone stays in the ring, and a line in the log beside it. Refused while the key is in force,
or events of its days may still come: late ones (--accepted-age), or ones that were refused and are replayed
(--raw-retention). Copies of the ring are yours to destroy.

Example: streamgauge keys destroy k1 --keys keys.json
"""
RAW_RETENTION = f"{max(topic.retention_ms for topic in RAW_TOPICS) // 86_400_000}d"


@click.group()
def keys() -> None:
    """Make, list, rotate and destroy the keys under which people are counted. No key is ever printed.

    Example: streamgauge keys list --keys keys.json
    """


@keys.command(help=NEW_HELP)
@click.option("--take-over", is_flag=True, help="Make the key in STREAMGAUGE_PSEUDONYM_KEY the first one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ProcessorSettings, "keys")
def new(settings: ProcessorSettings, take_over: bool, as_json: bool) -> None:
    """Make, write, print."""
    path, now_ms = _file(settings), _now_ms()
    if settings.pseudonym_key and not take_over:
        raise SettingsError(
            ["STREAMGAUGE_PSEUDONYM_KEY is set: say --take-over to go on with its hashes, or unset it to begin anew"]
        )
    if take_over and not settings.pseudonym_key:
        raise SettingsError(["there is nothing to take over: STREAMGAUGE_PSEUDONYM_KEY is not set"])
    first = pseudonym_key(settings.pseudonym_key) if take_over else secrets.token_bytes(32)
    ring = new_ring(now_ms, first, secrets.token_bytes(32), take_over)
    create_ring(path, ring, now_ms)
    _print(ring, str(path), now_ms, as_json)
    if not as_json:
        note(f"{path}: made, for your eyes only; give its path to every worker of the region as STREAMGAUGE_KEYS")


@keys.command(name="list", help=LIST_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ProcessorSettings, "keys")
def list_command(settings: ProcessorSettings, as_json: bool) -> int:
    """Read and print."""
    now_ms = _now_ms()
    ring = key_source(settings.keys, settings.pseudonym_key).read()
    _print(ring, settings.keys or "STREAMGAUGE_PSEUDONYM_KEY", now_ms, as_json)
    sys.stdout.flush()
    try:
        ring.check(now_ms)
    except SettingsError as error:
        note(str(error))
        return FINDING
    return 0


@keys.command(help=ROTATE_HELP)
@click.option("--from", "day", metavar="DAY", help="YYYY-MM-DD (UTC); today only if today's key was destroyed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ProcessorSettings, "keys")
def rotate(settings: ProcessorSettings, day: str | None, as_json: bool) -> None:
    """Add a key, print the ring."""
    path, now_ms = _file(settings), _now_ms()
    from_ms = next_day(now_ms) if day is None else parse_day(day, now_ms)
    secret = secrets.token_bytes(32)

    def change(ring: Keyring) -> tuple[Keyring, Key]:
        after = ring.rotated(from_ms, now_ms, secret)
        (added,) = set(after.keys) - set(ring.keys)
        return after, added

    ring = change_ring(path, "rotated", now_ms, change)
    _print(ring, str(path), now_ms, as_json)
    if not as_json:
        newest = max(ring.keys, key=lambda key: key.number)
        note(f"{newest.id} ({newest.fingerprint}) is in force for events from {day_of(newest.from_ms)} on")


@keys.command(help=DESTROY_HELP)
@click.argument("key_id", metavar="ID")
@click.option("--raw-retention", default=RAW_RETENTION, show_default=True, help="How long raw topics keep messages.")
@click.option(
    "--although-needed", is_flag=True, help="Destroy it even so: what still comes of its days is not counted distinct."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(ProcessorSettings, "keys", "accepted_age")
def destroy(
    settings: ProcessorSettings, key_id: str, raw_retention: str, although_needed: bool, yes: bool, as_json: bool
) -> None:
    """Check, ask, destroy, print."""
    path, now_ms = _file(settings), _now_ms()
    try:
        kept_ms = duration_ms(raw_retention)
    except ValueError as error:
        raise InputError(f"--raw-retention: {error}") from None
    for_ever = FOR_EVER in (kept_ms, settings.accepted_age)
    overlap_ms = None if for_ever else settings.accepted_age + kept_ms

    def change(ring: Keyring) -> tuple[Keyring, Key]:
        key = ring.named(key_id)
        after = ring.destroyed(key_id, now_ms)
        if not although_needed:
            _refuse_if_needed(ring, key, overlap_ms, now_ms)
        return after, key

    before = read_ring(path)
    key = change(before)[1]
    if not yes:
        click.confirm(f"{key.id} ({key.fingerprint}): destroy it for ever?", abort=True, err=True)
    ring = change_ring(path, "destroyed", now_ms, change)
    _print(ring, str(path), now_ms, as_json)
    if not as_json:
        note(
            f"{key.id} ({key.fingerprint}) is destroyed; see {audit_path(path)}. Workers forget it when they read the ring"
        )


def _refuse_if_needed(ring: Keyring, key: Key, overlap_ms: int | None, now_ms: int) -> None:
    """Raises InputError for a key that hashes values now, or may have to."""
    even_so = "Say --although-needed to destroy it even so: values of its days are then not counted distinct any more"
    state = ring.state(key, now_ms)
    if state is KeyState.FUTURE:
        return
    if state is KeyState.CURRENT:
        raise InputError(f"{key.id} is in force now: rotate first, and wait. {even_so}")
    until_ms = None if overlap_ms is None else ring.needed_until_ms(key, overlap_ms)
    if until_ms is None:
        raise InputError(f"{key.id} is needed for ever: events of any age are taken. {even_so}")
    if now_ms < until_ms:
        raise InputError(
            f"{key.id} is needed until {day_of(until_ms)}: events of its days may still come late, or be replayed. {even_so}"
        )


def parse_day(text: str, now_ms: int) -> int:
    """`YYYY-MM-DD` or `today` as midnight UTC. Raises InputError."""
    if text == "today":
        return now_ms - now_ms % 86_400_000
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise InputError(f"--from: say a day as YYYY-MM-DD, such as {day_of(next_day(now_ms))}, or today") from None


def _file(settings: ProcessorSettings) -> Path:
    if not settings.keys:
        raise SettingsError(["which key ring? name its file with --keys, or STREAMGAUGE_KEYS"])
    if settings.keys.startswith(PROVIDER):
        raise SettingsError([f"{settings.keys}: keys of a provider are made and destroyed there, not here"])
    return Path(settings.keys)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def ring_json(ring: Keyring, where: str, now_ms: int) -> dict[str, Any]:
    """What may be told of a ring."""
    return {
        "ring": where,
        "keys": [
            {
                "id": key.id,
                "fingerprint": key.fingerprint,
                "state": str(ring.state(key, now_ms)),
                "from": day_of(key.from_ms) if key.from_ms else None,
                "until": None if key.withdrawn or (until := ring.until_ms(key)) is None else day_of(until),
                "created_ms": key.created_ms,
                "destroyed_ms": key.destroyed_ms or None,
            }
            for key in ring.keys
        ],
        "recognition": ring.recognition.fingerprint,
    }


def _print(ring: Keyring, where: str, now_ms: int, as_json: bool) -> None:
    body = ring_json(ring, where, now_ms)
    if as_json:
        print_json(body)
        return
    rows = [
        (one["id"], one["fingerprint"], one["from"] or "ever", one["until"] or "", one["state"]) for one in body["keys"]
    ]
    print_table(("key", "fingerprint", "from", "until", "state"), rows)
