"""The account of `verify`: what it calls lost, doubled and exact."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from streamgauge.console.doctor_facts import Group, KafkaFacts, Log, Position
from streamgauge.console.verify import (
    BlockReport,
    Certain,
    DayReport,
    EventRows,
    PartitionReport,
    Verification,
    certain_events,
    certain_of,
    day_reports,
    value_reports,
)
from streamgauge.console.verify_checks import Look, judge
from streamgauge.console.verify_live import arrived, live_positions
from streamgauge.console.verify_text import as_document, show, watch_line, watch_text
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS

KEPT = (FOR_EVER,) * 4
DAY = 20_000
NOW = DAY * DAY_MS + 1


RAW, ROLLUPS, LEDGER = "sg.eu.events.v1", "sg.eu.rollups.v1", "sg.eu.ledger.v1"
SCRUBBED = "sg.eu.events_scrubbed.v1"


def partition(missing: int = 0, repeated: int = 0, short: int = 0, sequence_gaps: int = 0) -> PartitionReport:
    return PartitionReport(
        RAW, 0, "life", 0, 12, missing=missing, repeated=repeated, points=30, short=short, sequence_gaps=sequence_gaps
    )


def test_offsets_without_a_transaction_and_such_with_two_are_lost_and_doubled() -> None:
    found = Verification((partition(missing=2, repeated=1), partition(short=3)), ())
    assert (found.lost, found.doubled, found.exact) == (5, 1, False)


def test_offsets_without_a_block_and_such_with_two_are_wrong_but_are_no_points() -> None:
    found = Verification((), (), blocks=(BlockReport(ROLLUPS, 0, "life", 0, 9, missing=2, repeated=1, since_ms=5),))
    assert (found.lost, found.doubled, found.misplaced, found.exact, found.since_ms) == (0, 0, 3, False, 5)


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


def test_a_day_that_a_contract_lets_go_of_holds_at_most_what_the_ledger_says() -> None:
    shortest = (DAY_MS, FOR_EVER, FOR_EVER, FOR_EVER)
    ledger = {(0, DAY - 5): 10, (0, DAY): 10}
    fewer = [{DAY - 5: 7, DAY: 10}, *({DAY - 5: 10, DAY: 10},) * 3]
    found = Verification((), day_reports(ledger, fewer, KEPT, NOW, shortest))
    assert (found.lost, found.doubled, found.moving, found.forgotten, found.whole) == (0, 0, 0, 3, True)
    assert [one.at_most for one in found.days] == [frozenset(), {0}]
    more = [{DAY - 5: 12, DAY: 10}, *({DAY - 5: 10, DAY: 10},) * 3]
    assert Verification((), day_reports(ledger, more, KEPT, NOW, shortest)).doubled == 2
    newer = [{DAY - 5: 7, DAY: 9}, *({DAY - 5: 10, DAY: 10},) * 3]
    assert Verification((), day_reports(ledger, newer, KEPT, NOW, shortest)).lost == 1
    coarser = [{DAY - 5: 7, DAY: 10}, {DAY - 5: 9, DAY: 10}, *({DAY - 5: 10, DAY: 10},) * 2]
    assert Verification((), day_reports(ledger, coarser, KEPT, NOW, shortest)).lost == 1


def test_what_is_forgotten_between_two_looks_is_neither_lost_nor_on_its_way() -> None:
    then = DayReport(DAY, 10, ((10, 10),) * 4)
    now = DayReport(DAY, 10, ((10, 4), *((10, 10),) * 3), frozenset({0}))
    assert (flowing(then, now).whole, flowing(then, now).forgotten) == (True, 6)
    more = replace(now, tiers=((10, 14), *((10, 10),) * 3))
    assert flowing(then, more, settled=False).moving == 4, "too much is too much on any day"
    assert flowing(more, more).doubled == 4


def test_forgotten_points_are_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    found = Verification((), (DayReport(DAY, 1_010, ((1_010, 4), *((1_010, 1_010),) * 3), frozenset({0})),))
    show(found)
    said = capsys.readouterr().out
    assert "-1,006 forgotten" in said
    assert "1,006 points are forgotten: contracts let tiers" in said
    document = as_document(found)
    assert document["forgotten"] == 1_006
    (one,) = cast("list[dict[str, object]]", document["days"])
    assert one["10s"] == {"expected": 1_010, "found": 4, "forgotten": 1_006}
    assert one["1m"] == {"expected": 1_010, "found": 1_010}


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


def test_batches_that_never_came_are_summed() -> None:
    assert Verification((partition(sequence_gaps=2), partition(sequence_gaps=1)), ()).missing == 3


def test_a_watch_says_since_when_something_is_wrong() -> None:
    at = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
    wrong = Verification((partition(missing=2),), (), {"too_old": 3})
    line = watch_line(wrong, at, at)
    assert (line["exact"], line["lost"], line["refused"], line["since"]) == (False, 2, 3, "2026-11-22T12:00:05+00:00")
    assert "not exact since 2026-11-22T12:00:05+00:00   points 30   lost 2" in watch_text(line)
    fine = watch_line(Verification((partition(),), ()), at, None)
    assert (fine["exact"], fine["since"]) == (True, None)
    assert "exact   points 30" in watch_text(fine)


def day(expected: int, found: int) -> DayReport:
    return DayReport(DAY, expected, ((expected, found),) * 4)


def flowing(then: DayReport | None, now: DayReport, known: Certain | None = None, settled: bool = True) -> Verification:
    """The account of a day by two looks."""
    before = () if then is None else (then,)
    return Verification((), (now,), certain=certain_of(before, (now,), known or {}, settled))


def test_while_points_flow_only_what_was_there_before_can_be_missing() -> None:
    assert Verification((), (day(250, 247),)).lost == 3
    found = flowing(day(100, 98), day(250, 247))
    assert (found.lost, found.doubled, found.moving) == (0, 0, 3)
    found = flowing(day(249, 200), day(250, 247))
    assert (found.lost, found.moving) == (2, 1)


def test_what_was_in_a_tier_before_must_be_in_the_ledger_now() -> None:
    found = flowing(day(200, 255), day(250, 260))
    assert (found.lost, found.doubled, found.moving) == (0, 5, 5)
    new_day = flowing(None, day(5, 9))
    assert (new_day.doubled, new_day.moving) == (0, 4)


def test_nothing_is_lost_that_sinks_have_still_to_read() -> None:
    found = flowing(day(250, 10), day(250, 10), settled=False)
    assert (found.lost, found.moving, found.exact, found.whole) == (0, 240, True, False)


def test_what_was_known_to_be_lost_stays_lost_while_new_points_hide_it_and_is_forgotten_once_it_is_there() -> None:
    known = flowing(day(100, 80), day(100, 80)).certain
    assert known is not None
    hidden = flowing(day(100, 80), day(250, 230), known)
    assert (hidden.lost, hidden.moving) == (20, 0)
    assert flowing(day(100, 80), day(250, 230), known, settled=False).lost == 20
    healed = flowing(day(100, 80), day(250, 248), known)
    assert (healed.lost, healed.moving) == (2, 0)
    assert flowing(day(100, 80), day(250, 250), known).whole


def kafka(worker: int | None, sink: int, ledger: int, unread: bool = True) -> KafkaFacts:
    """Logs that end at 100, and where groups are in them."""
    logs = tuple(Log(topic, 0, 0, 100, 100) for topic in (RAW, ROLLUPS, LEDGER))
    read = Group("w", "worker", None, None, (), (Position(RAW, 0, worker),))
    places = (Position(ROLLUPS, 0, sink, "", unread), Position(LEDGER, 0, ledger, "", unread))
    return KafkaFacts("", False, 1, after=logs, groups=(read, Group("s", "sink", None, None, (), places)))


def test_what_sinks_have_read_to_the_end_that_was_has_arrived() -> None:
    before = kafka(9, 0, 0)
    assert arrived(before, kafka(9, 100, 120), [ROLLUPS, LEDGER])
    assert not arrived(before, kafka(9, 99, 120), [ROLLUPS, LEDGER])
    assert arrived(before, kafka(9, 99, 120), [LEDGER])
    assert arrived(before, kafka(9, 99, 98, unread=False), [ROLLUPS, LEDGER]), "only control records are left"


def test_an_untouched_topic_has_arrived_and_one_that_nobody_read_has_not() -> None:
    empty = KafkaFacts("", False, 1, after=(Log(ROLLUPS, 0, 7, 7, 7),))
    assert arrived(empty, empty, [ROLLUPS])
    assert not arrived(kafka(9, 0, 0), empty, [ROLLUPS])


def test_offsets_that_were_committed_and_that_the_store_does_not_know_are_unaccounted() -> None:
    ends = {(RAW, 0): {"life": 80}, (ROLLUPS, 0): {"life": 90}}
    raw, rolled = live_positions(kafka(90, 95, 100), ends, True, [ROLLUPS])
    assert (raw.raw, raw.committed, raw.accounted, raw.unaccounted) == (True, 90, 80, 10)
    assert (rolled.raw, rolled.committed, rolled.accounted, rolled.unaccounted) == (False, 95, 90, 5)
    found = Verification((), (), live=(raw, rolled))
    assert (found.lost, found.misplaced, found.exact) == (10, 5, False)


def test_nothing_is_unaccounted_while_the_ledger_is_on_its_way_or_where_messages_were_refused() -> None:
    ends = {(RAW, 0): {"life": 80}, (ROLLUPS, 0): {"life": 90}}
    raw, rolled = live_positions(kafka(90, 95, 100), ends, False, [ROLLUPS], [(ROLLUPS, 0, 93)])
    assert (raw.unaccounted, rolled.unaccounted) == (0, 0)
    (_, rolled) = live_positions(kafka(90, 95, 100), ends, True, [ROLLUPS], [(ROLLUPS, 0, 50), (ROLLUPS, 1, 93)])
    assert rolled.unaccounted == 5


def test_a_store_that_knows_more_than_was_committed_is_ahead_not_wrong() -> None:
    raw, rolled = live_positions(kafka(90, 95, 100), {(RAW, 0): {"": 91}, (ROLLUPS, 0): {"": 96}}, True, [ROLLUPS])
    assert (raw.unaccounted, rolled.unaccounted) == (0, 0)
    (rolled,) = live_positions(kafka(None, 95, 100), {(ROLLUPS, 0): {"": 95}}, True, [ROLLUPS])
    assert rolled.unaccounted == 0


@pytest.mark.parametrize(
    ("metadata", "ends", "unaccounted"),
    [
        ("state 7 topic second\0", {"first": 80, "second": 90}, 0),
        ("state 7 topic second\0", {"first": 900, "second": 70}, 20),
        ("state 7 topic second\0", {"first": 80, "second": 70, "": 85}, 5),
        ("state 7 topic third\0", {"first": 80, "second": 70}, 10),
        ("state 7", {"first": 80, "second": 70}, 10),
        ("", {}, 90),
    ],
)
def test_only_the_life_that_was_committed_tells_where_the_store_ends(
    metadata: str, ends: dict[str, int], unaccounted: int
) -> None:
    before = kafka(90, 0, 0)
    worker = replace(before.groups[0], after=(replace(before.groups[0].after[0], metadata=metadata),))
    (raw,) = live_positions(replace(before, groups=(worker,)), {(RAW, 0): ends}, True, [ROLLUPS])
    assert raw.unaccounted == unaccounted


def test_two_looks_without_kafka_are_certain_only_when_nothing_moves() -> None:
    wrong = Look(Verification((), (day(10, 7),)), {})
    assert judge(wrong, wrong, False, "eu").lost == 0
    assert judge(wrong, wrong, True, "eu").lost == 3


def test_two_looks_with_kafka_are_certain_once_what_was_there_has_arrived() -> None:
    ends = {(RAW, 0): {"": 90}, (ROLLUPS, 0): {"": 100}}
    then = Look(Verification((), (day(10, 7),)), ends, kafka(90, 95, 95), kafka(90, 95, 95))
    late = Look(Verification((), (day(10, 7),)), ends, kafka(90, 99, 100), kafka(90, 99, 100))
    there = replace(late, before=kafka(90, 100, 100))
    assert (judge(then, late, True, "eu").lost, judge(then, late, True, "eu").moving) == (0, 3)
    assert judge(then, there, False, "eu").lost == 3


def test_single_events_are_lost_or_doubled_by_what_was_known_before_and_has_had_time_to_arrive() -> None:
    then, now = EventRows(10, 4), EventRows(15, 8)
    assert certain_events(then, now, (0, 0), settled=False) == (0, 0)
    assert certain_events(then, now, (0, 0), settled=True) == (2, 0), "of ten that were sent then only eight are in"
    assert certain_events(then, EventRows(15, 12), (2, 0), settled=False) == (2, 0), "what was known stays known"
    assert certain_events(then, EventRows(15, 14), (2, 0), settled=False) == (1, 0), "as far as there is a difference"
    assert certain_events(EventRows(10, 14), EventRows(12, 14), (0, 0), settled=True) == (0, 2)
    assert certain_events(EventRows(None, 14), EventRows(None, 14, 3), (0, 0), settled=True) == (0, 3)


def test_single_events_that_differ_and_may_be_on_their_way_are_moving() -> None:
    found = Verification((), (), events=EventRows(9, 4), certain_events=(2, 0))
    assert (found.lost, found.moving, found.exact) == (2, 3, False)


def test_single_events_are_lost_once_the_sinks_have_read_all_that_there_was() -> None:
    def sunk(offset: int) -> KafkaFacts:
        facts = kafka(90, 100, 100)
        log, place = Log(SCRUBBED, 0, 0, 100, 100), Position(SCRUBBED, 0, offset, "", True)
        worker, sink = facts.groups
        return replace(facts, after=(*facts.after, log), groups=(worker, replace(sink, after=(*sink.after, place))))

    ends = {(RAW, 0): {"life": 90}, (ROLLUPS, 0): {"life": 100}, (SCRUBBED, 0): {"life": 95}}
    for offset, lost, moving, misplaced in ((100, 2, 0, 5), (95, 0, 2, 0)):
        look = Look(Verification((), (), events=EventRows(5, 3)), ends, sunk(offset), sunk(offset))
        found = judge(look, look, False, "eu")
        assert (found.lost, found.moving, found.misplaced) == (lost, moving, misplaced)
