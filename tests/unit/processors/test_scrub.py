"""Values are cleaned once and remembered."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from streamgauge.processors.detectors import standard_rules
from streamgauge.processors.scrub import MAX_KEPT, Scrubber


def test_a_column_is_cleaned_by_its_distinct_values_and_its_rows_are_counted() -> None:
    scrubber = Scrubber()
    index = np.array([0, 1, 1, 2, 3, 1], np.uint8)
    for _ in range(2):  # the second time from memory
        clean, changed = scrubber.dictionary(["ok", "jane@example.com", None, "from 203.0.113.7 to a@b.com"], index)
        assert clean == ["ok", "[email]", "", "from [ip] to [email]"]
        assert changed == {"email": 4, "ip": 1}


def test_a_value_is_the_same_from_memory_and_anew() -> None:
    scrubber = Scrubber(capacity=4)
    values = [f"u{number}@example.com" if number % 2 else f"v{number}" for number in range(20)]
    first = [scrubber.value(value) for value in values]
    assert [scrubber.value(value) for value in values] == first
    clean, changed = scrubber.dictionary([*values, None], np.arange(21, dtype=np.uint8))
    assert clean == [*(text for text, _ in first), ""]
    assert changed == {"email": 10}


def test_long_values_are_cleaned_too_but_not_remembered() -> None:
    scrubber = Scrubber(capacity=3)
    long = "x" * MAX_KEPT + " jane@example.com"
    for _ in range(2):
        assert scrubber.value(long) == ("x" * MAX_KEPT + " [email]", ("email",))
        assert scrubber.dictionary([long], np.zeros(3, np.uint8)) == (["x" * MAX_KEPT + " [email]"], {"email": 3})
    assert long not in vars(scrubber).__repr__()


def test_what_was_found_is_never_kept_as_it_was() -> None:
    scrubber = Scrubber()
    texts = ["jane@example.com", "call 0412 345 678", "blameless"]
    for _ in range(2):
        scrubber.dictionary(texts, np.arange(3))
    kept = repr([vars(scrubber)[name] for name in ("_innocent", "_changed")])
    assert "blameless" in kept
    assert "jane" not in kept
    assert "0412" not in kept


def test_what_looks_suspicious_and_is_not_is_known_when_it_comes_again() -> None:
    scrubber = Scrubber()
    suspicious = "payment@18.46.23.tgz"
    assert standard_rules().suspects(suspicious)
    assert scrubber.value(suspicious) == (suspicious, ())
    assert suspicious in vars(scrubber)["_innocent"][""]


def test_a_scrubber_forgets_on_demand_and_finds_the_same_again() -> None:
    scrubber = Scrubber()
    before = [scrubber.value(text) for text in ("jane@example.com", "blameless")]
    keyed = vars(scrubber)["_keyed"][""].digest()
    scrubber.forget()
    assert "blameless" not in repr(vars(scrubber))
    assert vars(scrubber)["_keyed"][""].digest() != keyed
    assert [scrubber.value(text) for text in ("jane@example.com", "blameless")] == before


def test_what_is_remembered_is_bounded() -> None:
    scrubber = Scrubber(capacity=100)
    for number in range(1_000):
        scrubber.value(f"v{number}")
        scrubber.value(f"u{number}@example.com", "id")
        kept = vars(scrubber)
        assert sum(map(len, kept["_innocent"].values())) + len(kept["_changed"]) <= 100 + 2 * 2


def test_a_scrubber_cannot_leave_its_process() -> None:
    scrubber = Scrubber()
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="must not leave this process"):
            leave(scrubber)


def test_equal_values_under_other_hints_are_other_values() -> None:
    scrubber = Scrubber()
    for _ in range(2):
        assert scrubber.value("1.2.3.4") == ("1.2.3.4", ())
        assert scrubber.value("1.2.3.4", "ip") == ("[ip]", ("ip",))
        assert scrubber.dictionary(["1.2.3.4", "hunter2"], np.array([0, 1, 1]), "secret") == (
            ["[secret]", "[secret]"],
            {"secret": 3},
        )
        assert scrubber.value("hunter2") == ("hunter2", ())


def test_an_unknown_hint_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'mail' is no hint; there are card, email"):
        Scrubber().value("x", "mail")


def phones(count: int) -> list[str | None]:
    """So many numbers that need a look into a library."""
    return [f"+61 412 {number:03d} 678" for number in range(count)]


def test_what_a_batch_asks_of_libraries_is_bounded_and_beyond_it_values_are_dropped() -> None:
    scrubber = Scrubber(validations=5)
    clean, changed = scrubber.dictionary(phones(8), np.arange(8))
    assert clean == ["[phone]"] * 5 + ["[unchecked]"] * 3
    assert changed == {"phone": 5, "unchecked": 3}
    assert scrubber.value("still jane@example.com")[0] == "still [email]"


def test_a_batch_has_one_account_for_all_its_columns() -> None:
    scrubber = Scrubber(validations=5)
    scrubber.new_batch()
    first, _ = scrubber.dictionary(phones(3), np.arange(3))
    second, _ = scrubber.dictionary(phones(3), np.arange(3))
    assert (first, second) == (["[phone]"] * 3, ["[phone]"] * 2 + ["[unchecked]"])
    assert scrubber.value("+61 412 000 678") == ("[unchecked]", ("unchecked",))
    assert scrubber.value("blameless") == ("blameless", ())
    scrubber.new_batch()
    assert scrubber.value("+61 412 000 678") == ("[phone]", ("phone",))


def test_a_batch_becomes_the_same_whatever_is_remembered() -> None:
    values = [*phones(6), "jane@example.com", "x", "0061 412 345 6"]
    fresh, used = Scrubber(validations=4), Scrubber(validations=4)
    used.dictionary(phones(3), np.arange(3))
    for scrubber in (fresh, used):
        scrubber.new_batch()
    assert fresh.dictionary(values, np.arange(9)) == used.dictionary(values, np.arange(9))
