"""Addresses: of mail, of machines (IPv4, IPv6) and of network interfaces (MAC)."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from streamgauge.processors.detectors_rule import APART, Detector, Look, Span, part, when

_NOT_MAIL = re.compile(
    # packages at versions, pictures at pixel densities, accounts of programs
    r"[^@]*(?:@|%40)v?\d+\.\d+(?:\.|$)|[^@]*(?:@|%40)[1-9]x\.(?:png|jpe?g|gif|webp|svg|avif)$|(?:git|hg|svn|celery)(?:@|%40)",
    re.IGNORECASE,
)
_MACHINE = re.compile(
    r"(?:(?:addr|address|host(?:name)?|client|server|peer|remote|gateway|visitor|caller|nameserver|instance|backend|upstream|endpoint"
    r"|(?:\b|_|client|remote|source|src|dst|dest|peer|user|real|host|server)(?:ip|ipv4|src|dst|source|dest|destination|dns|login|node"
    r"|forwarded|for|from|via|by|listen\w*|bind|connect\w*|ping|ssh|curl|telnet|pod|target|broker|machine|x-real-ip))\W{1,4}"
    r"|://(?:[^\s/]*@)?|[@\[]\s?)$",
    re.IGNORECASE,
)
_RELEASE = re.compile(
    r"(?:version|ver|release|build|rev|revision|upgrad\w*|firmware|fw|driver|patch|tag)\b[^\d]{0,24}$"
    r"|\b(?:Chrom(?:e|ium)|CriOS|Edg\w{0,3}|OPR|Opera|Safari|Firefox|Version|Mobile|\w*Browser|\w*[Bb]ot|Electron|Vivaldi|\w*SDK"
    r"|\w{0,20}-\w{1,20})/$",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile("ver|rel|build|rev|upgr|firm|fw|driver|patch|tag", re.IGNORECASE)
"""What `_RELEASE` finds has this in it, or a slash at its end, and most texts have neither."""
_PRODUCT = re.compile(
    r"(?<![A-Za-z0-9:/])(?!(?:host|ip|node|server|client|peer|localhost|worker|user)\b)[A-Za-z][\w.]*[-/_]$",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"(?::\d{2,5}|/\d{1,2})(?![\w.]*\w)")
_PRERELEASE = re.compile(
    r"[-+](?:alpha|beta|rc|pre|dev|snapshot|final|release|build|post|hotfix|ubuntu|debian|el\d)", re.IGNORECASE
)
_FIRST = "(?:^|[^0-9A-Za-z:-]|[g-zG-Z][A-Za-z]{0,2}[:-])"
"""For gates: before the first of some groups, not between two. `mac:00:…` and `src:2001:…` begin with theirs."""
CONTEXT_CHARS = 40
RESOLVERS = frozenset({"1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"})


def is_mail(address: str) -> bool:
    """Whether what has the form of an address of mail is one, and not a package, a picture or an account of a program."""
    return _NOT_MAIL.match(address) is None


def is_ipv4(candidate: str) -> bool:
    """Four octets in the strict form; nothing that names no one: loopback, broadcast, networks, as in `Chrome/131.0.0.0`."""
    parts = candidate.split(".")
    if any(len(part) > 1 and part[0] == "0" for part in parts):
        return False
    first, second, third, fourth = map(int, parts)
    if max(first, second, third, fourth) > 255:
        return False
    return first not in {0, 127, 255} and (third, fourth) != (0, 0)


def is_small(candidate: str) -> bool:
    """Whether all of four numbers are such as releases have. Of random addresses one in a hundred is like that."""
    first, second, third, _ = map(int, candidate.split("."))
    if candidate in RESOLVERS or (first, second, third) == (10, 0, 0):
        return False
    return (first <= 20 and second <= 20) or (first <= 31 and second <= 31 and third <= 99)


def _is_release(candidate: str, before: str, after: str) -> bool:
    """Whether four numbers are a release rather than an address, by their size and by what stands around them."""
    if _SUFFIX.match(after):
        return False
    if before and (before[-1] == "/" or _ANNOUNCED.search(before)) and _RELEASE.search(before):
        return True
    small = is_small(candidate)
    if _PRERELEASE.match(after):
        return True
    if before and (small or before[-1] in "-/_") and _MACHINE.search(before):
        return False
    first, second, third, _ = map(int, candidate.split("."))
    if first == 10 and (before or after) and before[-1:] not in {"-", "/", "_", "~", "^"}:
        # within other text, machines of one's own are what these are
        return False
    return small or (second <= 20 and third <= 100 and _PRODUCT.search(before) is not None)


def _ipv4(match: re.Match[str], look: Look) -> Span | None:
    start, end = match.span()
    text = match.string
    if not is_ipv4(match[0]):
        return None
    around = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + CONTEXT_CHARS]
    return None if look.hint != "ip" and _is_release(match[0], *around) else (start, end)


def is_ipv6(candidate: str) -> bool:
    """An IPv6 address with at least two groups that are not empty; clock times have too few colons to be one."""
    try:
        address = IPv6Address(candidate)
    except AddressValueError:
        return False
    return int(address) > 1 << 32


def is_interface(candidate: str) -> bool:
    """Six pairs, or three groups of four, that are neither all digits, as an instant may be, nor nobody's or everybody's."""
    digits = re.sub("[^0-9a-f]", "", candidate.lower())
    return not digits.isdigit() and digits != "f" * 12


def _inside(match: re.Match[str], _: Look) -> Span:
    return part(match)


MAIL = (
    Detector(
        "email",
        (r"(?:@|%40)[^\s@]*[.\[]",),
        # the last label begins with a letter, so that `package@1.2.3` stays
        re.compile(
            r"(?:[\w.%+\-'!#$*^~]{1,64}|\"[^\"@\n]{1,62}\")(?:@|%40)(?:(?:[\w\-]{1,63}\.){1,8}[^\W\d_][\w\-]{1,62}"
            r"|\[(?:IPv6:)?[0-9A-Fa-f:.]{3,45}\])"
        ),
        when(is_mail),
    ),
    # as people write it for people: jane [at] example [dot] com
    Detector(
        "email",
        (r"(?i)[\[({<]\s?(?:at|@)\s?[\])}>]", r"(?i)[\s_-]at[\s_-].*[\s_-]dot[\s_-]"),
        re.compile(
            r"[\w.%+\-']{1,64}\s?(?:[\[({<]\s?(?:at|@)\s?[\])}>])\s?[\w\-]{1,63}"
            r"(?:\s?(?:\.|[\[({<]\s?(?:dot|\.)\s?[\])}>]|\sdot\s)\s?[\w\-]{1,63}){1,6}"
            r"|[\w.%+\-']{1,64}(?:\s|_|-)at(?:\s|_|-)[\w\-]{1,63}(?:(?:\s|_|-)dot(?:\s|_|-)[\w\-]{1,63}){1,6}",
            re.IGNORECASE,
        ),
        _inside,
    ),
)

MACHINES = (
    Detector(
        "ip",
        (r"(?:^|[^0-9A-Za-z.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:$|[^0-9.]|\.(?:$|[^0-9]))",),
        re.compile(
            r"(?<![A-Za-z0-9.])(?<!\d_)\d{1,3}(?:\.\d{1,3}){3}(?=\.in-addr\.arpa|(?![A-Za-z0-9_.]*[A-Za-z0-9_]))"
        ),
        _ipv4,
    ),
    Detector(
        "ip",
        (r"[0-9A-Fa-f]::", r"::[0-9A-Fa-f]", _FIRST + r"(?:[0-9A-Fa-f]{1,4}:){6}"),
        # `ip:2001:db8::1` and `from 2001:db8::1: timeout` hold addresses too
        re.compile(
            r"(?:(?<![0-9A-Za-z_:])|(?<=[g-zG-Z_]:)|(?<=[g-zG-Z][A-Za-z]:)|(?<=_))[0-9A-Fa-f:]{1,38}(?:[0-9A-Fa-f]|::)(?![0-9A-Za-z_]|:[0-9A-Fa-f:])"
        ),
        when(is_ipv6),
    ),
)

INTERFACES = (
    Detector(
        "mac",
        (
            _FIRST + r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?:$|[^0-9A-Za-z:-]|[:-](?:$|[^0-9A-Fa-f]))",
            APART + r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}",
        ),
        re.compile(
            r"(?<![0-9A-Za-z.])(?<!(?<![0-9A-Za-z])[0-9A-Fa-f]{2}[:\-])(?:[0-9A-Fa-f]{2}(?P<s>[:\-])(?:[0-9A-Fa-f]{2}(?P=s)){4}[0-9A-Fa-f]{2}(?!(?P=s)[0-9A-Fa-f]{2})"
            r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Za-z]|\.\w)"
        ),
        when(is_interface),
        yields=True,
    ),
)
