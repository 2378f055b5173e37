"""Detectors: personal data in free text, recognised by form and checksum. Linear in the length of the text.

A first set: e-mail addresses, payment cards and IP addresses. Each match is replaced by its rule's name in brackets, so
that scrubbing twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_CHARS = 2_048
TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Detector:
    """`gate` says cheaply that there is nothing; `pattern` finds candidates; `confirm` tells them from look-alikes."""

    rule: str
    gate: Callable[[str], bool]
    pattern: re.Pattern[str]
    confirm: Callable[[str], bool]


def luhn(digits: str) -> bool:
    """The mod-10 checksum of ISO/IEC 7812-1, annex B."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(candidate: str) -> bool:
    """Length, issuer prefix and checksum of a payment card: a checksum alone takes one number in ten for a card."""
    digits = "".join(c for c in candidate if c.isdigit())
    two, four = int(digits[:2]), int(digits[:4])
    issued = (
        (digits[0] == "4" and len(digits) in {13, 16, 19})
        or (len(digits) == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (len(digits) == 15 and two in {34, 37})
        or (len(digits) == 14 and (two in {36, 38, 39} or 3000 <= four <= 3059))
        or (16 <= len(digits) <= 19 and (four == 6011 or two in {62, 65, 81} or 3528 <= four <= 3589))
    )
    return issued and luhn(digits)


def is_ipv4(candidate: str) -> bool:
    """Four octets in the strict form; nothing of the networks that name no one (0, loopback, broadcast)."""
    try:
        address = IPv4Address(candidate)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.packed[0] in {0, 255})


def is_ipv6(candidate: str) -> bool:
    """An IPv6 address with at least two groups that are not empty; clock times have too few colons to be one."""
    try:
        address = IPv6Address(candidate)
    except AddressValueError:
        return False
    return int(address) > 1 << 32


def _always(_: str) -> bool:
    return True


def _enough_digits(text: str) -> bool:
    return sum(map(str.isdigit, text)) >= 13


DETECTORS = (
    Detector(
        "email",
        lambda text: "@" in text or "%40" in text,
        re.compile(r"[A-Za-z0-9._%+\-']{1,64}(?:@|%40)[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}"),
        _always,
    ),
    Detector("card", _enough_digits, re.compile(r"(?<![\w.\-])\d(?:[ \-]?\d){12,18}(?![\w\-]|\.\d)"), is_card),
    Detector(
        "ip", lambda text: text.count(".") >= 3, re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)"), is_ipv4
    ),
    Detector("ip", lambda text: text.count(":") >= 2, re.compile(r"(?<![\w:])[0-9A-Fa-f:]{2,39}(?![\w:])"), is_ipv6),
)


def scrub_text(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without personal data, and the rules that found some. Text beyond `MAX_CHARS` is dropped whole."""
    if len(text) > MAX_CHARS:
        return f"[{TOO_LONG}]", (TOO_LONG,)
    rules: list[str] = []
    for detector in DETECTORS:
        if detector.gate(text):

            def replace(match: re.Match[str], detector: Detector = detector) -> str:
                if not detector.confirm(match[0]):
                    return match[0]
                rules.append(detector.rule)
                return f"[{detector.rule}]"

            text = detector.pattern.sub(replace, text)
    return text, tuple(dict.fromkeys(rules))
