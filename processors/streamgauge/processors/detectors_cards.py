"""Payment cards: an issuer's prefix at a length that it issues, and the checksum."""

from __future__ import annotations

import re

from streamgauge.processors.detectors_rule import APART, Detector, when

MIN_DIGITS, MAX_DIGITS, MIN_GROUP = 12, 19, 3
MAESTRO = frozenset({5018, 5020, 5038, 5893, 6304, 6390, 6759, 6761, 6762, 6763})
"""More prefixes at 12 digits would take the account numbers of clouds for cards."""
_NOT_DIGITS = re.compile(r"\D+")


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
        or (
            length == 16
            and (
                51 <= two <= 55
                or 2200 <= four <= 2204
                or 2221 <= four <= 2720
                or four == 6011
                or 644 <= three <= 649
                or two in {65, 81, 82}
                or two == 35
                or 5085 <= four <= 5089
                or 6069 <= four <= 6085
            )
        )
        or (length == 15 and (two in {34, 37} or four in {1800, 2131}))
        or (length in {14, 16} and (two in {36, 38, 39} or 300 <= three <= 305))
        or (16 <= length <= 19 and (two == 62 or 56 <= two <= 58))
        or (12 <= length <= 19 and four in MAESTRO)
    )
    return issued and luhn(digits) and not is_product(digits)


def is_card(candidate: str) -> bool:
    """Whether digits with something between their groups are a card, or hold one as some of their groups.

    What stands beside a card is often a number too: a date of expiry, a verification code, an amount.
    """
    groups = _NOT_DIGITS.sub(" ", candidate).strip().split(" ")
    whole = "".join(groups)
    if _least(len(groups)) <= len(whole) <= MAX_DIGITS and is_issued(whole):
        return True
    if len(groups) == 1:
        return False
    for first in range(len(groups)):
        digits = ""
        for count, group in enumerate(groups[first : first + MAX_DIGITS // MIN_GROUP], 1):
            digits += group
            if len(group) < MIN_GROUP or len(digits) > MAX_DIGITS:
                break
            if len(digits) >= _least(count) and is_issued(digits):
                return True
    return False


def _least(groups: int) -> int:
    """The least digits of a card in so many groups: two numbers with a dash between them are a range sooner than an odd card."""
    return 15 if groups == 2 else MIN_DIGITS


CARDS = (
    Detector(
        "card",
        (r"(?:^|[^0-9A-Za-z.])(?:18|2[1-7]|3[04-9]|4[0-9]|5[0-8]|6[0-9]|8[12])(?:[ \n\t-]?[0-9]){10}",),
        # an underscore before it is a boundary, `payment_4111…`; a fraction or a word is none
        re.compile(r"(?<![A-Za-z0-9.\-])(?<!\d,)\d(?:[ \-\n\t]?\d){11,}(?![A-Za-z0-9_\-]|\.\d)"),
        when(is_card),
        yields=True,
    ),
    Detector(
        "card",
        (
            APART + r"[0-9]{4}[^0-9A-Za-z]{1,3}[0-9]{4}[^0-9A-Za-z]{1,3}[0-9]{4}[^0-9A-Za-z]{1,3}[0-9]",
            APART + r"3[0-9]{3}[^0-9A-Za-z]{1,3}[0-9]{6}[^0-9A-Za-z]{1,3}[0-9]{4}",
        ),
        re.compile(
            r"(?<![A-Za-z0-9.\-])(?:\d{4}(?:[^\dA-Za-z]{1,3}\d{4}){3}(?:[^\dA-Za-z]{1,3}\d{3})?"
            r"|3\d{3}[^\dA-Za-z]{1,3}\d{6}[^\dA-Za-z]{1,3}\d{4,5}|\d{4}(?:[^\dA-Za-z]{1,3}\d{4}){2}[^\dA-Za-z]{1,3}\d)(?![A-Za-z0-9])"
        ),
        when(is_card),
        overlaps=True,
    ),
    # names the programs give: `visa4111…`, `card-4111…`
    Detector(
        "card",
        (r"(?i:card|visa|amex|pan|cc|discover|jcb|maestro|number|nr|no)[-_.:#]?[0-9]{13}",),
        re.compile(
            r"(?i:card|visa|amex|pan|cc|mastercard|discover|jcb|maestro|number|nr|no)[-_.:#]?(?P<x>\d{13,19})(?!\d)"
        ),
        when(is_card),
    ),
)
