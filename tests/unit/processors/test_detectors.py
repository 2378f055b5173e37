"""Detectors find what is personal in free text, and leave alone what only looks like it."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from itertools import product

import pytest

from streamgauge.processors.detectors import DETECTORS, MAX_CHARS, Detector, is_card, luhn, scrub_text
from streamgauge.processors.scrub import FAILED, Scrubber


def with_check_digit(digits: str) -> str:
    """The digits and the one that makes them pass the Luhn checksum."""
    return next(digits + last for last in "0123456789" if luhn(digits + last))


ISSUERS = {
    "visa 13": ("4", 13),
    "visa": ("4", 16),
    "visa 19": ("4", 19),
    "mastercard low": ("51", 16),
    "mastercard high": ("55", 16),
    "mastercard 2221": ("2221", 16),
    "mastercard 2720": ("2720", 16),
    "amex 34": ("34", 15),
    "amex 37": ("37", 15),
    "diners 300": ("300", 14),
    "diners 305": ("305", 14),
    "diners 36": ("36", 14),
    "diners 38": ("38", 14),
    "diners 39": ("39", 14),
    "discover 6011": ("6011", 16),
    "discover 644": ("644", 16),
    "discover 649": ("649", 16),
    "discover 65": ("65", 16),
    "unionpay": ("62", 16),
    "unionpay 19": ("62", 19),
    "rupay": ("81", 16),
    "jcb low": ("3528", 16),
    "jcb high": ("3589", 16),
    "mir": ("2202", 16),
    "maestro": ("6759", 18),
}


@pytest.mark.parametrize(("prefix", "length"), ISSUERS.values(), ids=ISSUERS)
@pytest.mark.parametrize(
    "frame", ["{}", "paid with {} today", "card={};", '{{"pan":"{}"}}', "{} 12/29", "{} 123", "12 {}"]
)
def test_a_card_of_every_issuer_is_found(prefix: str, length: int, frame: str) -> None:
    source = random.Random(prefix)
    numbers = (
        with_check_digit(prefix + "".join(source.choices("0123456789", k=length - 1 - len(prefix)))) for _ in range(99)
    )
    number = next(one for one in numbers if is_card(one))
    text = frame.format(number)
    assert number not in scrub_text(text)[0]
    assert scrub_text(text)[1] == ("card",)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "3782 822463 10005",
        "４１１１１１１１１１１１１１１１",
        "٤١١١١١١١١١١١١١١١",
        "4111 1111 1111 1111 12 345 678",
        "1234 5678 4111 1111 1111 1111",
        "2026-11-22 4111111111111111",
    ],
)
def test_cards_are_found_however_they_are_grouped_and_whatever_stands_beside_them(text: str) -> None:
    clean, rules = scrub_text(text)
    assert rules == ("card",)
    assert "1111 1111" not in clean
    assert "4111111111111111" not in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("jane@example.com", "[email]"),
        ("to=jane.doe+tag@mail.example.co.jp!", "to=[email]!"),
        ("<o'neil@example.com>", "<[email]>"),
        ("jane%40example.com", "[email]"),
        ("/u/jane@example.com/x?y=1", "/u/[email]/x?y=1"),
        ("müller@example.de", "[email]"),
        ("info@müller.de", "[email]"),
        ("ｊａｎｅ＠example．com", "[email]"),
        ("jane\u200b@exam\u00adple.com", "[email]"),
        ("jane@example.com.1", "[email].1"),
        ("a@b.com,c@d.org", "[email],[email]"),
        ("jane@xn--bcher-kva.example", "[email]"),
        ("postgres://app:secret@db.example.com/x", "postgres://app:[email]/x"),
    ],
)
def test_addresses_of_mail_are_found(text: str, clean: str) -> None:
    assert scrub_text(text) == (clean, ("email",))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("203.0.113.7", "[ip]"),
        ("10.1.2.3:8080", "[ip]:8080"),
        ("from 203.0.113.7, again", "from [ip], again"),
        ("see 203.0.113.7.", "see [ip]."),
        ("http://203.0.113.7/x", "http://[ip]/x"),
        ("203.0.113.7/24", "[ip]/24"),
        ("2001:db8::1", "[ip]"),
        ("2001:0db8:0000:0000:0000:ff00:0042:8329", "[ip]"),
        ("[2001:DB8::1]:443", "[[ip]]:443"),
        ("fe80::1ff:fe23:4567:890a%eth0", "[ip]%eth0"),
        ("client_ip:2001:db8::1", "client_ip:[ip]"),
        ("from 2001:db8::1: timeout", "from [ip]: timeout"),
        ("2001:db8::", "[ip]"),
        ("::ffff:203.0.113.7", "::ffff:[ip]"),
    ],
)
def test_addresses_of_machines_are_found(text: str, clean: str) -> None:
    assert scrub_text(text) == (clean, ("ip",))


def test_several_kinds_in_one_text_are_all_found() -> None:
    text = "jane@example.com paid 4111111111111111 from 203.0.113.7 and 2001:db8::1"
    assert scrub_text(text) == ("[email] paid [card] from [ip] and [ip]", ("email", "card", "ip"))


def test_four_numbers_with_dots_are_taken_for_an_address_unless_a_letter_stands_before() -> None:
    assert scrub_text("1.2.3.4")[1] == ("ip",)
    assert scrub_text("v1.2.3.4 and 1.2.3.4-beta.7") == ("v1.2.3.4 and [ip]-beta.7", ("ip",))


@pytest.mark.parametrize(
    "text",
    [
        "lodash@4.17.21",
        "image@sha256:0123456789abcdef",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.0",
        "10.0.0.0/8",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.02.03.04",
        "::1",
        "::",
        "std::vector::size",
        "12:30:45",
        "2026-11-22T12:30:45.123Z",
        "00:1a:2b:3c:4d:5e",
        "4111111111111112",
        "4111111111111111111111",
        "20261122123045",
        "order_4111111111111111",
        "4111111111111111-a",
        "4006381333931",
        "0.4111111111111111",
    ],
)
def test_look_alikes_stay(text: str) -> None:
    assert scrub_text(text) == (text, ())


def digits(source: random.Random, count: int) -> str:
    """So many random digits."""
    return "".join(source.choices("0123456789", k=count))


def ean(source: random.Random) -> str:
    """A product number with its check digit."""
    body = source.choice(["400", "45", "49", "93", "978"]) + digits(source, 10)
    body = body[:12]
    weighted = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(body))
    return body + str(-weighted % 10)


def bad_card(source: random.Random) -> str:
    """Sixteen digits that fail the checksum."""
    return next(one for one in iter(lambda: "4" + digits(source, 15), "") if not luhn(one))


AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.15 Version/17.1 Mobile/15E148",
    "python-requests/2.{}.0",
    "okhttp/4.{}.0",
)
NEGATIVES: dict[str, Callable[[random.Random], str]] = {
    "order id": lambda r: f"ORD-{digits(r, 10)}",
    "10-digit integer": lambda r: digits(r, 10),
    "unix seconds": lambda r: str(r.randrange(1_500_000_000, 1_900_000_000)),
    "epoch ms": lambda r: str(r.randrange(1_500_000_000_000, 1_900_000_000_000)),
    "epoch us": lambda r: str(r.randrange(1_500_000_000_000_000, 1_900_000_000_000_000)),
    "16 digits, no card": bad_card,
    "13-digit product number": ean,
    "version": lambda r: f"{r.randrange(30)}.{r.randrange(30)}.{r.randrange(300)}",
    "version with v": lambda r: "v" + ".".join(str(r.randrange(30)) for _ in range(4)),
    "uuid": lambda r: str(uuid.UUID(int=r.getrandbits(128), version=4)),
    "trace id": lambda r: f"{r.getrandbits(128):032x}",
    "span id": lambda r: f"{r.getrandbits(64):016x}",
    "path": lambda r: f"/api/v{r.randrange(4)}/users/{digits(r, 8)}/orders/{digits(r, 6)}.json",
    "host": lambda r: f"ip-10-{r.randrange(256)}-{r.randrange(256)}-7.ap-southeast-2.compute.internal",
    "user agent": lambda r: r.choice(AGENTS).format(r.randrange(90, 150)),
    "metric name": lambda r: f"http.server.{r.choice(['request', 'response'])}.duration_p{r.randrange(100)}",
    "mac": lambda r: ":".join(f"{r.randrange(256):02x}" for _ in range(6)),
    "iso date": lambda r: (
        f"20{r.randrange(10, 40)}-0{r.randrange(1, 10)}-1{r.randrange(10)}T1{r.randrange(10)}:30:45.123Z"
    ),
    "java frame": lambda r: f"com.example.shop.Order$1.place(Order.java:{r.randrange(2000)})",
    "iban-shaped": lambda r: f"DE00{digits(r, 18)}",
}
NEVER = NEGATIVES.keys() - {"iban-shaped"}


def test_false_scrubs_on_telemetry_are_rarer_than_one_in_two_hundred_and_none_where_none_may_be() -> None:
    source = random.Random(20261122)
    wrong = {kind: sum(bool(scrub_text(make(source))[1]) for _ in range(500)) for kind, make in NEGATIVES.items()}
    assert {kind for kind in NEVER if wrong[kind]} == set()
    assert sum(wrong.values()) / (500 * len(NEGATIVES)) <= 0.005, wrong


def test_of_random_digits_fewer_than_one_in_twenty_five_pass_for_a_card() -> None:
    source = random.Random(7)
    for length in range(13, 20):
        wrong = sum(is_card(digits(source, length)) for _ in range(4_000))
        assert wrong / 4_000 < 0.04, length


HOSTILE = [
    "a",
    "@",
    "a@",
    "a@a.",
    "%40",
    "1",
    "1 ",
    "1-",
    "1 1-",
    "123 ",
    "4111 ",
    ".",
    "1.",
    "1.1.1.1 ",
    ":",
    "1:",
    "g:1:",
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.pattern.pattern[:12])
def test_time_grows_with_the_length_of_hostile_text_and_not_with_its_square(detector: Detector) -> None:
    for unit, end in product(HOSTILE, ["", "x", "-"]):
        once, fourfold = (least_time(detector, (unit * size)[:size] + end) for size in (5_000, 20_000))
        assert fourfold < 10 * max(once, 0.001), (unit, end)


def least_time(detector: Detector, text: str) -> float:
    """Seconds of this process, best of three; other processes do not count."""
    found: list[float] = []
    for _ in range(3):
        started = time.process_time()
        detector.pattern.sub(lambda match: "!" if detector.confirm(match[0]) else match[0], text)
        found.append(time.process_time() - started)
    return min(found)


def test_text_that_is_too_long_to_search_is_dropped_whole() -> None:
    assert scrub_text("a" * MAX_CHARS) == ("a" * MAX_CHARS, ())
    assert scrub_text("a" * (MAX_CHARS + 1)) == ("[too_long]", ("too_long",))
    assert scrub_text("\ufdfa" * 1_000) == ("[too_long]", ("too_long",))


def test_what_a_detector_fails_on_is_dropped_and_counted() -> None:
    def fail(_: str) -> bool:
        raise RecursionError

    broken = Scrubber(detectors=[Detector("email", fail, DETECTORS[0].pattern, fail)])
    assert broken.value("jane@example.com") == (f"[{FAILED}]", (FAILED,))
