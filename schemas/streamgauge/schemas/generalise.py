"""Generalise: a precise value into a coarse one that many people share. Pure; one rule, one text in, one text out.

Every rule takes its own results for what they are, so applying it twice changes nothing; what it cannot read becomes
`UNKNOWN` and never passes. Work is bounded by `MAX_CHARS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from urllib.parse import unquote

from streamgauge.schemas.key_names import verdict, word_set

UNKNOWN = "[unknown]"
"""What a value becomes that its rule cannot read."""
REDACTED = "REDACTED"
"""What stands for the value of a secret query parameter, as OpenTelemetry's conventions have it."""
MAX_CHARS = 2_048
MAX_SEGMENTS, MAX_PARAMETERS, MAX_AGENT = 12, 64, 512
MORE = "{more}"
"""What stands for the rest of a path or query that has more parts than these."""

Rule = Callable[[str], str]

_PREFIX = re.compile(r"([0-9a-fA-F.:]{2,45})/(24|48)", re.ASCII)
_MONTH = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01])(?:[T ].{0,32})?)?", re.ASCII)
_COMPACT_DATE = re.compile(r"([12]\d{3})(0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_AGE = re.compile(r"\d{1,3}(?:\.\d{1,6})?", re.ASCII)
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]{0,31}):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9\-._]{1,253}(?::\d{1,5})?", re.ASCII)
_WORD = re.compile(
    r"\{[a-z]{1,8}\}|[A-Za-z][A-Za-z_\-]{0,31}(?:\.(?:html?|js|css|png|jpe?g|gif|svg|ico|json|xml|txt|php|aspx?|jsp|woff2?))?"
    r"|v\d{1,3}",
    re.ASCII,
)
_PARAMETERS = re.compile(r";[^/;]*")
_PEOPLE = word_set(
    "user users u customer customers member members people person account accounts profile profiles patient patients "
    "employee employees author authors subscriber subscribers contact contacts invite invites reset verify token"
)
"""Segments of a path after which somebody is named."""

AGES = ((17, "0-17"), (24, "18-24"), (34, "25-34"), (44, "35-44"), (54, "45-54"), (64, "55-64"), (130, "65+"))
FAMILIES = (
    ("bot", "bot|crawl|spider|slurp|facebookexternalhit|headless"),
    ("monitor", "pingdom|uptime|kube-probe|healthcheck|googlehc|prometheus"),
    ("edge", "edg/|edge/|edga/|edgios/"),
    ("opera", "opr/|opera|opios/"),
    ("samsung_internet", "samsungbrowser/"),
    ("firefox", "firefox/|fxios/"),
    ("chrome", "chrome/|crios/|chromium/"),
    ("safari", "safari/|applewebkit/"),
    ("internet_explorer", "msie |trident/"),
    ("android", "okhttp|dalvik|android"),
    ("apple", "cfnetwork|darwin/|iphone|ipad"),
    ("curl", "curl/|libcurl|wget/"),
    ("python", "python|aiohttp|httpx"),
    ("java", "java/|jakarta|apache-httpclient|jersey|reactor-netty"),
    ("go", "go-http-client"),
    ("node", "node|axios|undici"),
    ("dotnet", ".net|dotnet|restsharp"),
    ("php", "php|guzzle"),
    ("ruby", "ruby|faraday"),
    ("postman", "postman|insomnia"),
    ("grpc", "grpc"),
)
"""Families of user agents with what tells them, in order: most agents name others too."""
_FAMILIES = tuple((name, tuple(words.split("|"))) for name, words in FAMILIES)
_FAMILY_NAMES = frozenset(name for name, _ in FAMILIES) | {"other"}

SECRET_PARAMETERS = word_set(
    "awsaccesskeyid signature sig x-amz-signature x-amz-credential x-amz-security-token x-goog-signature x-goog-credential "
    "code state session token key auth hash ticket assertion samlresponse samlrequest relaystate nonce invite reset"
)
"""Query parameters whose values are secrets, beside those whose names say so (`key_names`)."""

COUNTRIES = word_set(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD "
    "CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF "
    "GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
    "KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA "
    "NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI "
    "SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI "
    "VN VU WF WS XK YE YT ZA ZM ZW"
)
"""ISO 3166-1 alpha-2, and XK."""


def ip_prefix(text: str) -> str:
    """The network of an address: /24 of IPv4, /48 of IPv6. A port and a zone are left out; of a list the first counts."""
    if whole := _PREFIX.fullmatch(text):
        text = whole[1]
    address = _address(text.partition(",")[0].strip())
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return f"{IPv4Address(int(address) & 0xFFFFFF00)}/24"
    return f"{IPv6Address(int(address) >> 80 << 80)}/48"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def date(text: str) -> str:
    """Year and month of a date: `1987-04` of 1987-04-12, of 1987-04-12T09:30:00Z and of 19870412."""
    found = _MONTH.fullmatch(text) or _COMPACT_DATE.fullmatch(text)
    return f"{found[1]}-{found[2]}" if found else UNKNOWN


def age_band(text: str) -> str:
    """One of seven bands of ages, from `0-17` to `65+`."""
    if text in _BANDS:
        return text
    years = float(text) if _AGE.fullmatch(text) else 1_000
    return next((band for oldest, band in AGES if int(years) <= oldest), UNKNOWN)


_BANDS = frozenset(band for _, band in AGES)


def user_agent(text: str) -> str:
    """The family of a browser, library or robot, without version and system; `other` for what is none of those known."""
    if text in _FAMILY_NAMES:
        return text
    if text.startswith("["):
        return UNKNOWN
    lower = text[:MAX_AGENT].lower()
    return next((name for name, words in _FAMILIES if any(word in lower for word in words)), "other")


def country(text: str) -> str:
    """A country code of two letters, in upper case. Addresses are resolved by the application, before they leave it."""
    code = text.upper()
    return code if code in COUNTRIES else UNKNOWN


def url(text: str) -> str:
    """Scheme, host and path with `{id}` for what names one thing; no user, no query, no fragment."""
    parts = _parts(text)
    if parts is None:
        return UNKNOWN
    scheme, authority, path, _ = parts
    return f"{scheme}{authority}{_template(path)}" or UNKNOWN


def url_query(text: str) -> str:
    """A URL without user, fragment and the path's own parameters (`;jsessionid=…`).

    Its path stays otherwise, and so does every key of its query, but no secret's value.
    """
    parts = _parts(text)
    if parts is None:
        return UNKNOWN
    scheme, authority, path, query = parts
    return f"{scheme}{authority}{_PARAMETERS.sub('', path)}" + ("" if query is None else f"?{_redacted(query)}")


def query(text: str) -> str:
    """A query string with every key and no secret's value."""
    return _redacted(text.removeprefix("?").partition("#")[0])


def _parts(text: str) -> tuple[str, str, str, str | None] | None:
    """Scheme with its colon, `//` with the host, path and query. None where the host is none, as in most that is no URL."""
    found = _URL.fullmatch(text.strip())
    if found is None:
        return None
    scheme, authority, path, query = found.groups()
    if authority is None:
        # `mailto:ann@example.com` has no host, and its path is the person
        return None if scheme or not path.startswith("/") else ("", "", path, query)
    host = authority.rpartition("@")[2].lower()
    bare = host.rpartition(":")[0] if re.search(r":\d{1,5}$", host) else host
    if _address(bare) is not None:
        host = "{ip}"
    elif host != "{ip}" and not _HOST.fullmatch(host):
        return None
    return (f"{scheme.lower()}:" if scheme else ""), f"//{host}", path, query


def _template(path: str) -> str:
    segments = _PARAMETERS.sub("", path).split("/")
    shown: list[str] = []
    before = ""
    for one in segments[:MAX_SEGMENTS]:
        plain = not one or one == "{id}" or (before not in _PEOPLE and _WORD.fullmatch(one))
        shown.append(one if plain else "{id}")
        before = one.lower()
    return "/".join(shown + ([MORE] if len(segments) > MAX_SEGMENTS else []))


def _redacted(query: str) -> str:
    pairs = query.split("&")
    shown: list[str] = []
    for pair in pairs[:MAX_PARAMETERS]:
        key, equals, value = pair.partition("=")
        name = unquote(key).lower()
        secret = name in SECRET_PARAMETERS or verdict(name).rule
        shown.append(f"{key}={REDACTED}" if secret and equals and value else pair)
    return "&".join(shown + ([MORE] if len(pairs) > MAX_PARAMETERS else []))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "ip_prefix": ip_prefix,
        "date": date,
        "age_band": age_band,
        "user_agent": user_agent,
        "country": country,
        "url": url,
        "url_query": url_query,
        "query": query,
    }
)
"""Every rule by its name."""

DECLARED = ("ip_prefix", "date", "age_band", "user_agent", "country", "url")
"""The rules that a contract may name. The others keep what only detectors can judge: they are scanned afterwards."""

SCANNED = frozenset({"url", "url_query", "query"})
"""Rules whose results may still hold text of people, which detectors must see."""


def generalise(rule: str, text: str) -> str:
    """The coarse value; an empty one stays empty. What is too long, or breaks the rule, is unknown."""
    if not text:
        return ""
    if len(text) > MAX_CHARS:
        return UNKNOWN
    try:
        return RULES[rule](text)
    except (ValueError, RecursionError):
        return UNKNOWN
