"""Recall and false scrubs over corpora that generators make: the same gates for whatever seed is drawn."""

from __future__ import annotations

from random import Random

import pytest

from streamgauge.processors.detectors import DETECTORS, scrub_text, standard_rules
from streamgauge.processors.detectors_rule import Look
from streamgauge.processors.detectors_text import folded
from tests.support.personal import POSITIVES, positives
from tests.support.telemetry_shapes import NEGATIVES, NEVER

POSITIVE, NEGATIVE = 300, 150
RULES = {
    "email": {"email"},
    "card": {"card"},
    "phone +": {"phone"},
    "phone national": {"phone"},
    "phone named": {"phone"},
    "iban": {"iban"},
    "ssn": {"national_id"},
    "national id": {"national_id"},
    "named id": {"national_id", "passport"},
    "ipv4": {"ip"},
    "ipv6": {"ip"},
    "mac": {"mac"},
    "secret": {"secret"},
    "named secret": {"secret"},
    "jwt": {"jwt"},
    "private key": {"private_key"},
    "url credentials": {"credentials"},
}


@pytest.mark.parametrize("kind", POSITIVES)
def test_of_every_type_at_least_98_in_100_are_found_whatever_surrounds_them(kind: str) -> None:
    texts = list(positives(kind, POSITIVE, seed=20261123))
    missed = [text for text, one in texts if not scrub_text(text)[1] or one in scrub_text(text)[0]]
    assert len(missed) / POSITIVE <= 0.02, missed
    named = sum(bool(RULES[kind] & set(scrub_text(text)[1])) for text, _ in texts)
    assert named / POSITIVE >= 0.95


@pytest.fixture(scope="module")
def touched() -> dict[str, list[str]]:
    """By kind, what was touched of so many values."""
    wrong: dict[str, list[str]] = {}
    for kind, make in NEGATIVES.items():
        source = Random(f"{kind} 20261123")
        values = (make(source) for _ in range(NEGATIVE))
        wrong[kind] = [value for value in values if scrub_text(value) != (value, ())]
    return wrong


def test_of_values_as_telemetry_has_them_fewer_than_one_in_two_hundred_are_touched(
    touched: dict[str, list[str]],
) -> None:
    count = sum(map(len, touched.values()))
    assert count / (NEGATIVE * len(NEGATIVES)) <= 0.005, {kind: values for kind, values in touched.items() if values}


def test_of_identifiers_instants_versions_and_names_of_metrics_none_is_touched(touched: dict[str, list[str]]) -> None:
    assert {kind: touched[kind] for kind in NEVER if touched[kind]} == {}


def hidden(text: str) -> list[str]:
    """Detectors that find something in a text although the gate says that they cannot."""
    text = folded(text)
    open_to = standard_rules().suspects(text)
    return [
        f"{detector.rule} {detector.gates}"
        for number, detector in enumerate(DETECTORS)
        if (open_to is not None and number not in open_to) and detector.scrub(Look(text))
    ]


@pytest.mark.parametrize("kind", POSITIVES)
def test_the_gate_hides_nothing_that_a_detector_would_find(kind: str) -> None:
    for text, _ in positives(kind, 150, seed=9):
        assert hidden(text) == [], text


def test_the_gate_hides_nothing_in_what_is_found_wrongly_either() -> None:
    for kind, make in NEGATIVES.items():
        source = Random(f"{kind} gate")
        for _ in range(40):
            text = make(source)
            assert hidden(text) == [], text


def test_what_was_cleaned_stays_as_it_is() -> None:
    for kind in POSITIVES:
        for text, _ in positives(kind, 40, seed=7):
            clean, _ = scrub_text(text)
            assert scrub_text(clean) == (clean, ()), text
