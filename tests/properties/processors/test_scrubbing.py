"""Scrubbing any text: twice is once, planted data never survives, and nothing raises."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.detectors import scrub_text, standard_rules
from streamgauge.processors.detectors_cards import luhn
from streamgauge.processors.detectors_context import HINTS
from streamgauge.processors.detectors_rule import MAX_VALIDATIONS
from streamgauge.processors.detectors_text import MAX_CHARS

SPECIAL = "@.:-%401 4[]'\u200b＠．４éa/+(0)=&;\\\"#u"
texts = st.one_of(
    st.text(max_size=60),
    st.text(SPECIAL, max_size=80),
    st.lists(
        st.sampled_from(
            [
                "jane@example.com",
                "4111111111111111",
                "203.0.113.7",
                "2001:db8::1",
                "+61 412 345 678",
                "(415) 555-2671",
                "DE89370400440532013000",
                "078-05-1120",
                "00:1a:2b:3c:4d:5e",
                "password=",
                "token: ",
                "phone ",
                "https://u:p@",
                "Bearer ",
                "eyJhbGciOi.eyJz.x",
                "AKIAIOSFODNN7EXAMPLE",
                "jane%40example.com",
                "&#64;",
                "\\u0040",
                "%25",
                "[email]",
                "2024-01-15",
                "0",
                " ",
                "-",
                ":",
                ".",
                "1",
                "x",
                "[",
                "%",
            ]
        ),
        max_size=10,
    ).map("".join),
)
separators = st.sampled_from([" ", ",", ";", "=", "(", ")", '"', "<", ">", "|", "\n", "?", "&"])


@settings(max_examples=1_500)
@given(texts)
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    clean, _ = scrub_text(text)
    assert scrub_text(clean) == (clean, ())


@settings(max_examples=800)
@given(texts, st.sampled_from(sorted(HINTS)))
def test_whatever_a_key_says_scrubbing_twice_is_scrubbing_once_and_always_the_same(text: str, hint: str) -> None:
    clean, rules = scrub_text(text, hint)
    assert scrub_text(text, hint) == (clean, rules)
    assert scrub_text(clean, hint) == (clean, ())
    assert rules or clean == text


@settings(max_examples=300)
@given(texts, st.integers(0, 4))
def test_no_text_costs_more_calls_of_libraries_than_it_may(text: str, budget: int) -> None:
    _, _, spent = standard_rules().scrub(text)
    assert spent <= MAX_VALIDATIONS + 1
    clean, rules, spent = standard_rules().scrub(text, budget=budget)
    assert spent <= budget + 1
    assert rules == ("unchecked",) or (clean, rules) == scrub_text(text)


@settings(max_examples=300)
@given(
    texts,
    separators,
    st.from_regex(r"[a-z][a-z0-9.+_]{0,20}[a-z]@[a-z][a-z0-9\-]{0,20}(\.[a-z]{2,8}){1,3}", fullmatch=True),
)
def test_a_planted_address_of_mail_never_survives(text: str, separator: str, address: str) -> None:
    assert address not in scrub_text(f"{text}{separator}{address}{separator}{text}")[0]


@settings(max_examples=300)
@given(texts, separators, st.integers(0, 10**14 - 1), st.sampled_from(["", " ", "-"]))
def test_a_planted_card_never_survives(text: str, separator: str, number: int, between: str) -> None:
    body = f"4{number:014d}"
    number_text = next(body + last for last in "0123456789" if luhn(body + last))
    card = between.join(number_text[start : start + 4] for start in range(0, 16, 4))
    # a word or a fraction right before the digits makes them something else
    assert card not in scrub_text(f"{text}|{separator}{card}{separator}|{text}")[0]


@settings(max_examples=300)
@given(separators, st.ip_addresses())
def test_a_planted_address_of_a_machine_never_survives(separator: str, address: IPv4Address | IPv6Address) -> None:
    nobody = address.is_loopback or (
        address.packed[0] in {0, 255} or address.packed.endswith(bytes(2))
        if isinstance(address, IPv4Address)
        else int(address) <= 1 << 32
    )
    clean, rules = scrub_text(f"from{separator}{address}{separator}again")
    assert nobody or (str(address) not in clean and rules == ("ip",))


@settings(max_examples=200)
@given(st.integers(0, 4_096), st.text(max_size=3))
def test_what_comes_out_is_never_longer_than_what_may_be_searched(repeat: int, unit: str) -> None:
    clean, _ = scrub_text(unit * repeat)
    assert len(clean) <= MAX_CHARS + 10
