"""A ring says which key is in force when, takes new keys only for days that nobody has hashed, and shows no secret."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.keyring import (
    DAY_MS,
    LEAD_MS,
    Keyring,
    fingerprint_of,
    new_key,
    new_ring,
    next_day,
    ring_of,
)
from streamgauge.schemas.errors import InputError, SettingsError
from streamgauge.schemas.settings import Secret
from tests.unit.processors.raw import NOW
from tests.unit.processors.rings import TODAY, TOMORROW, YESTERDAY, ring_with, secret

THREE = ring_with(YESTERDAY, TOMORROW)
LATER = TOMORROW + DAY_MS


def states(ring: Keyring, now_ms: int = NOW) -> list[str]:
    """What each key is for."""
    return [f"{key.id} {ring.state(key, now_ms)}" for key in ring.keys]


def test_a_key_is_in_force_from_its_midnight_until_the_next_ones() -> None:
    for instant, key_id in [
        (-1, None),
        (0, "k1"),
        (YESTERDAY - 1, "k1"),
        (YESTERDAY, "k2"),
        (TOMORROW - 1, "k2"),
        (TOMORROW, "k3"),
    ]:
        key = THREE.at(instant)
        assert (key.id if key else None) == key_id
    assert states(THREE) == ["k1 retired", "k2 current", "k3 future"]
    assert [THREE.until_ms(key) for key in THREE.keys] == [YESTERDAY, TOMORROW, None]


@given(st.lists(st.integers(-DAY_MS, 3 * DAY_MS), min_size=1))
def test_keys_of_many_instants_are_those_of_each(offsets: list[int]) -> None:
    instants = [TODAY + offset for offset in offsets]
    epochs = THREE.epochs
    found = [epochs[code].id for code in map(int, THREE.codes(np.array(instants)))]
    assert found == [key.id for key in map(THREE.at, instants) if key]


def test_a_new_key_begins_with_a_day_that_all_workers_can_know_of() -> None:
    assert next_day(TODAY) == TOMORROW
    assert next_day(TOMORROW - LEAD_MS) == TOMORROW
    assert next_day(TOMORROW - LEAD_MS + 1) == LATER
    ring = ring_with()
    assert states(ring.rotated(TOMORROW, TOMORROW - LEAD_MS, secret(2)), TODAY) == ["k1 current", "k2 future"]
    for day, now_ms, word in [
        (TOMORROW, TOMORROW - LEAD_MS + 1, "within the hour"),
        (TODAY, NOW, "has begun"),
        (YESTERDAY, NOW, "has begun"),
        (TOMORROW + 1, NOW, "midnight"),
    ]:
        with pytest.raises(InputError, match=word):
            ring.rotated(day, now_ms, secret(2))


def test_days_of_new_keys_only_go_on() -> None:
    for day in (TODAY, TOMORROW):
        with pytest.raises(InputError, match=r"later day|has begun"):
            THREE.rotated(day, NOW - DAY_MS, secret(4))
    assert states(THREE.rotated(LATER, NOW, secret(4))) == ["k1 retired", "k2 current", "k3 future", "k4 future"]


def test_a_destroyed_key_stays_as_a_tombstone_and_its_number_is_never_used_again() -> None:
    ring = THREE.destroyed("k1", NOW)
    assert states(ring) == ["k1 destroyed", "k2 current", "k3 future"]
    (stone, *_) = ring.keys
    assert (stone.fingerprint, stone.destroyed_ms, bool(stone.secret)) == (fingerprint_of(secret(1)), NOW, False)
    with pytest.raises(InputError, match="was destroyed on"):
        ring.destroyed("k1", NOW)
    with pytest.raises(InputError, match="it has k1, k2, k3"):
        ring.destroyed("k9", NOW)
    withdrawn = THREE.destroyed("k3", NOW)
    assert withdrawn.rotated(TOMORROW, NOW, secret(4)).keys[-1].id == "k4"


def test_a_key_that_is_destroyed_before_its_day_never_was_in_force() -> None:
    ring = THREE.destroyed("k3", NOW)
    (found,) = {one.id for one in (ring.at(TODAY), ring.at(TOMORROW), ring.at(LATER)) if one}
    assert found == "k2"
    assert ring.codes(np.array([LATER])).tolist() == [1]
    assert ring.until_ms(ring.named("k2")) is None


def test_a_key_that_is_destroyed_in_force_can_be_followed_at_once() -> None:
    ring = THREE.destroyed("k2", NOW)
    with pytest.raises(SettingsError, match="keys rotate --from today"):
        ring.check(NOW)
    with pytest.raises(InputError, match="is over"):
        ring.rotated(YESTERDAY, NOW, secret(4))
    after = ring.rotated(TODAY, NOW, secret(4))
    after.check(NOW)
    assert states(after) == ["k1 retired", "k2 destroyed", "k4 current", "k3 future"]
    assert [one.id for one in map(after.at, (YESTERDAY, TODAY, TOMORROW)) if one] == ["k2", "k4", "k3"]
    # also where the destroyed one had begun on this very day
    again = after.destroyed("k4", NOW).rotated(TODAY, NOW, secret(5))
    assert [one.id for one in map(again.at, (TODAY, TOMORROW)) if one] == ["k5", "k3"]


@pytest.mark.parametrize(
    ("ring", "word"),
    [
        (ring_with().destroyed("k1", NOW), "was destroyed"),
        (ring_with(YESTERDAY).destroyed("k1", NOW).destroyed("k2", NOW), "was destroyed"),
        (Keyring((new_key("k1", TOMORROW, NOW, secret(1)),), ring_with().recognition), "in force yet"),
        (
            Keyring((new_key("k1", TOMORROW, NOW, secret(1)),), ring_with().recognition).destroyed("k1", NOW),
            "in force yet",
        ),
    ],
    ids=["destroyed", "all destroyed", "in the future", "withdrawn"],
)
def test_a_ring_without_a_key_for_now_is_refused(ring: Keyring, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        ring.check(NOW)


def test_a_key_is_needed_for_as_long_as_its_days_may_still_come() -> None:
    k1, k2, k3 = THREE.keys
    assert THREE.needed_until_ms(k1, 10 * DAY_MS) == YESTERDAY + 10 * DAY_MS
    assert THREE.needed_until_ms(k2, DAY_MS) == TOMORROW + DAY_MS
    assert THREE.needed_until_ms(k3, DAY_MS) is None


def test_what_recognises_repeats_is_of_no_epoch() -> None:
    assert (
        THREE.recognising(NOW)
        == ring_with().recognising(NOW)
        == THREE.destroyed("k1", NOW).recognising(NOW)
        == (secret(99),)
    )
    assert ring_of(secret(5)).recognising(NOW) == (secret(5),)
    assert new_ring(NOW, secret(1), secret(99), taken_over=True).recognising(NOW) == (secret(99), secret(1))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"keys": ()}, "no keys"),
        ({"keys": (new_key("key", 0, NOW, secret(1)),)}, "no id like"),
        ({"keys": THREE.keys[:1] * 2}, "occurs twice"),
        ({"keys": (new_key("k1", 0, NOW, secret(1)), new_key("k2", DAY_MS, NOW, secret(1)))}, "one secret"),
        ({"keys": THREE.keys[::-1]}, "order"),
        ({"keys": (new_key("k1", 5, NOW, secret(1)),)}, "midnight"),
        ({"keys": (new_key("k1", 0, NOW, b"\x07" * 15),)}, "16 to 64"),
        ({"keys": (replace(THREE.keys[0], fingerprint="0" * 16),)}, "not its own"),
        ({"keys": (replace(THREE.keys[0], secret=THREE.destroyed("k1", NOW).keys[0].secret),)}, "no secret"),
        ({"recognition": replace(THREE.recognition, secret=Secret(""))}, "recognise repeats"),
        ({"recognition": replace(THREE.recognition, id=secret(1).hex())}, "is not r1"),
    ],
)
def test_what_cannot_be_a_ring_is_refused_and_no_secret_is_shown(changes: dict[str, object], word: str) -> None:
    with pytest.raises(SettingsError, match=word) as caught:
        replace(THREE, **changes)  # type: ignore[arg-type]  # fields of Keyring
    assert not any(one.hex() in str(caught.value) for one in map(secret, range(1, 5)))


def test_nothing_shows_a_key() -> None:
    said = f"{THREE} {THREE!r} {THREE.keys[0]!s} {copy.deepcopy(THREE)!r} {THREE.keys[1].secret}"
    for one in (secret(1), secret(2), secret(99)):
        assert one.hex() not in said
        assert repr(one) not in said
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(THREE)
