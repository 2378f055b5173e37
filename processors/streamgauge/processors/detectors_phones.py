"""Telephone numbers: with a plus, or grouped as their country groups them. Bare digits are never one, unless a key says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, cast

from streamgauge.processors.detectors_rule import APART, Detector, Look, Span

MIN_DIGITS, MAX_DIGITS = 7, 15
_WITH_ZERO = (
    "AU GB NZ JP KR FR DE IN IT NL BE CH AT SE IE FI TW TH MY ID PH VN ZA TR CN IL UA EG NG PK "
    "RO BG RS HR SI SK AR LK BD KE"
)
_WITHOUT = "SG HK IN ES IT PT PL NO DK CZ GR HU BR CN KR AU LV LT EE LU"
_MORE_WITHOUT = "MX CO CL PE AE SA IE FI US PH"
TRUNK = tuple(_WITH_ZERO.split())
"""Countries whose national numbers begin with 0 (the one in Italy stays when dialled from abroad)."""
WRITTEN = tuple(_WITHOUT.split())
"""Countries of which numbers are written without any prefix, in groups that are their own."""
PLAIN = (*WRITTEN, *_MORE_WITHOUT.split())
"""Countries of which numbers may have no prefix."""
_DIGITS = re.compile(r"\d+")
_KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "uan", "pager"),
    "voicemail",
)
_DATE = re.compile(
    r"(?:0?[1-9]|[12]\d|3[01])[./\- ](?:0?[1-9]|[12]\d|3[01])[./\- ](?:19|20)\d\d"
    r"|(?:19|20)\d\d[./\- ](?:0[1-9]|1[0-2])[./\- ](?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])[./\- ](?:0[1-9]|1[0-2])[./\-]\d\d[ /]"
)
_PHONE = re.compile(
    r"(?:tel:|whatsapp:|sms:)?[+(]{0,2}\d[\d ()./\-]{5,28}(?:(?:x|ext\.?|;ext=|#) ?\d{1,6})?", re.IGNORECASE
)
_KEYS = (
    r"(?:tele)?phone|tel|mobile|cellphone|handphone|fax|whatsapp|msisdn|telefon|tel[eé]fono|m[oó]vil|celular|rufnummer|t[eé]l[eé]phone"
    r"|cellulare|telefono|telefoon|mobiel|電話(?:番号)?|携帯|电话|手机|전화"
)
"""Keys that say so of any digits."""
_WORDS = (
    rf"{_KEYS}|mob|cell|call(?:ed|ing|s)?(?: (?:me|us|him|her|them|back))?|dial(?:ed|led)?|sms(?: to)?"
    r"|text(?:ed)?(?: (?:me|us))?|contact|ring|handy|portable"
)
"""Words behind which digits in groups are one."""
_LINK = r"(?:\s?(?:number|no|nr|num|is|was|at|on|to|me|us|us at|me at|me on)\b)?"


def digits_of(text: str) -> str:
    """The digits of a text alone."""
    return "".join(_DIGITS.findall(text))


def is_phone_shaped(text: str) -> bool:
    """Whether a text whose key says so is a telephone number: so many digits, with nothing but grouping between them."""
    return MIN_DIGITS <= len(digits_of(text)) <= MAX_DIGITS and _PHONE.fullmatch(text.strip()) is not None


@cache
def _library() -> Any:
    return import_module("phonenumbers")


@cache
def _metadata(region: str) -> Any:
    """What the library knows of a region, or of a code that belongs to no country."""
    kept = _library().PhoneMetadata
    return (
        kept.metadata_for_nongeo_region(int(region), None)
        if region.isdigit()
        else kept.metadata_for_region(region, None)
    )


@cache
def _regions(code: str) -> tuple[str, ...]:
    """The regions of a country calling code, the largest first; the code itself where it is of none."""
    found: tuple[str, ...] = _library().COUNTRY_CODE_TO_REGION_CODE.get(int(code), ())
    return (code,) if found == ("001",) else found


@cache
def _national(region: str) -> tuple[Callable[[str], object], ...]:
    """What matches numbers of the region, without their prefix: all of them first, then each kind."""
    metadata = _metadata(region)
    if metadata is None:
        return ()
    described = [metadata.general_desc, *(getattr(metadata, kind) for kind in _KINDS)]
    patterns = [one.national_number_pattern for one in described if one is not None and one.national_number_pattern]
    return tuple(re.compile(cast("str", pattern)).fullmatch for pattern in patterns if pattern != "NA")


def is_national(digits: str, region: str) -> bool:
    """Whether the region has numbers like this, given without its prefix."""
    every, *kinds = _national(region) or (bool,)
    return bool(every(digits)) and any(kind(digits) for kind in kinds)


@cache
def _groupings(region: str) -> tuple[tuple[Callable[[str], Any], tuple[Callable[[str], object], ...]], ...]:
    """How the region writes its numbers: a pattern with its groups, and what a number begins with that is written so."""
    metadata = _metadata(region)
    if metadata is None:
        return ()
    return tuple(
        (re.compile(one.pattern).fullmatch, tuple(re.compile(p).match for p in one.leading_digits_pattern[-1:]))
        for one in metadata.number_format
    )


def is_grouped(digits: str, groups: list[str], region: str) -> bool:
    """Whether the region writes this number in these groups."""
    for pattern, leading in _groupings(region):
        if (match := pattern(digits)) and all(one(digits) for one in leading):
            return [group for group in match.groups() if group] == groups
    return False


def is_international(digits: str, lenient: bool = False) -> bool:
    """Whether digits without the plus are a number: the code of a country, and what the country has. With `lenient`, its
    length is enough."""
    for size in (1, 2, 3):
        nation = digits[size:].removeprefix("0")
        for region in _regions(digits[:size]):
            if is_national(nation, region) or is_national(digits[size:], region):
                return True
            if lenient and {len(nation), len(digits) - size} & {*_metadata(region).general_desc.possible_length}:
                return True
    return False


def _abroad(match: re.Match[str], look: Look) -> Span | None:
    """The longest run of groups that is a number in international form."""
    start, text = match.start("x"), match["x"]
    runs = list(_DIGITS.finditer(text))
    look.validate()
    for last in range(len(runs), 0, -1):
        digits = "".join(run[0] for run in runs[:last]).removeprefix("00")
        if len(digits) < MIN_DIGITS:
            return None
        # groups are evidence, and so is length: a number out of use will do
        if len(digits) <= MAX_DIGITS + 1 and is_international(
            digits, last == len(runs) and (last > 1 or len(digits) > 9)
        ):
            return match.start(), start + runs[last - 1].end()
    return None


def _american(match: re.Match[str], look: Look) -> Span | None:
    digits, text = digits_of(match["x"])[-10:], match[0]
    # brackets, the code of the country and an extension leave no doubt; dashes and dots little, where a number may be so
    if text[0] in "(1+0" or match["ext"] or (match["s"] in {"-", "."} and digits[3] not in "01"):
        return match.span()
    look.validate()
    return match.span() if any(is_national(digits, region) for region in _regions("1")) else None


def _trunk(match: re.Match[str], look: Look) -> Span | None:
    """The longest run of groups that is a number of some country: what follows it may be a number too."""
    start, text = match.start(), match[0]
    if _DATE.match(text.lstrip("(")):
        return None
    runs = list(_DIGITS.finditer(text))
    look.validate()
    for last in range(len(runs), 1, -1):
        digits = "".join(run[0] for run in runs[:last])
        if len(digits) == 8 and runs[0][0] == "08" and is_national(digits[1:], "SE"):
            return start, start + runs[last - 1].end()
        if len(digits) < 9:
            return None
        if len(digits) <= 13 and digits[1] != "0":
            bare = digits[1:]
            if any(is_national(bare, region) for region in TRUNK) or is_national(digits, "IT"):
                return start, start + runs[last - 1].end()
    return None


def _plain(match: re.Match[str], look: Look) -> Span | None:
    """A number without any prefix that is the whole text, or a whole value in it, written exactly as a country writes it."""
    groups = _DIGITS.findall(match["x"])
    digits = "".join(groups)
    if not 8 <= len(digits) <= 11 or _DATE.match(match["x"]) or digits.endswith("000"):
        return None
    look.validate()
    if any(is_national(digits, region) and is_grouped(digits, groups, region) for region in WRITTEN):
        return match.span("x")
    return None


def _announced(match: re.Match[str], look: Look) -> Span | None:
    """A number behind a word such as `call` or `phone`. It must be grouped, or the word be its key."""
    text = match["x"]
    groups = _DIGITS.findall(text)
    digits = "".join(groups)
    if match["key"]:
        return match.span("x") if MIN_DIGITS <= len(digits) <= MAX_DIGITS and not _DATE.match(text) else None
    if len(groups) < 2 or not 8 <= len(digits) <= 13 or _DATE.match(text):
        return None
    look.validate()
    bare = digits.removeprefix("0")
    regions = TRUNK if bare != digits else PLAIN
    return match.span("x") if any(is_national(bare, region) for region in regions) else None


def _of_one(match: re.Match[str], look: Look) -> Span | None:
    if match["ru"] and "(" in match["ru"]:
        return match.span()
    look.validate()
    for region, group in (("BR", "br"), ("RU", "ru"), ("CN", "cn")):
        if match[group] and is_national(digits_of(match[group]), region):
            return match.span()
    return None


_ALONE = r"(?<![A-Za-z0-9_.+\-])(?<!\d[/:])"
_APART = r"(?<![A-Za-z0-9_.+\-])(?<!\d[ /:])"
_NAMED = r"(?:(?<![A-Za-z])|(?-i:(?<=[a-z])(?=[A-Z])))"

PHONES = (
    Detector(
        "phone",
        (r"\+ ?\(?[0-9][0-9 ()./-]{5}", APART + r"00[1-9][0-9]{0,2}[ .\-]"),
        re.compile(
            r"(?<![A-Za-z0-9_+])(?:\+ ?|(?=00[1-9]\d{0,2}[ .\-]))(?P<x>\(?\d(?:[ ()./\-]{0,3}\d){6,19})(?!\d)"
            r"(?:\s?(?:x|ext\.?|;ext=)\s?\d{1,6})?"
        ),
        _abroad,
        yields=True,
    ),
    Detector(
        "phone",
        (APART + r"[2-9][0-9]{2}(?:\)[ .-]?|[ ./-]{1,2})[0-9]{3}[ .-][0-9]{4}",),
        re.compile(
            _APART + r"(?:(?:001|\+?1)[ .\-]{1,2})?"
            r"(?P<x>(?:\([2-9]\d\d\)[ .\-]?|[2-9]\d\d(?P<s>[ ./\-]{1,2}))\d{3}[ .\-]\d{4})"
            r"(?P<ext>\s?(?:x|ext\.?|\#)\s?\d{1,6})?(?![A-Za-z0-9_]|[.\-/]\d| \d{3})"
        ),
        _american,
        yields=True,
    ),
    # the prefix 0 of calls within a country
    Detector(
        "phone",
        (r"(?:^|[^0-9A-Za-z_.+-])\(?0[0-9]{1,5}(?:\)[ ./-]?|[ ./(-]{1,3})(?:[0-9]{5}|[0-9]{2,4}[ .)-]{1,2}[0-9]{2})",),
        re.compile(
            _ALONE + r"(?:\(0\d{1,4}\)[ .\-/]?|\(?0\d{1,5}[ .\-/(]{1,3})\d{2,8}(?:[ .\-)]{1,2}\d{2,5}){0,4}"
            r"(?![A-Za-z0-9_]|[./:\-]\d)"
        ),
        _trunk,
        yields=True,
    ),
    # Brazil, Russia, China
    Detector(
        "phone",
        (
            r"\([1-9][0-9]{1,2}\) ?[0-9]{4,5}[ -][0-9]{4}",
            APART + r"[1-9][0-9] [0-9]{4,5}-[0-9]{4}",
            APART + r"[78] ?\(?[3-9][0-9]{2}\)? ?[0-9]{3}-[0-9]{2}-[0-9]{2}",
            APART + r"1[3-9][0-9][ -][0-9]{4}[ -][0-9]{4}",
        ),
        re.compile(
            _APART + r"(?:(?P<br>\([1-9]\d{1,2}\) ?\d{4,5}[ \-]\d{4}|[1-9]\d \d{4,5}-\d{4})"
            r"|[78] ?(?P<ru>\(?[3-9]\d\d\)? ?\d{3}-\d\d-\d\d)"
            r"|(?P<cn>1[3-9]\d[ \-]\d{4}[ \-]\d{4}))(?![A-Za-z0-9_]|[ .\-/]\d)"
        ),
        _of_one,
        yields=True,
    ),
    Detector(
        "phone",
        (r"(?:^|[\"'=>|\t])\s?\(?[1-9][0-9]{0,4}(?:\) ?| )[0-9]{2,5}(?: [0-9]{2,5}){0,3}\s?(?:$|[\"'<|&;,\t])",),
        re.compile(r"(?:^|[\"'=>|\t])\s?(?P<x>\(?[1-9]\d{0,4}(?:\) ?| )\d{2,5}(?: \d{2,5}){0,3})\s?(?:$|[\"'<|&;,\t])"),
        _plain,
        yields=True,
    ),
    Detector(
        "phone",
        (rf"(?i)(?:{_WORDS})[^0-9]{{1,12}}[0-9]",),
        re.compile(
            _NAMED + rf"(?:(?P<key>(?:{_KEYS})(?:[_ ]?(?:number|no|nr|num))?[\"']?\s?[:=]\s?[\"']?)"
            rf"|(?:{_WORDS}){_LINK}[ :=#.]{{1,3}}){_LINK}[ :]?"
            r"(?P<x>\(?\d(?:[ ()./\-]{0,2}\d){6,13})(?![A-Za-z0-9_]|[./:\-]\d)",
            re.IGNORECASE,
        ),
        _announced,
        yields=True,
    ),
)
