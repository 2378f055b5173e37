"""What is counted distinct leaves as keyed hashes only, each under the key of its day; tokens stand for what is kept."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.detectors import scrub_text
from streamgauge.processors.keyring import DAY_MS, FIRST, Keyring, new_ring
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
from streamgauge.schemas.columns import Strings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret
from tests.unit.processors.raw import KEY, NOW

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
