"""The account of `verify`: what it calls lost, doubled and exact."""

from __future__ import annotations

from datetime import UTC, datetime

from streamgauge.console.commands_verify import watch_line, watch_text
from streamgauge.console.verify import (
    LedgerRange,
    PartitionReport,
    Verification,
    day_reports,
    partition_reports,
    value_reports,
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


def test_values_that_were_edited_are_seen_where_points_are_all_there() -> None:
    ledger = {(0, DAY): (10.0, 12.0), (2, DAY): (5.0, 5.0)}
    assert value_reports(ledger, [{DAY: 10.0}, {DAY: 10.0}, {DAY: 15.0}, {DAY: 15.0}], KEPT, NOW) == ()
    (one,) = value_reports(ledger, [{DAY: 10.0}, {DAY: 10.0}, {DAY: 15.5}, {DAY: 15.0}], KEPT, NOW)
    assert (one.tier, one.expected, one.found) == ("1h", 15.0, 15.5)
    assert not Verification((), (), values=(one,)).exact


def test_what_rounding_explains_is_no_difference() -> None:
    ledger = {(0, DAY): (0.0, 1e9)}
    assert value_reports(ledger, [{DAY: 0.9}] * 4, KEPT, NOW) == ()
    assert len(value_reports(ledger, [{DAY: 1.1}] * 4, KEPT, NOW)) == 4


def test_values_are_not_compared_where_an_entry_does_not_say_or_a_tier_has_expired() -> None:
    assert value_reports({(0, DAY): (0.0, float("inf"))}, [{DAY: 7.0}] * 4, KEPT, NOW) == ()
    assert value_reports({(0, DAY): (1e307, 1e307)}, [{DAY: 7.0}] * 4, KEPT, NOW) == ()
    late = NOW + 10 * DAY_MS
    nothing: list[dict[int, float]] = [{}, {}, {}, {}]
    found = value_reports({(0, DAY): (1.0, 1.0)}, nothing, (DAY_MS, DAY_MS, DAY_MS, FOR_EVER), late)
    assert [one.tier for one in found] == ["1d"]


def test_batches_that_never_came_and_repeats_are_summed() -> None:
    first = LedgerRange("raw", 0, 0, 5, 5, 5, 10, 0, "", 2, 1)
    second = LedgerRange("raw", 0, 5, 9, 4, 4, 10, 0, "", 1, 0)
    reports = partition_reports([first, second])
    assert (reports[0].sequence_gaps, reports[0].sequence_repeats) == (3, 1)
    assert Verification(reports, ()).missing == 3


def test_a_watch_says_since_when_something_is_wrong() -> None:
    at = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
    wrong = Verification(partition_reports([entry(0, 5), entry(7, 9)]), (), {"too_old": 3})
    line = watch_line(wrong, at, at)
    assert (line["exact"], line["lost"], line["refused"], line["since"]) == (False, 2, 3, "2026-11-22T12:00:05+00:00")
    assert "not exact since 2026-11-22T12:00:05+00:00   points 20   lost 2" in watch_text(line)
    fine = watch_line(Verification(partition_reports([entry(0, 5)]), ()), at, None)
    assert (fine["exact"], fine["since"]) == (True, None)
    assert "exact   points 10" in watch_text(fine)


def test_offsets_for_which_nothing_was_added_are_lost_unless_retention_took_them() -> None:
    entries = [LedgerRange("raw", 0, 0, 9, 7, 7, 10, 0), LedgerRange("raw", 0, 9, 19, 0, 0, 0, 10, passed=10)]
    (report,) = partition_reports(entries)
    assert (report.short, report.passed) == (2, 10)
    assert (Verification((report,), ()).lost, Verification((report,), ()).exact) == (2, False)
