"""Texts: what customers write into free text, some of it personal data of people who do not exist.

Addresses are of networks and domains that are reserved for documentation, cards are the networks' published test numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

_EMAILS: Final = (
    "maria.gonzalez@example.com",
    "j.smith@example.org",
    "yuki.tanaka@example.net",
    "o.brien@mail.example.com",
    "anna+shop@example.org",
    "lukas_weber@example.net",
    "priya.sharma@example.com",
    "tom.jones@post.example.org",
)
_CARDS: Final = ("4111 1111 1111 1111", "5555555555554444", "378282246310005", "6011-1111-1111-1117")
_ADDRESSES: Final = ("203.0.113.7", "198.51.100.23", "192.0.2.146", "203.0.113.201", "2001:db8::8a2e:370:7334")

COUPONS: Final = ("SPRING10", "WELCOME", "FREESHIP")
SEARCHES: Final = ("running shoes", "rain jacket", "tent for two", "headlamp", "wool socks", "trail map")
CLIENTS: Final = ("iOS 5.2", "Android 5.1", "Web Firefox", "Web Chrome", "Web Safari")
REASONS: Final = ("too late", "wrong size", "changed my mind", "found it cheaper")

PLANTED_COUPONS: Final = {
    **{f"from {one}": ("email",) for one in _EMAILS},
    **{f"refund to card {one}": ("card",) for one in _CARDS},
    f"{_EMAILS[0]} paid with {_CARDS[0]}": ("email", "card"),
}
PLANTED_SEARCHES: Final = {
    **{f"order of {one}": ("email",) for one in _EMAILS},
    **dict.fromkeys(_CARDS, ("card",)),
}
PLANTED_CLIENTS: Final = {f"{client} from {one}": ("ip",) for client in CLIENTS[:3] for one in _ADDRESSES}
PLANTED_REASONS: Final = {f"please write to {one}": ("email",) for one in _EMAILS}

PLANTED: Final = {**PLANTED_COUPONS, **PLANTED_SEARCHES, **PLANTED_CLIENTS, **PLANTED_REASONS}
"""Every text with personal data, and the rules that must find some in it."""


def choose(rng: Random, clean: tuple[str, ...], planted: Mapping[str, tuple[str, ...]], share: float) -> str:
    """A text: one of `planted` with this share, else a clean one."""
    return rng.choice(tuple(planted)) if rng.random() < share else rng.choice(clean)
