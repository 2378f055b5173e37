"""Posted events: a JSON object, an array of them, or one a line, read into events with a time and a context. Pure.

{"event": "order_placed", "fields": {"country": "JP", "amount": 42.5}, "version": 1, "at": "2026-11-23T10:00:00Z",
 "context": {"service": "till", "environment": "production"}}

`version`, `at` (also ms since the epoch), `context` and `consent` ({"purposes": ["analytics"], "gpc": false, "version": "3",
"legal_basis": "consent"}, each of them optional) may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from streamgauge.console.gateway_account import Refusal
from streamgauge.console.gateway_senders import CONTEXT_NAMES
from streamgauge.schemas.consent import Consent, consent_of

KEYS = frozenset({"event", "fields", "version", "at", "context", "consent"})
MAX_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Posted:
    """One event as it was posted, its shape checked, its fields not. `version` and `at_ms` are None where nothing is said."""

    event: str
    fields: Mapping[str, Any]
    version: int | None = None
    at_ms: int | None = None
    context: tuple[tuple[str, str], ...] = field(default_factory=tuple)
    consent: Consent | None = None


def documents(body: bytes) -> Sequence[Any]:
    """The events of a body, not looked at. Raises Refusal: `bad_json`, `empty`, `too_many_events`."""
    if not body.strip():
        raise Refusal("empty", "the body is empty; send a JSON object, an array of them, or one a line")
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"\n" not in body.strip():
            raise Refusal("bad_json", f"the body is not JSON (line {error.lineno}, column {error.colno})") from None
        found = _by_line(body)
    many: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [found]
    if not many:
        raise Refusal("empty", "there is no event in the body")
    if len(many) > MAX_EVENTS:
        raise Refusal("too_many_events", f"{len(many)} events; send {MAX_EVENTS} at most in one request")
    return many


def _by_line(body: bytes) -> list[Any]:
    found: list[Any] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                raise Refusal("bad_json", f"line {number} is not JSON") from None
    return found


def posted(document: Any) -> Posted:
    """One event. Raises Refusal `bad_event` that names what is wrong, never a value."""
    if not isinstance(document, dict):
        raise _bad("an event is a JSON object")
    body = cast("dict[str, Any]", document)
    if strange := sorted(body.keys() - KEYS):
        raise _bad(f"{strange[0][:64]!r} is no key of an event; fields stand under 'fields'")
    name, fields, version = body.get("event"), body.get("fields", {}), body.get("version")
    if type(name) is not str or not name:
        raise _bad("'event' must be the name of a contract")
    if type(fields) is not dict:
        raise _bad("'fields' must be an object")
    if version is not None and (type(version) is not int or version < 1):
        raise _bad("'version' must be a number, 1 or more")
    consent = body.get("consent")
    if consent is not None and (consent := consent_of(consent)) is None:
        raise _bad("'consent' has purposes (a list of names in lower case), gpc, version, legal_basis")
    at_ms, context = _instant(body.get("at")), _context(body.get("context"))
    return Posted(name, cast("dict[str, Any]", fields), version, at_ms, context, consent)


def _bad(text: str) -> Refusal:
    return Refusal("bad_event", text)


def _instant(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return value
    if type(value) is str and len(value) <= 40:
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise _bad("'at' is no time: say 2026-11-23T10:00:00Z, or ms since the epoch") from None
        if at.tzinfo is None:
            raise _bad("'at' has no time zone: add Z, or an offset")
        try:
            return max(0, round(at.astimezone(UTC).timestamp() * 1000))
        except (OverflowError, OSError, ValueError):
            raise _bad("'at' lies outside all calendars") from None
    raise _bad("'at' must be a text such as 2026-11-23T10:00:00Z, or ms since the epoch")


def _context(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if type(value) is not dict:
        raise _bad("'context' must be an object")
    pairs = cast("dict[str, Any]", value)
    if strange := sorted(pairs.keys() - CONTEXT_NAMES):
        raise _bad(f"'context' has no {strange[0][:64]!r}; it has {', '.join(sorted(CONTEXT_NAMES))}")
    if not all(type(text) is str and len(text) <= 256 for text in pairs.values()):
        raise _bad("'context' holds texts of at most 256 characters")
    return tuple(sorted(pairs.items()))
