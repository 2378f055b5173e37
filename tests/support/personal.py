"""Personal data and secrets as they travel: made by generators, or published as test vectors, in the frames texts put them in."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any
from urllib.parse import quote

from tests.support.vendor_tokens import credentials, digits, jwt, named_secret, private_key, secret, text_of

Make = Callable[[Random], str]

FRAMES: tuple[str, ...] = (
    "{}",
    "{}",
    "{}",
    " {} ",
    "from {} today",
    "value={}",
    "value: {}",
    '{{"v":"{}"}}',
    '{{"v": "{}", "n": 12}}',
    "'{}'",
    '"{}"',
    "({})",
    "<{}>",
    "a;{};b",
    "a,{},b",
    "x|{}|y",
    "line\t{}\tend",
    "first\n{}\nlast",
    "{}.",
    "{}, and more",
    "k=1&v={}&n=2",
    "https://api.example.com/v1/x?v={}&n=2",
    "GET /things/{} HTTP/1.1",
    "failed for {}: timeout after 30 ms",
    "[{}]",
    '{{\\"v\\":\\"{}\\"}}',
    "seen {} twice",
    "{} was refused",
    "{} {}",
    "field:{}",
    "k:{};",
    "~{}~",
    "*{}*",
    "`{}`",
    "{}: no",
    "{}…",
    "#{}",
    "値は{}です",
    "номер {}, да",
    "{}\r\n",
    "x => {}",
    "%5B{}%5D",
    "&quot;{}&quot;",
    "\\n{}\\n",
)
"""What surrounds a value: nothing, a sentence, pairs, JSON (also within JSON), lists, addresses of pages."""


def _with(module: str, body: str, where: Callable[[str, str], str] = lambda body, check: body + check) -> str:
    """The body completed by a check digit, found by trying what python-stdnum accepts."""
    standard: Any = import_module(f"stdnum.{module}")
    for check in (*string.digits, *string.ascii_uppercase, *(f"{n:02d}" for n in range(100))):
        if standard.is_valid(where(body, check)):
            return where(body, check)
    raise ValueError(f"{module} accepts nothing that begins with {body}")


def _luhn(body: str) -> str:
    for last in string.digits:
        total = 0
        for position, digit in enumerate(reversed(body + last)):
            value = int(digit) * (2 if position % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return body + last
    raise ValueError(body)


# -- mail
NAMES = (
    "jane",
    "john.doe",
    "o'neil",
    "maría",
    "li.wei",
    "j_smith",
    "a",
    "anna-lena",
    "bob123",
    "x.y.z",
    "SALES",
    "müller",
    "tanaka.k",
)
DOMAINS = (
    "example.com",
    "mail.example.co.jp",
    "example.org",
    "sub.domain.example.net",
    "gmail.com",
    "xn--bcher-kva.example",
    "bücher.de",
    "a-b.io",
    "163.com",
    "EXAMPLE.COM",
    "corp.example.museum",
)


def email(source: Random) -> str:
    """An address, plain or as programs and people disguise it."""
    local, domain = source.choice(NAMES), source.choice(DOMAINS)
    local += source.choice(
        ["", "", f"+{text_of(source, string.ascii_lowercase, 4)}", digits(source, 2), f".{digits(source, 3)}"]
    )
    kind = source.randrange(12)
    if kind == 0:
        return quote(f"{local}@{domain}", safe="")
    if kind == 1:
        return f"{local}＠{domain}"
    if kind == 2:
        return f"{local}&#64;{domain}" if source.random() < 0.5 else f"{local}&commat;{domain}"
    if kind == 3:
        return f"{local}[at]{domain}" if source.random() < 0.5 else f"{local} (at) {domain}"
    if kind == 4:
        return f"{local}\\u0040{domain}"
    if kind == 5:
        return f"{local}\u200b@{domain}"
    if kind == 6:
        return f"{local} [at] {domain.replace('.', ' [dot] ')}"
    return f"{local}@{domain}"


# -- cards
_TEST_CARDS = (
    "4242424242424242 4000056655665556 5555555555554444 2223003122003222 5200828282828210 5105105105105100 "
    "378282246310005 371449635398431 6011111111111117 6011000990139424 3056930009020004 36227206271667 "
    "6555900000604105 3566002020360505 6200000000000005 4111111111111111 4012888888881881 378734493671000 "
    "30569309025904 38520000023237 3530111333300000 6759649826438453 5454545454545454 4484070000000000 "
    "4000000000000002 2720992593319364 2221000000000009 4917610000000000"
)
TEST_CARDS: list[str] = [*_TEST_CARDS.split()]
ISSUERS = (
    ("4", 16),
    ("51", 16),
    ("55", 16),
    ("2221", 16),
    ("2720", 16),
    ("25", 16),
    ("34", 15),
    ("37", 15),
    ("36", 14),
    ("6011", 16),
    ("65", 16),
    ("62", 16),
    ("3528", 16),
    ("3589", 16),
    ("4", 19),
)


def card(source: Random) -> str:
    """A number that an issuer might have issued, grouped in one of the usual ways."""
    if source.random() < 0.3:
        number = source.choice(TEST_CARDS)
    else:
        prefix, length = source.choice(ISSUERS)
        number = _luhn(prefix + digits(source, length - 1 - len(prefix)))
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(len(number), (4, 4, 4, 4, 3))
    groups: list[str] = []
    at = 0
    for size in sizes:
        groups.append(number[at : at + size])
        at += size
    between = source.choice(["", "", "", " ", " ", "-", "-", ".", "/", "\u00a0", "_", "  "])
    text = between.join(group for group in groups if group)
    return text.translate({48 + n: 0xFF10 + n for n in range(10)}) if source.random() < 0.05 else text


# -- phones
_COUNTRIES = (
    "US CA GB AU NZ JP KR CN HK SG IN ID TH VN PH MY TW DE FR IT ES PT NL BE CH AT SE NO DK FI IE PL CZ GR "
    "HU RO TR IL ZA EG NG KE BR MX AR CL CO PE AE SA RU UA"
)
COUNTRIES: list[str] = [*_COUNTRIES.split()]
_NATIONAL = "US CA GB AU NZ JP KR FR DE IN SG HK BR CH NL ZA TR SE TH CN"
NATIONAL: list[str] = [*_NATIONAL.split()]


def _phone_number(source: Random, countries: list[str]) -> tuple[Any, Any]:
    library: Any = import_module("phonenumbers")
    while True:
        country = source.choice(countries)
        kind = source.choice([library.PhoneNumberType.MOBILE, library.PhoneNumberType.FIXED_LINE])
        example = library.example_number_for_type(country, kind)
        if example is None:
            continue
        nation = str(example.national_number)
        for _ in range(30):
            changed = nation[:-5] + digits(source, 5)
            number = library.parse(
                f"+{example.country_code}{'0' if example.italian_leading_zero else ''}{changed}", None
            )
            if library.is_valid_number(number):
                return library, number


def phone_abroad(source: Random) -> str:
    """A valid number of some country in international form."""
    library, number = _phone_number(source, COUNTRIES)
    forms = library.PhoneNumberFormat
    text: str = library.format_number(
        number, source.choice([forms.E164, forms.E164, forms.INTERNATIONAL, forms.INTERNATIONAL, forms.RFC3966])
    )
    kind = source.randrange(10)
    if kind == 0:
        return text.replace(" ", ".")
    if kind == 1:
        return text.replace(" ", "-")
    if kind == 2:
        return quote(text.replace(" ", ""), safe="")
    if kind == 3 and " " in text:
        return "00" + text.removeprefix("+")
    return text


def phone_national(source: Random) -> str:
    """A valid number as its country writes it, with its separators."""
    while True:
        library, number = _phone_number(source, NATIONAL)
        text: str = library.format_number(number, library.PhoneNumberFormat.NATIONAL)
        if (not text.isdigit() and text[0] in "0(") or number.country_code == 1:
            return source.choice([text, text, text.replace("-", " "), text.replace(" ", "-").replace(")-", ") ")])


def phone_named(source: Random) -> str:
    """Any number behind a word that announces it."""
    library, number = _phone_number(source, COUNTRIES)
    text: str = library.format_number(number, library.PhoneNumberFormat.NATIONAL)
    bare = "".join(filter(str.isdigit, text))
    frames = [
        "phone={}",
        '"phone":"{}"',
        "mobile: {}",
        "tel:{}",
        "msisdn={}",
        '"phoneNumber": "{}"',
        "fax = {}",
        "customer_phone={}",
    ]
    return source.choice(frames).format(bare if source.random() < 0.5 else text)


# -- banks and states
_IBANS = (
    "AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201 "
    "AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 BG80BNBG96611020345678 "
    "BH67BMAG00001299123456 BR9700360305000010009795493P1 CH9300762011623852957 CR05015202001026284066 "
    "CY17002001280000001200527600 CZ6508000000192000145399 DE89370400440532013000 DK5000400440116243 "
    "DO28BAGR00000001212453611324 EE382200221020145685 ES9121000418450200051332 FI2112345600000785 "
    "FO6264600001631634 FR1420041010050500013M02606 GB29NWBK60161331926819 GE29NB0000000101904917 "
    "GI75NWBK000000007099453 GL8964710001000206 GR1601101250000000012300695 GT82TRAJ01020000001210029690 "
    "HR1210010051863000160 HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999 "
    "IS140159260076545510730339 IT60X0542811101000000123456 JO94CBJO0010000000000131000302 "
    "KW81CBKU0000000000001234560101 KZ86125KZT5004100100 LB62099900000001001901229114 "
    "LI21088100002324013AA LT121000011101001000 LU280019400644750000 LV80BANK0000435195001 "
    "MC5811222000010123456789030 MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 "
    "MR1300020001010000123456753 MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR "
    "NL91ABNA0417164300 NO9386011117947 PK36SCBL0000001123456702 PL61109010140000071219812874 "
    "PS92PALS000000000400123456702 PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG "
    "RO49AAAA1B31007593840000 RS35260005601001611379 SA0380000000608010167519 SE4550000000058398257466 "
    "SI56263300012039086 SK3112000000198742637541 SM86U0322509800000000270100 TN5910006035183598478831 "
    "TR330006100519786457841326 UA213223130000026007233566001 VG96VPVG0000012345678901 "
    "XK051212012345678906"
)
IBANS: list[str] = [*_IBANS.split()]
"""The examples of the registry."""


def iban(source: Random) -> str:
    """An example of the registry, or one made for Germany, the United Kingdom or the Netherlands; in one piece or in fours."""
    kind = source.randrange(5)
    if kind == 0:
        body = ("DE", digits(source, 18))
    elif kind == 1:
        body = ("GB", text_of(source, string.ascii_uppercase, 4) + digits(source, 14))
    elif kind == 2:
        body = ("NL", text_of(source, string.ascii_uppercase, 4) + digits(source, 10))
    else:
        body = ("", source.choice(IBANS))
    number = body[1]
    if body[0]:
        rest = int("".join(str(int(one, 36)) for one in number + body[0] + "00"))
        number = f"{body[0]}{98 - rest % 97:02d}{number}"
    between = source.choice(["", "", " ", " ", "-"])
    text = between.join(number[at : at + 4] for at in range(0, len(number), 4))
    return text.lower() if source.random() < 0.1 else text


def ssn(source: Random) -> str:
    """A US social security number that may have been issued."""
    area = source.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03d}-{source.randrange(1, 100):02d}-{source.randrange(1, 10_000):04d}"


def _day(source: Random, form: str) -> str:
    year, month, day = source.randrange(1950, 2004), source.randrange(1, 13), source.randrange(1, 29)
    return form.format(y=year % 100, Y=year, m=month, d=day)


def _cpf(source: Random) -> str:
    number = _with("br.cpf", digits(source, 9))
    return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"


def _nric(source: Random) -> str:
    first, body = source.choice("STFG"), digits(source, 7)
    total = sum(int(a) * b for a, b in zip(body, (2, 7, 6, 5, 4, 3, 2), strict=True)) + (4 if first in "TG" else 0)
    return first + body + ("JZIHGFEDCBA" if first in "ST" else "XWUTRQPNMLK")[total % 11]


def _aadhaar(source: Random) -> str:
    number = _with("in_.aadhaar", source.choice("23456789") + digits(source, 10))
    return f"{number[:4]} {number[4:8]} {number[8:]}"


def _rrn(source: Random) -> str:
    while True:
        try:
            number = _with(
                "kr.rrn", _day(source, "{y:02d}{m:02d}{d:02d}") + source.choice("12") + "0" + digits(source, 4)
            )
        except ValueError:
            continue
        return f"{number[:6]}-{number[6:]}"


def _codice(source: Random) -> str:
    consonants = "BCDFGLMNPRSTVZ"
    body = (
        text_of(source, consonants, 6)
        + f"{source.randrange(50, 99)}{source.choice('ABCDEHLMPRST')}{source.randrange(1, 29):02d}"
    )
    return _with("it.codicefiscale", body + source.choice(["H501", "F205", "L219", "A662"]))


def _sweden(source: Random) -> str:
    body = _day(source, "{y:02d}{m:02d}{d:02d}") + digits(source, 3)
    number = _luhn(body)
    return source.choice(["", "19"]) + f"{number[:6]}-{number[6:]}"


def _finland(source: Random) -> str:
    body = _day(source, "{d:02d}{m:02d}{y:02d}"), f"{source.randrange(2, 899):03d}"
    return f"{body[0]}-{body[1]}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(body[0] + body[1]) % 31]}"


def _china(source: Random) -> str:
    body = source.choice(["110105", "310101"]) + _day(source, "{Y}{m:02d}{d:02d}") + digits(source, 3)
    return _with("cn.ric", body)


def _france(source: Random) -> str:
    body = (
        source.choice("12")
        + _day(source, "{y:02d}{m:02d}")
        + "75"
        + f"{source.randrange(1, 900):03d}"
        + f"{source.randrange(1, 900):03d}"
    )
    number = body + f"{97 - int(body) % 97:02d}"
    return " ".join([number[0], number[1:3], number[3:5], number[5:7], number[7:10], number[10:13], number[13:]])


def _spain(source: Random) -> str:
    body = source.choice("34567") + digits(source, 7)
    return body + "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23]


def _switzerland(source: Random) -> str:
    body = f"756{digits(source, 9)}"
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(body))
    number = body + str(-total % 10)
    return f"{number[:3]}.{number[3:7]}.{number[7:11]}.{number[11:]}"


def _nino(source: Random) -> str:
    number = source.choice(["AB", "CE", "JK", "PR", "SW", "YZ"]) + digits(source, 6) + source.choice("ABCD")
    return source.choice([number, f"{number[:2]} {number[2:4]} {number[4:6]} {number[6:8]} {number[8]}"])


NATIONS: dict[str, Make] = {
    "br": _cpf,
    "sg": _nric,
    "in": _aadhaar,
    "kr": _rrn,
    "it": _codice,
    "se": _sweden,
    "fi": _finland,
    "cn": _china,
    "fr": _france,
    "es": _spain,
    "ch": _switzerland,
    "gb": _nino,
}


def national_id(source: Random) -> str:
    """A number of one of a dozen countries, as it is written there."""
    return NATIONS[source.choice(sorted(NATIONS))](source)


def named_id(source: Random) -> str:
    """A bare number behind the name of what it is."""
    frames = [
        "ssn={}",
        '"ssn":"{}"',
        "SSN: {}",
        "tax_id={}",
        '"national_id": "{}"',
        "passport={}",
        "passport no: {}",
        '"passport_number":"{}"',
        "tfn: {}",
        "medicare={}",
    ]
    frame = source.choice(frames)
    return frame.format(source.choice("PXNL") + digits(source, 8) if "passport" in frame else digits(source, 9))


# -- machines
def ipv4(source: Random) -> str:
    """An address of the public or of private networks."""
    kind = source.randrange(6)
    if kind == 0:
        return f"192.168.{source.randrange(256)}.{source.randrange(1, 255)}"
    if kind == 1:
        return f"10.{source.randrange(256)}.{source.randrange(256)}.{source.randrange(1, 255)}"
    while True:
        address = IPv4Address(source.getrandbits(32))
        if address.is_global or (address.is_private and address.packed[0] == 172):
            break
    return f"{address}{source.choice(['', '', '', ':443', '/24'])}"


def ipv6(source: Random) -> str:
    """An address of the public, in short or in full."""
    address = IPv6Address(
        (0x2001 << 112) | (0xDB8 << 96) | source.getrandbits(64) | source.choice([0, source.getrandbits(96)])
    )
    return source.choice([str(address), str(address), address.exploded, address.exploded.upper(), f"[{address}]:443"])


def mac(source: Random) -> str:
    """An address of a network interface."""
    octets = [f"{source.randrange(256):02x}" for _ in range(6)]
    octets[0] = "0a"
    text = source.choice([":", ":", "-"]).join(octets)
    return source.choice([text, text, text.upper()])


POSITIVES: dict[str, Make] = {
    "email": email,
    "card": card,
    "phone +": phone_abroad,
    "phone national": phone_national,
    "phone named": phone_named,
    "iban": iban,
    "ssn": ssn,
    "national id": national_id,
    "named id": named_id,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "mac": mac,
    "secret": secret,
    "named secret": named_secret,
    "jwt": jwt,
    "private key": private_key,
    "url credentials": credentials,
}
"""Every type, with what makes one."""
BARE_ONLY = frozenset({"named secret", "named id", "phone named"})
"""What brings its frame along."""


def positives(kind: str, count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Texts that hold one, and what must not be in them afterwards."""
    source = Random(f"{kind} {seed}")
    for _ in range(count):
        one = POSITIVES[kind](source)
        frame = "{}" if kind in BARE_ONLY else source.choice(FRAMES)
        yield frame.replace("{}", one).replace("{{", "{").replace("}}", "}"), one
