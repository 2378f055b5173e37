"""Series ids are the same for ever; labels are told before they are needed, and again for those who come late."""

from __future__ import annotations

from itertools import permutations

import pytest

from streamgauge.processors.series import (
    SERIES_CONTEXT,
    Labels,
    SeriesIndex,
    canonical_context,
    canonical_labels,
    series_id,
)
from streamgauge.schemas.names import ALIASES
from streamgauge.schemas.rollups import SeriesLabels

AU: Labels = (("country", "AU"), ("service", "shop"))


@pytest.mark.parametrize(
    ("family", "labels", "expected"),
    [
        ("order", (), 9912873610728309037),
        ("order", AU, 14474960519955746944),
        ("latency", (("region", "ü"), ("route", "/a")), 12083641020055973073),
    ],
)
def test_series_ids_are_stable_for_ever(family: str, labels: Labels, expected: int) -> None:
    # stored rollups are found by these; another id is another series
    assert series_id(family, labels) == SeriesIndex().id_of(family, labels) == expected


def test_an_id_does_not_depend_on_the_order_of_labels_nor_on_empty_ones() -> None:
    given = [("b", "2"), ("a", "1"), ("c", ""), ("d", "4")]
    ids = {series_id("order", canonical_labels(some)) for some in permutations(given)}
    assert ids == {series_id("order", (("a", "1"), ("b", "2"), ("d", "4")))}


def test_names_and_values_cannot_be_shifted_into_one_another() -> None:
    different: list[tuple[str, Labels]] = [
        ("a", (("b", "c"),)),
        ("a", (("bc", ""),)),
        ("ab", (("c", ""),)),
        ("a", (("b", 'c"],["d","e'),)),
        ("a", (("b", "c"), ("d", "e"))),
    ]
    assert len({series_id(family, labels) for family, labels in different}) == len(different)


def test_usual_other_spellings_are_the_canonical_columns() -> None:
    for alias, name in ALIASES.items():
        assert canonical_context({alias: "x", "own": "y"}) == {name: "x", "own": "y"}
        assert canonical_context({alias: "x", name: "z"}) == canonical_context({name: "z", alias: "x"}) == {name: "z"}
        assert name not in ALIASES
    assert set(SERIES_CONTEXT) - {"environment", "tenant", "country", "operation", "status", "region"} == {"service"}


def test_labels_are_told_once_and_again_after_a_minute() -> None:
    index, series = SeriesIndex(), {1: ("order", AU), 2: ("order", ())}
    told = [SeriesLabels(1, "order", dict(AU)), SeriesLabels(2, "order", {})]
    assert index.news(series, 1_000) == told
    assert index.news(series, 60_999) == []
    assert index.news(series, 61_000) == told
    assert index.news({**series, 3: ("order", ())}, 61_001) == [SeriesLabels(3, "order", {})]


def test_after_a_failure_everything_is_told_anew() -> None:
    index, series = SeriesIndex(), {1: ("order", AU)}
    index.news(series, 1_000)
    index.forget()
    assert index.news(series, 1_001) == [SeriesLabels(1, "order", dict(AU))]


def test_an_index_that_is_full_forgets_but_never_errs() -> None:
    index = SeriesIndex(capacity=3)
    for number in range(10):
        labels = (("n", str(number)),)
        assert index.id_of("order", labels) == series_id("order", labels)
        assert len(index.news({number: ("order", labels)}, 0)) == 1
    kept: dict[str, dict[object, object]] = vars(index)
    assert len(kept["_ids"]) <= 3
    assert len(kept["_announced"]) <= 3
