"""Coarse forms: what each rule makes of what, that nothing precise is left, and that twice is once."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.contracts import GENERALISE_RULES
from streamgauge.schemas.generalise import AGES, COUNTRIES, DECLARED, FAMILIES, MAX_CHARS, RULES, UNKNOWN, generalise

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 Version/17.1 Safari/604.1"
EDGE = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36 Edg/119.0"


@pytest.mark.parametrize(
    ("rule", "value", "coarse"),
    [
        ("ip_prefix", "203.0.113.77", "203.0.113.0/24"),
        ("ip_prefix", "203.0.113.77:8443", "203.0.113.0/24"),
        ("ip_prefix", " 203.0.113.77, 10.0.0.1", "203.0.113.0/24"),
        ("ip_prefix", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("ip_prefix", "[2001:db8:1:2::6]:443", "2001:db8:1::/48"),
        ("ip_prefix", "fe80::1%eth0", "fe80::/48"),
        ("ip_prefix", "::ffff:203.0.113.77", "203.0.113.0/24"),
        ("ip_prefix", "host.example", UNKNOWN),
        ("ip_prefix", "203.0.113.777", UNKNOWN),
        ("ip_prefix", "203.0.113.77/32", UNKNOWN),
        ("date", "1987-04-12", "1987-04"),
        ("date", "1987-04-12T09:30:00.123Z", "1987-04"),
        ("date", "19870412", "1987-04"),
        ("date", "1987-04", "1987-04"),
        ("date", "12/04/1987", UNKNOWN),
        ("date", "1987-13-01", UNKNOWN),
        ("date", "1987-04-12 born in Perth", "1987-04"),
        ("age_band", "17", "0-17"),
        ("age_band", "18", "18-24"),
        ("age_band", "34.5", "25-34"),
        ("age_band", "102", "65+"),
        ("age_band", "200", UNKNOWN),
        ("age_band", "-3", UNKNOWN),
        ("age_band", "forty", UNKNOWN),
        ("country", "nz", "NZ"),
        ("country", "New Zealand", UNKNOWN),
        ("country", "203.0.113.77", UNKNOWN),
        ("user_agent", IPHONE, "safari"),
        ("user_agent", EDGE, "edge"),
        ("user_agent", "curl/8.4.0", "curl"),
        ("user_agent", "python-requests/2.31", "python"),
        ("user_agent", "Googlebot/2.1 (+http://www.google.com/bot.html)", "bot"),
        ("user_agent", "AnnsOwnClient (ann@example.com)", "other"),
        ("url", "https://ann:pw@Shop.example:8443/users/ann/orders/4711?token=abc#top",
         "https://shop.example:8443/users/{id}/orders/{id}"),
        ("url", "/orders/0d4f1b7e-1111-4222-8333-0123456789ab/items/3", "/orders/{id}/items/{id}"),
        ("url", "/files/ann%40example.com/report.html", "/files/{id}/report.html"),
        ("url", "/cart;jsessionid=ABC123/checkout", "/cart/checkout"),
        ("url", "http://203.0.113.77/health", "http://{ip}/health"),
        ("url", "http://[2001:db8::1]:80/v2/health", "http://{ip}/v2/health"),
        ("url", "mailto:ann@example.com", UNKNOWN),
        ("url", "ann", UNKNOWN),
        ("url_query", "https://ann:pw@shop.example/a?page=2&sig=0f&X-Amz-Credential=AKIA&email=ann%40example.com#x",
         "https://shop.example/a?page=2&sig=REDACTED&X-Amz-Credential=REDACTED&email=REDACTED"),
        ("url_query", "/a?AWSAccessKeyId=A&Signature=B&X-Goog-Signature=C&X-Amz-Security-Token=D&q=shoes",
         "/a?AWSAccessKeyId=REDACTED&Signature=REDACTED&X-Goog-Signature=REDACTED&X-Amz-Security-Token=REDACTED&q=shoes"),
        ("url_query", "/a?access%5Ftoken=abc&token_count=3&flag", "/a?access%5Ftoken=REDACTED&token_count=3&flag"),
        ("query", "?page=2&password=hunter2", "page=2&password=REDACTED"),
    ],
)  # fmt: skip
def test_a_value_becomes_coarse(rule: str, value: str, coarse: str) -> None:
    assert generalise(rule, value) == coarse


@given(st.sampled_from(sorted(RULES)), st.text(max_size=200))
def test_applying_a_rule_twice_changes_nothing(rule: str, value: str) -> None:
    once = generalise(rule, value)
    assert generalise(rule, once) == once


URLS = (
    r"https?://([a-z]{1,5}(:[a-z]{1,5})?@)?[a-z]{1,5}\.example(:\d{1,5})?(/[a-z0-9@.%;=]{0,12}){0,14}"
    r"(\?[a-z0-9=&]{0,20})?(#[a-z]{0,5})?"
)
structured = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str), st.dates().map(str), st.datetimes().map(str),
    st.integers(-5, 200).map(str), st.sampled_from([IPHONE, EDGE]),
    st.from_regex(URLS, fullmatch=True),
)  # fmt: skip


@given(st.sampled_from(sorted(RULES)), structured)
def test_so_it_is_for_values_that_rules_can_read(rule: str, value: str) -> None:
    once = generalise(rule, value)
    assert generalise(rule, once) == once


@given(st.ip_addresses(v=4))
def test_a_network_says_nothing_of_the_machine(address: IPv4Address) -> None:
    others = {generalise("ip_prefix", str(IPv4Address(int(address) & 0xFFFFFF00 | last))) for last in (0, 1, 77, 255)}
    assert len(others) == 1
    assert IPv4Address(others.pop().removesuffix("/24")).packed[3] == 0


@given(st.integers(1 << 64, (1 << 128) - 1).map(IPv6Address))
def test_a_network_of_the_sixth_version_says_nothing_of_the_household(address: IPv6Address) -> None:
    coarse = generalise("ip_prefix", str(address))
    assert int(IPv6Address(coarse.removesuffix("/48"))) == int(address) >> 80 << 80


@given(st.sampled_from(["age_band", "country", "user_agent", "date"]), st.text(max_size=60))
def test_the_results_of_closed_rules_are_a_small_set(rule: str, value: str) -> None:
    allowed = {
        "age_band": {band for _, band in AGES},
        "country": COUNTRIES,
        "user_agent": {name for name, _ in FAMILIES} | {"other"},
    }
    coarse = generalise(rule, value)
    assert coarse in {"", UNKNOWN} or (
        bool(re.fullmatch(r"[12]\d{3}-\d\d", coarse)) if rule == "date" else coarse in allowed[rule]
    )


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_is_too_long_is_unknown_and_what_is_missing_stays_so(rule: str) -> None:
    assert generalise(rule, "1" * (MAX_CHARS + 1)) == UNKNOWN
    assert generalise(rule, "") == ""


def test_a_contract_may_name_the_rules_that_leave_nothing_to_detectors() -> None:
    assert DECLARED == GENERALISE_RULES
    assert set(DECLARED) <= set(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize(
    "hard", ["/" * MAX_CHARS, "a." * 1_000, "&=" * 1_000, ";" * MAX_CHARS, "%" * MAX_CHARS, "[" * MAX_CHARS]
)
def test_text_that_was_made_to_be_difficult_is_read_like_any_other(rule: str, hard: str) -> None:
    generalise(rule, hard)
