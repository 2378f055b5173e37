"""A shape tells how a value looks and nothing of what it says."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.shapes import MAX_CHARS, shape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jane.doe@example.com", "a+.a+@a+.a+"),
        ("4111 1111 1111 1111", "9{4} 9{4} 9{4} 9{4}"),
        ("+49 30 1234567", "+9{2} 9{2} 9{7}"),
        ("a1", "a9"),
        ("ÄÖ１２", "a+9{2}"),
        ("\x00\x1b", "?+"),
        ("-----", "---"),
        ("", ""),
    ],
)
def test_a_value_has_a_shape(text: str, expected: str) -> None:
    assert shape(text) == expected


@given(st.text(max_size=400))
def test_a_shape_is_short_and_holds_no_letter_or_digit_of_the_value(text: str) -> None:
    found = shape(text)
    assert len(found) <= MAX_CHARS + 1
    assert all(one in "a9{}+?…@._-/:;,=%()[]#&*!~|<> 012345678" for one in found)


@given(st.from_regex(r"[b-z]{3,9}@[b-z]{3,9}", fullmatch=True))
def test_two_people_of_one_form_have_one_shape(address: str) -> None:
    assert shape(address) == "a+@a+"


@given(st.text(alphabet="abzABZ019@._- é/", max_size=200), st.randoms(use_true_random=False))
def test_values_that_differ_in_letters_and_digits_only_share_their_shape(text: str, random: Random) -> None:
    other = [
        random.choice("qwertyÄß") if one.isalpha() else random.choice("0123456789") if one.isdigit() else one
        for one in text
    ]
    assert shape("".join(other)) == shape(text)
