"""Rows that no consent covers: dropped without a trace but their number, whatever their sender did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.replayed import as_told
from streamgauge.schemas.again import Again
from streamgauge.schemas.consent import Consent, pack_consents
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.decoding import EventBatch, decode
from streamgauge.schemas.row_sets import row_set
from tests.unit.processors.raw import NOW, committed, events
from tests.unit.processors.totals import Totals

VISIT = Contract(
    "visit",
    1,
    {"page": Field("dimension"), "seconds": Field("measure", "number", optional=True), "person": Field("unique")},
    purposes=("analytics",),
    legal_basis="consent",
)
YES, NO = Consent(frozenset({"analytics"})), Consent()


def totals(message: bytes) -> Totals:
    return Totals().read(committed([message], NOW, contracts={("visit", 1): VISIT})[0])


@given(st.lists(st.sampled_from([YES, NO, None]), min_size=1, max_size=20))
def test_every_row_is_counted_or_denied(consents: list[Consent | None]) -> None:
    rows = [{"page": f"/{number}", "seconds": 1.0, "person": f"p{number}"} for number in range(len(consents))]
    found = totals(events(rows, VISIT, consent_column=pack_consents(consents)))
    yes = sum(one is YES for one in consents)
    assert found.points == 2 * yes
    assert found.refused == ({"no_consent:analytics": 2 * (len(consents) - yes)} if yes < len(consents) else {})
    assert found.dead == []


def test_rows_that_are_denied_are_in_no_dead_letter_though_others_of_their_batch_are() -> None:
    rows = [{"page": page, "person": "p", "time": NOW - 30 * 86_400_000} for page in ("/denied", "/old", "/denied")]
    found = totals(events(rows, VISIT, consent_column=pack_consents([NO, YES, None])))
    assert found.refused == {"no_consent:analytics": 2, "too_old": 1}
    (letter,) = found.dead
    assert letter.which is not None
    assert letter.which.rows().tolist() == [1], "rows are called as their sender numbered them"
    assert b"denied" not in letter.encode()


def test_a_batch_that_is_refused_whole_shows_nothing_of_rows_that_are_denied() -> None:
    rows = [{"page": page} for page in ("/denied", "/granted")]
    (letter,) = totals(events(rows, VISIT, consent_column=pack_consents([None, YES]))).dead
    assert (letter.reason, letter.detail) == ("missing_field", "person")
    assert b"granted" in letter.encode()
    assert b"denied" not in letter.encode()


def test_what_is_replayed_keeps_the_consents_of_its_rows() -> None:
    rows = [{"page": f"/{number}", "person": "p"} for number in range(3)]
    batch = decode(events(rows, VISIT, consent_column=pack_consents([YES, NO, None])))
    again = Again(offset=1, reason="too_old", rows=row_set(np.array([1, 2]), 3))
    cut = as_told(batch, again)
    assert isinstance(cut, EventBatch)
    assert cut.consents is not None
    assert [cut.consents[0][place] for place in cut.consents[1]] == [NO, None]


def test_a_purpose_that_a_browser_objects_to_is_denied_on_any_ground() -> None:
    contract = replace(VISIT, purposes=("advertising",), legal_basis="legitimate_interests")
    message = events([{"page": "/", "person": "p"}], contract, consent_column=pack_consents([Consent(gpc=True)]))
    found = Totals().read(committed([message], NOW, contracts={("visit", 1): contract})[0])
    assert (found.points, found.refused) == (0, {"gpc:advertising": 1})
