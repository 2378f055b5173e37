"""The account of `verify`: what it calls lost, doubled and exact."""

from __future__ import annotations

from streamgauge.console.verify import (
    LedgerRange,
    PartitionReport,
    Verification,
    day_reports,
    partition_reports,
)
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS

KEPT = (FOR_EVER,) * 4
DAY = 20_000
NOW = DAY * DAY_MS + 1


def entry(start: int, end: int, partition: int = 0, incarnation: str = "") -> LedgerRange:
    return LedgerRange("raw", partition, start, end, end - start, end - start, 10, 1, incarnation)


def test_ranges_that_meet_have_no_gap_whatever_their_order() -> None:
    (report,) = partition_reports([entry(5, 9), entry(0, 5), entry(9, 12)])
    assert report == PartitionReport("raw", 0, 0, 12, 12, 12, 30, 3)


def test_missing_and_repeated_offsets_are_named_and_counted() -> None:
    reports = partition_reports([entry(0, 5), entry(7, 9), entry(8, 10), entry(3, 4, partition=1)])
    assert (reports[0].gaps, reports[0].overlaps) == (((5, 7),), ((8, 9),))
    assert (reports[1].gaps, reports[1].overlaps) == ((), ())
    found = Verification(reports, ())
    assert (found.lost, found.doubled, found.exact) == (2, 1, False)


def test_a_topic_that_was_made_anew_does_not_overlap_with_its_earlier_life() -> None:
    reports = partition_reports([entry(0, 5, incarnation="a"), entry(0, 3, incarnation="b")])
    assert [(one.start, one.end, one.overlaps) for one in reports] == [(0, 5, ()), (0, 3, ())]


def test_points_are_expected_in_their_entry_tier_and_every_coarser_one() -> None:
    ledger = {(0, DAY): 100, (2, DAY): 7}
    (day,) = day_reports(ledger, [{DAY: 100}, {DAY: 100}, {DAY: 107}, {DAY: 107}], KEPT, NOW)
    assert day.ledger == 107
    assert day.tiers == ((100, 100), (100, 100), (107, 107), (107, 107))
    assert Verification((), (day,)).exact


def test_a_tier_that_lacks_points_has_lost_them_and_one_with_more_has_doubled_them() -> None:
    days = day_reports({(0, DAY): 10}, [{DAY: 10}, {DAY: 4}, {DAY: 13}, {DAY: 10}], KEPT, NOW)
    found = Verification((), days)
    assert (found.lost, found.doubled) == (6, 3)


def test_what_one_day_lacks_is_not_made_up_for_by_another() -> None:
    days = day_reports({(3, DAY): 10, (3, DAY - 1): 10}, [{}, {}, {}, {DAY: 15, DAY - 1: 5}], KEPT, NOW)
    found = Verification((), days)
    assert (found.lost, found.doubled) == (5, 5)


def test_points_of_a_day_that_no_transaction_knows_are_doubled() -> None:
    assert Verification((), day_reports({}, [{}, {}, {}, {DAY: 3}], KEPT, NOW)).doubled == 3


def test_an_expired_tier_is_not_asked_for_the_day() -> None:
    kept = (DAY_MS, FOR_EVER, FOR_EVER, FOR_EVER)
    (day,) = day_reports({(0, DAY - 5): 10}, [{}, *({DAY - 5: 10},) * 3], kept, NOW)
    assert day.tiers == (None, (10, 10), (10, 10), (10, 10))
    assert Verification((), (day,)).exact
