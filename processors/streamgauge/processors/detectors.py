"""Detectors: personal data in free text, recognised by form and checksum. Linear in the length of the text.

A first set: e-mail addresses, payment cards and IP addresses. Each match is replaced by its rule's name in brackets, so
that scrubbing twice changes nothing. Four numbers with dots may be a version as well as an address: they are scrubbed,
unless a letter stands before them (`v1.2.3.4`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_CHARS = 2_048
MAX_PASSES = 4
"""What is replaced may have hidden its neighbour. Text that needs more passes was made to be difficult."""
TOO_LONG, TANGLED = "too_long", "tangled"
UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
"""Characters of no width, which people and programs put into addresses."""
MIN_DIGITS, MAX_DIGITS, MIN_GROUP = 13, 19, 3
MAESTRO = frozenset({5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763})


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


def is_product(digits: str) -> bool:
    """Thirteen digits with the check digit of a product number (EAN, GTIN): far more of those travel than old cards."""
    weighted = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits))
    return len(digits) == 13 and weighted % 10 == 0


def is_issued(digits: str) -> bool:
    """Length, issuer prefix and checksum of a payment card: a checksum alone takes one number in ten for a card."""
    two, three, four, length = int(digits[:2]), int(digits[:3]), int(digits[:4]), len(digits)
    issued = (
        (digits[0] == "4" and length in {13, 16, 19})
        or (length == 16 and (51 <= two <= 55 or 2200 <= four <= 2204 or 2221 <= four <= 2720))
        or (length == 15 and two in {34, 37})
        or (length == 14 and (two in {36, 38, 39} or 300 <= three <= 305))
        or (16 <= length <= 19 and (four == 6011 or 644 <= three <= 649 or two in {62, 65, 81} or 3528 <= four <= 3589))
        or (13 <= length <= 19 and four in MAESTRO)
    )
    return issued and luhn(digits) and not is_product(digits)


def is_card(candidate: str) -> bool:
    """Whether a run of digits, with blanks or dashes between them, is a card or holds one as some of its groups.

    What stands beside a card is often a number too: a date of expiry, a verification code, an amount.
    """
    if not candidate.isascii():
        candidate = "".join(str(int(c)) if c.isdigit() else c for c in candidate)
    groups = candidate.replace("-", " ").split(" ")
    whole = "".join(groups)
    if len(whole) <= MAX_DIGITS and is_issued(whole):
        return True
    for first in range(len(groups)):
        digits = ""
        for group in groups[first : first + MAX_DIGITS // MIN_GROUP]:
            digits += group
            if len(group) < MIN_GROUP or len(digits) > MAX_DIGITS:
                break
            if len(digits) >= MIN_DIGITS and is_issued(digits):
                return True
    return False


def is_ipv4(candidate: str) -> bool:
    """Four octets in the strict form; nothing that names no one: loopback, broadcast, networks, as in `Chrome/131.0.0.0`."""
    try:
        address = IPv4Address(candidate)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.packed[0] in {0, 255} or address.packed.endswith(bytes(2)))


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
    return len(text) >= MIN_DIGITS and sum(map(str.isdigit, text)) >= MIN_DIGITS


DETECTORS = (
    Detector(
        "email",
        lambda text: "@" in text or "%40" in text,
        # the last label begins with a letter, so that `package@1.2.3` stays
        re.compile(r"[\w.%+\-']{1,64}(?:@|%40)(?:[\w\-]{1,63}\.){1,8}[^\W\d_][\w\-]{1,62}"),
        _always,
    ),
    Detector("card", _enough_digits, re.compile(r"(?<![\w.\-])\d(?:[ \-]?\d){12,}(?![\w\-]|\.\d)"), is_card),
    Detector(
        "ip", lambda text: text.count(".") >= 3, re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)"), is_ipv4
    ),
    Detector(
        "ip",
        lambda text: text.count(":") >= 2,
        # `ip:2001:db8::1` and `from 2001:db8::1: timeout` hold addresses too
        re.compile(r"(?:(?<![\w:])|(?<=[g-zG-Z_]:))[0-9A-Fa-f:]{1,38}(?:[0-9A-Fa-f]|::)(?!\w|:[0-9A-Fa-f:])"),
        is_ipv6,
    ),
)


def scrub_text(text: str, detectors: Sequence[Detector] = DETECTORS) -> tuple[str, tuple[str, ...]]:
    """The text without personal data, and the rules that found some. Text beyond `MAX_CHARS` is dropped whole.

    Other widths and invisible characters hide nothing; text in which nothing is found comes back as it was.
    """
    rules: list[str] = []
    for _ in range(MAX_PASSES):
        clean, found = _scrub_once(text, detectors)
        if not found:
            return text, tuple(dict.fromkeys(rules))
        text = clean
        rules += found
    return f"[{TANGLED}]", (TANGLED,)


def _scrub_once(text: str, detectors: Sequence[Detector]) -> tuple[str, list[str]]:
    too_long = len(text) > MAX_CHARS
    if not too_long and not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(UNSEEN))
        too_long = len(text) > MAX_CHARS
    if too_long:
        return f"[{TOO_LONG}]", [TOO_LONG]
    rules: list[str] = []
    for detector in detectors:
        if detector.gate(text):

            def replace(match: re.Match[str], detector: Detector = detector) -> str:
                if not detector.confirm(match[0]):
                    return match[0]
                rules.append(detector.rule)
                return f"[{detector.rule}]"

            text = detector.pattern.sub(replace, text)
    return text, rules
