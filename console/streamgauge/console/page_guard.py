"""Guard of the page: whom it answers, and the headers that keep a browser from doing more than it should. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer. Everything comes from the page's own address; nothing is inline."""


def refusal(host: str, fetch_site: str, names: Collection[str] = ()) -> str:
    """Why a request with these headers (`Host`, `Sec-Fetch-Site`; "" if absent) is refused; "" if it is not.

    A page elsewhere that lets its own name point to this machine must not read from here: only addresses, `localhost`
    and the given `names` are answered, since no foreign page can have an address for its name.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        name = ""
    if not (name == "localhost" or name in names or _is_address(name)):
        return "This page answers to localhost and addresses only; open it by the address that was printed."
    if fetch_site == "cross-site":
        return "This page does not answer pages of other origins."
    return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
