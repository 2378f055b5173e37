"""What is counted distinct leaves as keyed hashes only, each under the key of its day; tokens stand for what is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.accumulator import Accumulator, Tools
from streamgauge.processors.detectors import scrub_text
from streamgauge.processors.keyring import DAY_MS, Keyring, new_ring, ring_of
from streamgauge.processors.keys import KeyTable, RecentKeys
from streamgauge.processors.normal_forms import EMAIL, IP, PHONE, kind_of, normal_form
from streamgauge.processors.pseudonyms import (
    KEY_DESTROYED,
    NO_KEY,
    TOKEN,
    DistinctHasher,
    live_pseudonyms,
    pseudonym,
    pseudonym_key,
)
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.columns import Strings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret
from tests.unit.processors.raw import CONTRACTS, KEY, NOW, PAID, PLACE, accumulated, events, never
from tests.unit.processors.rings import TODAY, TOMORROW, YESTERDAY, ring_with, secret

PEOPLE = ["c-1", "c-2", "c-1", None, "", "  "]


def test_hashes_are_stable_for_ever() -> None:
    # rollups of years rest on these; a change here is a new version of the distinct topic
    hashes = DistinctHasher(KEY, "local").hashes("order.customer", "acme", ["c-1", "c-2", "李"], NOW)
    assert hashes.tolist() == GOLDEN


GOLDEN = [14993597561305812862, 15534118877010240050, 8610479891231667747]


def test_equal_values_have_equal_hashes_and_missing_ones_none() -> None:
    hasher = DistinctHasher(KEY, "local")
    one, two, again, *missing = hasher.hashes("order.customer", "", PEOPLE, NOW).tolist()
    assert one == again != two
    assert missing == [0, 0, 0]
    assert hasher.hashes("order.customer", "", [" c-1 "], NOW).tolist() == [one]
    assert DistinctHasher(KEY, "local").hashes("order.customer", "", ["c-1"], NOW).tolist() == [one]


def test_hashes_of_another_field_tenant_region_or_key_have_nothing_in_common() -> None:
    values = [f"c-{number}" for number in range(200)]
    seen: set[int] = set()
    for key, region, field, tenant in [
        (KEY, "local", "order.customer", ""),
        (KEY, "local", "order.session", ""),
        (KEY, "local", "refund.customer", ""),
        (KEY, "local", "order.customer", "acme"),
        (KEY, "eu", "order.customer", ""),
        (KEY[::-1], "local", "order.customer", ""),
        (KEY[:16], "local", "order.customer", ""),
    ]:
        hashes = set(DistinctHasher(key, region).hashes(field, tenant, values, NOW).tolist())
        assert len(hashes) == 200
        assert not hashes & seen
        seen |= hashes


def test_a_hasher_that_forgets_gives_the_same_hashes_and_stays_small() -> None:
    small, large = DistinctHasher(KEY, "local", capacity=10), DistinctHasher(KEY, "local")
    for number in range(50):
        values = [f"c-{number}", f"c-{number + 1}", None]
        assert np.array_equal(small.hashes("a.b", "", values, NOW), large.hashes("a.b", "", values, NOW))
        small.hashes("a.b", f"tenant {number}", [None], NOW)
    assert sum(map(len, vars(small)["_seen"].values())) + len(vars(small)["_seen"]) < 30


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 15, "00" * 65, "0", "correct horse battery staple"])
def test_without_a_good_key_nothing_starts_and_the_key_is_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="STREAMGAUGE_PSEUDONYM_KEY") as caught:
        pseudonym_key(Secret(text))
    assert not text or text not in str(caught.value)


def test_keys_of_16_to_64_bytes_are_good() -> None:
    for size in (16, 32, 64):
        assert pseudonym_key(Secret("ab" * size)) == b"\xab" * size


TWO = ring_with(TODAY)
"""k1 until today, k2 from today on."""


def columns(ring: Keyring, values: Sequence[str | None], times: Sequence[int]) -> tuple[list[int], dict[str, int]]:
    """Hashes of rows, and what was lost."""
    dictionary = list(dict.fromkeys(values))
    index = np.array([dictionary.index(value) for value in values], np.uint8)
    hashed = DistinctHasher(ring, "local").column("a.b", "", Strings(dictionary, index), np.array(times, np.int64))
    return hashed.hashes[hashed.index].tolist(), dict(hashed.lost)


def alone(ring: Keyring, value: str, at_ms: int) -> int:
    """The hash of one value."""
    return int(DistinctHasher(ring, "local").hashes("a.b", "", [value], at_ms)[0])


def test_the_time_of_an_event_chooses_its_key_not_the_clock() -> None:
    values = ["c-1", "c-2", "c-1", None, "c-1"]
    times = [TODAY - 1, TODAY - 1, TODAY, TODAY, TODAY + 5 * DAY_MS]
    rows, lost = columns(TWO, values, times)
    assert rows[0] == alone(TWO, "c-1", 0) == alone(ring_with(), "c-1", NOW)
    assert rows[2] == rows[4] == alone(TWO, "c-1", TODAY + DAY_MS) == alone(ring_with(first=secret(2)), "c-1", 0)
    assert len({rows[0], rows[1], rows[2]}) == 3
    assert (rows[3], lost) == (0, {})


def test_a_day_has_one_key_up_to_its_last_millisecond() -> None:
    assert alone(TWO, "x", TODAY - DAY_MS) == alone(TWO, "x", TODAY - 1)
    assert alone(TWO, "x", TODAY) == alone(TWO, "x", TODAY + DAY_MS - 1) != alone(TWO, "x", TODAY - 1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None, " ", "c"]), st.integers(-3, 4)), min_size=1, max_size=30),
    st.sets(st.sampled_from(["k1", "k2", "k3"])),
)
def test_a_batch_over_several_keys_is_the_batches_of_each_of_its_rows(
    rows: list[tuple[str | None, int]], destroyed: set[str]
) -> None:
    ring = ring_with(YESTERDAY, TODAY, TOMORROW)
    for key_id in destroyed:
        ring = ring.destroyed(key_id, NOW)
    values, times = [value for value, _ in rows], [TODAY + day * DAY_MS // 2 for _, day in rows]
    together, lost = columns(ring, values, times)
    each = [columns(ring, [value], [at]) for value, at in zip(values, times, strict=True)]
    assert together == [own for hashes, _ in each for own in hashes]
    assert sum(lost.values()) == sum(sum(gone.values()) for _, gone in each)


def test_values_of_a_destroyed_key_are_not_hashed_and_are_counted() -> None:
    ring = TWO.destroyed("k1", NOW)
    rows, lost = columns(ring, ["c-1", "c-1", " ", "c-1", None], [TODAY - 1, 0, 0, TODAY, 0])
    assert rows == [0, 0, 0, alone(TWO, "c-1", TODAY), 0]
    assert lost == {KEY_DESTROYED: 2}
    assert columns(ring, ["c-1", ""], [0, 0]) == ([0, 0], {KEY_DESTROYED: 1})
    assert DistinctHasher(ring, "local").hashes("a.b", "", ["c-1"], 0).tolist() == [0]


def test_before_the_first_key_nothing_is_hashed_and_that_is_counted() -> None:
    (first,) = ring_with().keys
    ring = Keyring((replace(first, from_ms=TODAY),), ring_with().recognition)
    assert columns(ring, ["c-1", "c-2"], [TODAY - 1, TODAY - 1]) == ([0, 0], {NO_KEY: 2})
    assert columns(ring, ["c-1", "c-1"], [TODAY - 1, TODAY]) == ([0, alone(ring, "c-1", TODAY)], {NO_KEY: 1})


def rolled(ring: Keyring, rows: Sequence[dict[str, Any]]) -> tuple[int, set[int], dict[str, int]]:
    """What a worker makes of orders: how many, the hashes of customers, and what was scrubbed."""
    added = accumulated([events(rows)], with_tools=Tools(Scrubber(), DistinctHasher(ring, "local")))
    found = [rollup for _, _, rollup in added.roll_up(SeriesIndex())]
    hashes = {int(one) for rollup in found for part in rollup.distinct for one in part.hash}
    return sum(int(rollup.rows[0].count.sum()) for rollup in found), hashes, dict(+added.scrubbed)


ORDERS = [{"customer": "c-1", "time": at} for at in (TODAY - 3, TODAY - 2, TODAY + 1, TODAY + 2)]


def test_totals_are_exact_whatever_becomes_of_keys() -> None:
    before, after = alone_of_orders(TWO, TODAY - 1), alone_of_orders(TWO, TODAY)
    assert rolled(TWO, ORDERS) == (4, {before, after}, {"pseudonym": 4})
    assert rolled(TWO.destroyed("k1", NOW), ORDERS) == (4, {after}, {"pseudonym": 2, KEY_DESTROYED: 2})
    assert rolled(TWO, ORDERS) == rolled(TWO, ORDERS)  # a replay, on whatever day


def alone_of_orders(ring: Keyring, at_ms: int) -> int:
    """The hash of the customer of `ORDERS`."""
    return int(DistinctHasher(ring, "local").hashes("order.customer", "", ["c-1"], at_ms)[0])


def test_what_was_remembered_is_forgotten_with_its_key() -> None:
    hasher = DistinctHasher(TWO, "local")
    hasher.hashes("a.b", "", ["jane"], 0)
    assert "jane" in str(vars(hasher)["_seen"])
    hasher.use(TWO.destroyed("k1", NOW), NOW)
    assert vars(hasher)["_seen"] == {}
    assert hasher.hashes("a.b", "", ["jane"], 0).tolist() == [0]
    assert "jane" not in str(vars(hasher)["_seen"])


def repeats(*rings: Keyring, now_ms: int = NOW) -> list[list[bool]]:
    """Which of the orders a, b, c are new when they come under one ring after the other, on one partition."""
    known = RecentKeys(KeyTable())
    found: list[list[bool]] = []
    for ring in rings:
        added = Accumulator(PLACE, Tools(Scrubber(), DistinctHasher(ring, "local", now_ms=now_ms)), keys=known)
        rows = [{"order_id": key, "country": "AU"} for key in "abc"[: len(found) + 1]]
        added.add(0, events(rows, PAID), CONTRACTS, NOW, never)
        points = sum(int(one.rows[0].count.sum()) for _, _, one in added.roll_up(SeriesIndex()))
        found.append([True] * points + [False] * (len(rows) - points))
    return found


def test_a_rotation_or_a_destruction_lets_no_order_count_twice() -> None:
    rings = ring_with(), ring_with(YESTERDAY), ring_with(YESTERDAY, TODAY).destroyed("k1", NOW)
    assert repeats(*rings) == [[True], [True, False], [True, False, False]]


def test_orders_from_before_a_key_was_taken_over_into_a_ring_count_once() -> None:
    taken_over = new_ring(NOW, KEY, secret(99), taken_over=True)
    assert repeats(ring_of(KEY), taken_over, taken_over) == [[True], [True, False], [True, False, False]]
    # an order that is known under the ring alone is known, too
    assert repeats(new_ring(NOW, secret(1), secret(99)), taken_over) == [[True], [True, False]]
    # only while that key is looked up: a month, which is longer than any order is remembered
    late = NOW + 31 * DAY_MS
    assert taken_over.recognising(late) == (secret(99),)
    assert taken_over.destroyed("k1", NOW).recognising(NOW) == (secret(99),)


def test_a_raw_message_is_recognised_after_a_rotation_and_from_before_the_ring() -> None:
    old, ring = DistinctHasher(KEY, "local"), new_ring(NOW, KEY, secret(99), taken_over=True)
    new = DistinctHasher(ring.rotated(TOMORROW + DAY_MS, NOW, secret(2)), "local", now_ms=NOW)
    letters = [old.fingerprint(b"message"), new.fingerprint(b"message")]
    assert letters[0] != letters[1]
    assert [new.recognises(b"message", one) for one in letters] == [True, True]
    assert not any(new.recognises(b"another", one) for one in (*letters, "", "\u00e9"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("order.email", EMAIL), ("userEmail", EMAIL), ("billing_e-mail", EMAIL), ("client.address", ""),
        ("email_address", EMAIL), ("order.phone_number", PHONE), ("msisdn", PHONE), ("phone2", PHONE), ("clientIP", IP),
        ("source.ip", IP), ("ip_address", IP), ("ipv6", IP), ("shipping_id", ""), ("email_hash", ""), ("tip", ""),
        ("phone_id", ""), ("", ""), ("order.customer", ""),
    ],
)  # fmt: skip
def test_the_name_of_a_field_says_what_kind_its_values_are(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("kind", "spellings", "form"),
    [
        ("", ["c-1", " c-1 ", "\uff43-1", "c-1\u3000"], "c-1"),
        ("", ["C-1"], "C-1"),
        (EMAIL, ["jane@example.com", " Jane@Example.COM", "jane\uff20example.com"], "jane@example.com"),
        (EMAIL, ["No mail"], "No mail"),
        (PHONE, ["+49 30 901820", "(030) 90 18 20", "030-901820", "0049 30 901820"], "+4930901820"),
        (PHONE, ["+49 30 901820 ext. 7", "030 901820 x7"], "+4930901820;ext=7"),
        (PHONE, ["call me"], "call me"),
        (IP, ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "[2001:db8::1]", "2001:db8::1%eth0"], "2001:db8::1"),
        (IP, ["203.0.113.7", "::ffff:203.0.113.7", " 203.0.113.7 "], "203.0.113.7"),
        (IP, ["gateway"], "gateway"),
    ],
)
def test_spellings_of_one_thing_are_one_thing(kind: str, spellings: list[str], form: str) -> None:
    assert {normal_form(kind, one, "DE") for one in spellings} == {form}


def test_without_a_country_only_international_numbers_are_brought_together() -> None:
    assert normal_form(PHONE, "+49 (30) 901820") == "+4930901820"
    assert normal_form(PHONE, "030 901820") == "030 901820"


@given(st.sampled_from(["", EMAIL, PHONE, IP]), st.text(max_size=40), st.sampled_from(["", "DE", "US"]))
def test_a_normal_form_has_itself_as_its_normal_form(kind: str, value: str, region: str) -> None:
    once = normal_form(kind, value, region)
    assert normal_form(kind, once, region) == once


def test_text_that_would_take_long_to_normalise_is_trimmed_only() -> None:
    text = "\u0345\u0301" * 2_000
    assert normal_form("", f" {text} ") == text


def test_spellings_have_one_hash_and_one_token_and_erasure_finds_both() -> None:
    hasher, ring = DistinctHasher(TWO, "eu", phone_region="DE"), TWO
    one, two = hasher.hashes("user.phone", "t", ["030 901820", "+49 30 901820"], NOW).tolist()
    found = live_pseudonyms(ring, "eu", "t", "user.phone", "(030) 901820", phone_region="DE")
    assert one == two == found[1].hash
    assert found[1].token == pseudonym(PHONE, "+4930901820", ring.named("k2"), "eu", "t", "user.phone")


def test_all_live_keys_give_the_pseudonyms_of_a_person_and_destroyed_ones_none() -> None:
    ring = ring_with(YESTERDAY, TODAY)
    found = live_pseudonyms(ring, "eu", "t", "order.customer", " c-1 ")
    assert [(one.key_id, one.from_ms, one.until_ms) for one in found] == [
        ("k1", 0, YESTERDAY), ("k2", YESTERDAY, TODAY), ("k3", TODAY, None),
    ]  # fmt: skip
    hasher = DistinctHasher(ring, "eu")
    for one in found:
        assert hasher.hashes("order.customer", "t", ["c-1"], one.from_ms).tolist() == [one.hash]
        assert TOKEN.fullmatch(one.token)
        assert f"_{one.key_id}_" in one.token
    assert live_pseudonyms(ring.destroyed("k2", NOW), "eu", "t", "order.customer", "c-1") == (found[0], found[2])


def test_tokens_of_two_regions_tenants_fields_kinds_or_keys_have_nothing_in_common() -> None:
    seen: set[str] = set()
    places = list(product(("eu", "us"), ("", "t"), ("a.b", "a.c"), ("", EMAIL), TWO.keys))
    for region, tenant, name, kind, key in places:
        seen |= {pseudonym(kind, f"c-{n}@x.org", key, region, tenant, name).split("_")[2] for n in range(20)}
    assert len(seen) == 20 * len(places)


@settings(max_examples=300)
@given(
    st.sampled_from(["email", "phone", "ip", "user", "device", "", "other"]), st.text(max_size=30),
    st.integers(1, 999_999), st.sampled_from(["{}", "user {} paid", "id={};x", "{}, {}", "({})", "u/{}/cart?u={}"]),
)  # fmt: skip
def test_a_token_says_what_it_is_and_no_detector_takes_it_for_anything(
    kind: str, value: str, number: int, around: str
) -> None:
    key = replace(TWO.keys[0], id=f"k{number}")
    token = pseudonym(kind, value, key, "eu", "", "a.b")
    if not normal_form(kind, value):
        assert token == ""
        return
    assert TOKEN.fullmatch(token)
    assert token.split("_")[1] == key.id
    text = around.replace("{}", token)
    assert set(TOKEN.findall(text)) == {token}
    assert scrub_text(text) == (text, ())


def test_a_token_has_128_bits_letters_first_and_never_a_run_of_digits() -> None:
    bodies = [pseudonym("", f"c-{n}", TWO.keys[0], "eu", "", "a.b").split("_")[2] for n in range(30_000)]
    assert len(set(bodies)) == 30_000
    assert {len(body) for body in bodies} == {26}
    assert {body[0] for body in bodies} == set("abcdefgh")
    for place in range(1, 26):
        assert len({body[place] for body in bodies}) == 32  # every character carries its five bits
    assert max(len(run) for body in bodies for run in re.findall(r"\d+", body)) < 7


@pytest.mark.parametrize(
    "text", ["em_k0_" + "a" * 26, "em_k1_" + "i" + "a" * 25, "xem_k1_" + "a" * 26, "em_k1_" + "a" * 27]
)
def test_what_only_looks_like_a_token_is_none(text: str) -> None:
    assert not TOKEN.search(text)


def test_a_destroyed_key_makes_no_tokens() -> None:
    with pytest.raises(ValueError, match="k1 was destroyed"):
        pseudonym("", "c-1", TWO.destroyed("k1", NOW).keys[0], "eu", "", "a.b")
