"""Numbers that states and banks give to people: IBAN, US social security numbers, and national ids of a distinctive form.

A form that other numbers have too (nine bare digits) is no evidence, whatever its checksum says: those need a key.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from streamgauge.processors.detectors_rule import APART, ENDS, Confirm, Detector, Look, Span, always, part, when

_COUNTRIES = (
    "A[DELTZ]|B[AEGHIRY]|C[HRYZ]|D[EJKO]|E[EGS]|F[IKOR]|G[BEILRT]|H[NRU]|I[ELQST]|JO|K[WZ]|L[BCITUVY]|M[CDEKNRTU]|N[ILO]|OM"
    "|P[KLST]|QA|R[OSU]|S[ACDEIKMOTV]|T[LNR]|UA|V[AG]|XK|YE"
)
"""Those that have IBANs."""
_NOT_ALNUM = re.compile(r"[^0-9A-Za-z]+")


class _Standard(Protocol):
    def is_valid(self, number: str) -> bool: ...


@cache
def _standard(name: str) -> _Standard:
    return cast("_Standard", import_module(f"stdnum.{name}"))


def by(*names: str) -> Confirm:
    """A confirmation by one of these modules of python-stdnum."""

    def confirm(match: re.Match[str], look: Look) -> Span | None:
        span = part(match)
        number = match.string[span[0] : span[1]]
        for name in names:
            look.validate()
            if _standard(name).is_valid(number):
                return span
        return None

    return confirm


def is_social_security_number(text: str) -> bool:
    """Whether the Social Security Administration may have issued `###-##-####`: no area 000, 666 or 9xx, no zero parts."""
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def mod_97(text: str) -> int:
    """The remainder of ISO 7064 with letters as 10 to 35."""
    return int("".join(str(int(character, 36)) for character in text)) % 97


@cache
def _account(country: str) -> re.Pattern[str] | None:
    """What accounts of this country look like behind country and check digits, by the registry that python-stdnum holds."""
    (_, properties), *_ = import_module("stdnum.numdb").get("iban").info(country)
    structure = cast("dict[str, str]", properties).get("bban")
    kinds = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
    parts = re.findall(r"(\d+)!([nac])", structure or "")
    return re.compile("".join(f"{kinds[kind]}{{{length}}}" for length, kind in parts)) if parts else None


def is_iban(number: str) -> bool:
    """Whether capitals and digits are an account number: the form of a country that has them, and the checksum."""
    form = _account(number[:2])
    return form is not None and form.fullmatch(number, 4) is not None and mod_97(number[4:] + number[:4]) == 1


def _iban(match: re.Match[str], look: Look) -> Span | None:
    """The longest run that is an IBAN of a known country: what follows it in capitals may be the next word."""
    text, start = match[0], match.start()
    look.validate()
    ends = [len(text), *(blank.start() for blank in reversed(list(re.finditer(r"[ \-]", text))))]
    for end in ends:
        number = _NOT_ALNUM.sub("", text[:end])
        if 15 <= len(number) <= 34 and (number.isupper() or number.islower()) and is_iban(number.upper()):
            return start, start + end
    return None


def is_national_insurance_number(text: str) -> bool:
    """The rules of the United Kingdom: letters that are used, and prefixes that are not."""
    compact = _NOT_ALNUM.sub("", text).upper()
    return re.fullmatch(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]", compact) is not None and compact[:2] not in {
        "BG",
        "GB",
        "NK",
        "KN",
        "TN",
        "NT",
        "ZZ",
    }


def is_singaporean(text: str) -> bool:
    """The check letter of NRIC and FIN."""
    text = text.upper()
    total = sum(int(digit) * weight for digit, weight in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(text[0], 0)
    letters = "JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK"
    if text[0] == "M":
        return text[8] == "KLJNPQRTUWX"[10 - total % 11]
    return text[8] == letters[total % 11]


def is_hongkongese(text: str) -> bool:
    """The check digit in parentheses of an identity card."""
    compact = _NOT_ALNUM.sub("", text).upper()
    body = [36] * (9 - len(compact)) + [int(character, 36) for character in compact[:-1]]
    check = 10 if compact[-1] == "A" else int(compact[-1])
    return (sum(value * weight for value, weight in zip(body, range(9, 1, -1), strict=True)) + check) % 11 == 0


def is_russian(text: str) -> bool:
    """The control number of SNILS."""
    digits = _NOT_ALNUM.sub("", text)
    total = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(9, 0, -1), strict=True))
    return total % 101 % 100 == int(digits[9:])


def is_chinese(text: str) -> bool:
    """ISO 7064 mod 11-2 of a resident's number. Codes of districts come and go, so they are not asked."""
    total = sum(int(digit) * pow(2, 17 - position, 11) for position, digit in enumerate(text[:17]))
    return text[17].upper() == "10X98765432"[total % 11]


def is_taiwanese(text: str) -> bool:
    """The check digit behind the letter of a county."""
    first = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0]) + 10
    digits = [
        first // 10,
        first % 10 * 9,
        *(int(digit) * weight for digit, weight in zip(text[1:9], range(8, 0, -1), strict=True)),
    ]
    return (sum(digits) + int(text[9])) % 10 == 0


def is_spanish_or_date(text: str) -> bool:
    """Whether eight digits and a letter look like a day with a letter."""
    return re.match(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", text) is not None


def _spanish(match: re.Match[str], look: Look) -> Span | None:
    return None if is_spanish_or_date(match[0]) else by("es.dni", "es.nie")(match, look)


_SIX = r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_SEX = r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d\d"
# what RE2 searches for, what Python does, and who confirms
FORMS: tuple[tuple[str, str, Confirm], ...] = (
    (rf"[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}{ENDS}", r"\d{3}-\d{2}-\d{4}", when(is_social_security_number)),
    (r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", r"\d{3}\.\d{3}\.\d{3}-\d{2}", by("br.cpf")),
    (r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9kK]", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", by("cl.rut")),
    (r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", by("be.nn")),
    (r"756\.[0-9]{4}\.", r"756\.\d{4}\.\d{4}\.\d{2}", by("ch.ssn")),
    (
        rf"(?:19|20)?[0-9]{{2}}[01][0-9][0-3][0-9][-+][0-9]{{4}}{ENDS}",
        rf"(?:19|20)?{_SIX}[\-+]\d{{4}}",
        by("se.personnummer"),
    ),
    (
        rf"[0-3][0-9][01][0-9]{{3}}[-+A-FU-Y][0-9]{{3}}[0-9A-Y]{ENDS}",
        rf"{_SEX}[\-+A-FU-Y]\d{{3}}[0-9A-Y]",
        by("fi.hetu"),
    ),
    (r"[0-9]{6}/[0-9]{3}", r"\d{6}/\d{3,4}", by("cz.rc")),
    (rf"[0-3][0-9][01][0-9]{{3}}-[0-9]{{5}}{ENDS}", rf"{_SEX}-\d{{5}}", by("lv.pvn")),
    (rf"[0-9]{{2}}[01][0-9][0-3][0-9]-[0-9]{{7}}{ENDS}", rf"{_SIX}-\d{{7}}", always),
    (rf"[0-9]{{2}}[01][0-9][0-3][0-9]-[0-9]{{2}}-[0-9]{{4}}{ENDS}", rf"{_SIX}-\d{{2}}-\d{{4}}", by("my.nric")),
    (r"[0-9]{2}-[0-9]{8}-[0-9]", r"\d{2}-\d{8}-\d", by("ar.cuit")),
    (r"[0-9]-[0-9]{4}-[0-9]{5}-", r"[1-8]-\d{4}-\d{5}-\d{2}-\d", by("th.pin")),
    (r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}", r"\d{3}-\d{3}-\d{3}[ \-]\d{2}", when(is_russian)),
    (
        r"(?i:[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])",
        r"(?i:[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])",
        by("it.codicefiscale"),
    ),
    (r"[A-Z]{4}[0-9]{6}[HMX]", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", by("mx.curp")),
    (r"[STFGM][0-9]{7}[A-Z]", r"[STFGM]\d{7}[A-Z]", when(is_singaporean)),
    (r"[A-Z][12][0-9]{8}", r"[A-Z][12]\d{8}", when(is_taiwanese)),
    (r"[A-Z][0-9]{6}\(", r"[A-Z]{1,2}\d{6}\([0-9A]\)", when(is_hongkongese)),
    (r"[A-Z]{3}[ABCFGHLJPT][A-Z][0-9]{4}[A-Z]", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", by("in_.pan")),
    (r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}", r"[2-9]\d{3}(?P<s>[ \-])\d{4}(?P=s)\d{4}", by("in_.aadhaar")),
    (
        r"[1-9][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx]",
        r"[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]",
        when(is_chinese),
    ),
    (
        r"[12][ .]?[0-9]{2}[ .]?(?:0[1-9]|1[0-2])[ .]?(?:[0-9]{2}|2[AB])[ .]?[0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{2}",
        r"[12][ .]?\d{2}[ .]?(?:0[1-9]|1[0-2])[ .]?(?:\d{2}|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d{2}",
        by("fr.nir"),
    ),
    (
        r"[A-Z]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-D]",
        r"[A-Z]{2}(?:[ \-]?\d{2}){3}[ \-]?[A-D]",
        when(is_national_insurance_number),
    ),
    (r"(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-Z]", r"(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]", _spanish),
)


def _alone(pattern: str) -> re.Pattern[str]:
    """The pattern where nothing is glued to it; one with blanks in it stands among no other numbers either."""
    blank = " " if " " in pattern else ""
    return re.compile(
        rf"(?<![A-Za-z0-9.\-])(?<!\d[{blank}_/])(?P<x>{pattern})(?![A-Za-z0-9]|[.\-/_{blank}]\d|[\-_][A-Za-z])"
    )


IDS = (
    Detector(
        "iban",
        (APART + rf"(?i:{_COUNTRIES})[0-9]{{2}}[ -]?[A-Za-z0-9]{{4}}[ -]?[A-Za-z0-9]{{4}}[ -]?[A-Za-z0-9]{{3}}",),
        re.compile(
            r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}"
            r"(?:[A-Za-z0-9]{11,30}|(?:[ \-]?[A-Za-z0-9]{4}){2,7}(?:[ \-]?[A-Za-z0-9]{1,4})?)(?![0-9A-Za-z])"
        ),
        _iban,
        overlaps=True,
    ),
    *(
        Detector(
            "national_id",
            (APART + gate,),
            _alone(pattern),
            confirm,
            yields=True,
        )
        for gate, pattern, confirm in FORMS
    ),
)
