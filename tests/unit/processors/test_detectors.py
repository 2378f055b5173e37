"""Detectors find what is personal in free text, and leave alone what only looks like it."""

from __future__ import annotations

import random
import re
import time
from ipaddress import IPv4Address
from itertools import product

import orjson
import pytest

from streamgauge.processors.detectors import DETECTORS, scrub_text
from streamgauge.processors.detectors_addresses import is_ipv4
from streamgauge.processors.detectors_cards import is_card, luhn
from streamgauge.processors.detectors_rule import MAX_TRIES, Detector, Look, Tangled
from streamgauge.processors.detectors_text import MAX_CHARS
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
    "jcb as test numbers have it": ("3503", 16),
    "maestro": ("6759", 18),
    "maestro 56 to 58": ("5698", 16),
    "maestro 12": ("6763", 12),
    "jcb 15": ("1800", 15),
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


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3.4",
        "10.2.0.4",
        "v203.0.113.7",
        "version=120.44.33.12",
        "nginx/1.25.3.1",
        "agent-7.44.1.0-rc.1",
        "1.2.3.4-beta.7",
        "Chrome/120.0.33.9",
        "upgraded from 1.2.3.4 to 1.2.3.5",
    ],
)
def test_four_numbers_that_a_release_may_have_stay(text: str) -> None:
    assert scrub_text(text) == (text, ())


@pytest.mark.parametrize(
    "text",
    ["1.2.3.4:8080", "1.2.3.4/24", "client_ip=1.2.3.4", '{"remoteAddr":"1.2.3.4"}', "from 1.2.3.4", "http://1.2.3.4/x"],
)
def test_small_numbers_are_an_address_where_their_surroundings_say_so(text: str) -> None:
    assert scrub_text(text) == (text.replace("1.2.3.4", "[ip]"), ("ip",))


def test_a_key_decides_where_form_cannot() -> None:
    assert scrub_text("1.2.3.4", "ip") == ("[ip]", ("ip",))
    assert scrub_text("203.0.113.7", "version") == ("203.0.113.7", ())


def test_of_random_addresses_at_most_one_in_fifty_passes_for_a_release() -> None:
    source = random.Random(4)
    missed = 0
    for _ in range(5_000):
        text = str(IPv4Address(source.randrange(1 << 24, 223 << 24)))
        missed += is_ipv4(text) and not scrub_text(text)[1]
    assert missed / 5_000 < 0.02


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


def test_of_random_digits_fewer_than_one_in_twenty_five_pass_for_a_card() -> None:
    source = random.Random(7)
    for length in range(13, 20):
        wrong = sum(is_card(digits(source, length)) for _ in range(4_000))
        assert wrong / 4_000 < 0.04, length


HOSTILE = [
    *(
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
    ),
    *(
        "://",
        "://a@",
        "eyJ.",
        "eyJaaaaaa.",
        "-----BEGIN PRIVATE KEY-----",
        "key=",
        "key:",
        '"key":"',
        "password",
        "Bearer ",
    ),
    *(
        "+1",
        "+1 ",
        "0",
        "01 ",
        "(0",
        "phone ",
        "phone=1",
        "ssn 1",
        "passport ",
        "a at b dot ",
        "[at]",
        "DE00 1234 ",
        "00:",
    ),
    *(
        "ab:",
        "ab::",
        "\\u0040",
        "&#64;",
        "%25",
        "é",
        "１",
        "x.y@z.",
        "AKIA",
        "sk-",
        "aaaa-",
        "1234-5678-",
        "2024-01-15 ",
    ),
    *("1234567890 ", "\u200b", "[email]", "GB82 WEST ", "a_", "call me ", "(", "a=1&", '{"a":'),
]


def test_a_text_of_the_greatest_length_costs_no_more_than_so_many_short_ones() -> None:
    worst: list[tuple[float, str]] = []
    for unit, end in product(HOSTILE, ["", "!", "@"]):
        short, long = ((unit * MAX_CHARS)[: size - len(end)] + end for size in (MAX_CHARS // 4, MAX_CHARS))
        worst.append((least_time(long) / max(least_time(short), 0.0005), unit))
    assert max(worst)[0] < 20, max(worst)  # four times the length: linear is 4, its square 16 of a larger base


def least_time(text: str) -> float:
    """Seconds of this process, best of three; other processes do not count."""
    found: list[float] = []
    for _ in range(3):
        started = time.process_time()
        scrub_text(text)
        found.append(time.process_time() - started)
    return min(found)


def test_text_that_is_too_long_to_search_is_dropped_whole() -> None:
    assert scrub_text("a" * MAX_CHARS) == ("a" * MAX_CHARS, ())
    assert scrub_text("a" * (MAX_CHARS + 1)) == ("[too_long]", ("too_long",))
    assert scrub_text("a" * 1_000_000, "email") == ("[too_long]", ("too_long",))
    assert scrub_text("\ufdfa" * 1_000) == ("[too_long]", ("too_long",))


def test_text_with_more_candidates_than_may_be_looked_at_is_dropped_whole() -> None:
    text = "1.2.3.4 " * 256
    look = Look(text)
    look.tries = MAX_TRIES
    with pytest.raises(Tangled):
        look.attempt()
    assert scrub_text("ab::" * 512)[0] in {"ab::" * 512, "[tangled]"}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\\ud800 ana\\u0040example.com", "\ufffd [email]"),
        ("\\udc00\\ud800 ana\\u0040example.com", "\ufffd\ufffd [email]"),
        ("\\ud83d\\ude00 ana\\u0040example.com", "\U0001f600 [email]"),
    ],
)
def test_half_a_character_in_an_escape_never_makes_a_text_that_no_message_can_carry(text: str, clean: str) -> None:
    assert scrub_text(text) == (clean, ("email",))
    assert orjson.loads(orjson.dumps(clean)) == clean


def test_what_a_detector_fails_on_is_dropped_and_counted() -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    broken = Scrubber(detectors=[Detector("email", ("@",), re.compile("@"), fail)])
    assert broken.value("jane@example.com") == (f"[{FAILED}]", (FAILED,))
    assert broken.value("jane") == ("jane", ())


def test_what_the_gate_cannot_answer_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: bytes) -> list[int]:
        return []

    scrubber = Scrubber(detectors=DETECTORS[:1])
    monkeypatch.setattr(vars(scrubber)["_rules"], "_match", silent)
    assert scrubber.value("anything") == (f"[{FAILED}]", (FAILED,))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: f"{one.rule} {one.gates[0][:16]}")
def test_no_token_matches_a_rule(detector: Detector) -> None:
    tokens = " ".join(
        f"[{rule}]" for rule in [*(one.rule for one in DETECTORS), "too_long", "tangled", "unchecked", "failed"]
    )
    assert detector.scrub(Look(tokens)) == 0
