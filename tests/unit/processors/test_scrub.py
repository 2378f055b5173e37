"""Values are cleaned once and remembered."""

from __future__ import annotations

import numpy as np

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
