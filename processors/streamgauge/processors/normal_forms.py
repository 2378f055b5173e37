"""Normal forms: different spellings of one address, number or name as one text, before it is hashed. Pure.

What does not look like its kind is only trimmed, so a kind that was guessed wrongly from a name does no harm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType

MAX_CHARS = 2_048
"""Longer text is only trimmed: bringing combining characters into order takes quadratic time."""
MAX_ADDRESS = 64
EMAIL, PHONE, IP, TEXT = "email", "phone", "ip", ""
WORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("email", "mail"), EMAIL),
        **dict.fromkeys(("phone", "telephone", "msisdn", "mobile", "fax"), PHONE),
        **dict.fromkeys(("ip", "ipv4", "ipv6", "ipaddress"), IP),
    }
)
FILLERS = frozenset({"address", "addr", "number", "no"})


def kind_of(name: str) -> str:
    """The kind of values that a field, or a class, of this name has: `order.billing_email`, `phoneNumber`, `client.ip`."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*", name)]
    while len(words) > 1 and words[-1] in FILLERS:
        words.pop()
    return WORDS.get(words[-1], WORDS.get(words[-1].rstrip("0123456789"), TEXT)) if words else TEXT


def normal_form(kind: str, value: str, phone_region: str = "") -> str:
    """A value as it is hashed; an unknown kind is text. `phone_region` (`DE`) is that of numbers without `+`."""
    text = value.strip()
    if not text.isascii():
        if len(text) > MAX_CHARS:
            return text
        text = unicodedata.normalize("NFKC", text).strip()
    form = _FORMS.get(kind)
    return form(text, phone_region) if form else text


def _email(text: str, _: str) -> str:
    local, at, domain = text.rpartition("@")
    if not (local and at and domain):
        return text
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text.lower()).strip()


def _phone(text: str, region: str) -> str:
    if len(text) > MAX_ADDRESS:
        return text
    import phonenumbers  # only where phones are counted: it is large

    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return text
    # by length: which numbers are assigned changes with every release of the library, and hashes with it
    if not phonenumbers.is_possible_number(number):
        return text
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{e164};ext={number.extension}" if number.extension else e164


def _ip(text: str, _: str) -> str:
    if len(text) > MAX_ADDRESS:
        return text
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


_FORMS: Mapping[str, Callable[[str, str], str]] = MappingProxyType({EMAIL: _email, PHONE: _phone, IP: _ip})
