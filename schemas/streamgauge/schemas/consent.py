"""Consent: what a person has granted, as it travels with an event, and what may be done with the event on that ground.

Whoever says nothing grants nothing. It needs the standard library only: applications ask before anything is sent, workers
ask again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from streamgauge.schemas.errors import DeclarationError
from streamgauge.schemas.packing import Json, index_type, pack

CONSENT = "consent"
LEGAL_BASES = (CONSENT, "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests")
"""Article 6(1) of the GDPR, (a) to (f)."""
SHARING = frozenset({"advertising", "personalisation", "profiling", "sale", "sharing"})
"""Purposes that a Global Privacy Control signal (`Sec-GPC: 1`) objects to, whatever else was granted."""
MAX_PURPOSES, MAX_VERSION = 16, 64
NOT_GRANTED, OBJECTED, OTHER_BASIS = "no_consent", "gpc", "other_legal_basis"
DENIALS = frozenset({NOT_GRANTED, OBJECTED, OTHER_BASIS})
"""Why an event is dropped: what stands before the colon of `denial`."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}", re.ASCII)


def is_purpose(text: Any) -> bool:
    """Whether this can name a purpose: lower case, digits, `_` and `-`."""
    return type(text) is str and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person an event is about has granted: `purposes`, and the `version` of the text they agreed to.

    `gpc`: their browser sent a Global Privacy Control signal. `legal_basis`: the ground that the caller has for the event,
    where it says so; an event of a contract with another ground is dropped. Decode strings of a consent framework before:
    they are personal data themselves. Raises DeclarationError for what is no purpose, basis or version.
    """

    purposes: frozenset[str] = field(default_factory=frozenset[str])
    gpc: bool = False
    version: str = ""
    legal_basis: str = ""

    def __post_init__(self) -> None:
        if type(self.purposes) is not frozenset:
            given = self.purposes
            if isinstance(given, str):
                raise DeclarationError('purposes are several names: Consent({"analytics"})')
            object.__setattr__(self, "purposes", frozenset(given))
        if len(self.purposes) > MAX_PURPOSES or not all(map(is_purpose, self.purposes)):
            raise DeclarationError(
                f"a consent has at most {MAX_PURPOSES} purposes, named in lower case such as analytics"
            )
        if self.legal_basis and self.legal_basis not in LEGAL_BASES:
            raise DeclarationError(f"the legal basis is one of: {', '.join(LEGAL_BASES)}")
        if type(self.version) is not str or len(self.version) > MAX_VERSION or not self.version.isprintable():
            raise DeclarationError(f"the version of a consent text is a short name, {MAX_VERSION} characters at most")


NOTHING_GRANTED = Consent()


def is_gated(purposes: Iterable[str], legal_basis: str) -> bool:
    """Whether it depends on the person what becomes of an event with these purposes on this ground."""
    return legal_basis == CONSENT or not SHARING.isdisjoint(purposes)


def denial(purposes: Iterable[str], legal_basis: str, consent: Consent) -> str:
    """Why an event must be dropped, as `reason:purpose`; empty when it may be used for all of `purposes`.

    Totals do not tell purposes apart, so one that is denied denies the event.
    """
    if consent.legal_basis and legal_basis and consent.legal_basis != legal_basis:
        return f"{OTHER_BASIS}:{consent.legal_basis}"
    for purpose in purposes:
        if consent.gpc and purpose in SHARING:
            return f"{OBJECTED}:{purpose}"
        if legal_basis == CONSENT and purpose not in consent.purposes:
            return f"{NOT_GRANTED}:{purpose}"
    return ""


def pack_consents(consents: Collection[Consent | None]) -> Json:
    """The consents of a batch's events as a dictionary column; a missing one grants nothing."""
    positions: dict[Consent | None, int] = {}
    index = [positions.setdefault(one, len(positions)) for one in consents]
    return {
        "d": [None if one is None else _json(one) for one in positions],
        "i": pack(index_type(len(positions)), index),
    }


def _json(one: Consent) -> Json:
    body: Json = {"purposes": sorted(one.purposes)}
    if one.gpc:
        body["gpc"] = True
    if one.version:
        body["version"] = one.version
    if one.legal_basis:
        body["legal_basis"] = one.legal_basis
    return body


def consent_of(body: Any) -> Consent | None:
    """A consent from its JSON object; None when it is none, whatever it is."""
    if not isinstance(body, dict) or not isinstance(purposes := cast("Json", body).get("purposes", []), list):
        return None
    given = cast("Json", body)
    gpc, version, basis = given.get("gpc", False), given.get("version", ""), given.get("legal_basis", "")
    names = cast("list[Any]", purposes)
    if type(gpc) is not bool or type(version) is not str or type(basis) is not str or not all(map(is_purpose, names)):
        return None
    try:
        return Consent(frozenset(cast("list[str]", names)), gpc, version, basis)
    except DeclarationError:
        return None
