"""A partition's messages between its committed offset and its next block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from streamgauge.schemas.batches import MAX_INSTANT_MS
from streamgauge.schemas.columns import Strings
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.rollups import RollupMessage, RollupRows, encode
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, encode_scrubbed
from streamgauge.schemas.topics import DEAD, DISTINCT, LEDGER, ROLLUPS, SCRUBBED
from streamgauge.sinks.blocks import COUNT_LIMIT, BlockPolicy
from streamgauge.sinks.decisions import Read
from streamgauge.sinks.partition import Cut, Partition, content_of, decode_stored
from streamgauge.sinks.ranges import ANY_CONTENT, Range
from tests.unit.sinks.messages import DAY, ENTRY, EVENTS_PLACE, LETTER, PLACE, T0, Row, hashes, message, single_events

POLICY = BlockPolicy(every_ms=500, max_rows=10, max_bytes=1 << 20, max_parts=3)
ROLLUP = encode(message([Row()]))
AT = 1_796_083_200_123


def dead(offset: int) -> bytes:
    return replace(LETTER, offset=offset).encode()


def partition(
    offsets: Sequence[int] = (), start: int = 0, recovering: tuple[int, int] | None = None, now_ms: int = 1_000
) -> Partition:
    """A partition of dead letters."""
    pending = None if recovering is None else Range(PLACE, *recovering)
    found = Partition(PLACE, DEAD.kind, start, pending)
    for offset in offsets:
        found.offer(offset, dead(offset), AT, now_ms)
    return found


def taken(found: Cut | None) -> tuple[int, int, list[int]] | None:
    """A block as its bounds and the offsets of its letters."""
    if found is None:
        return None
    return found[0].start, found[0].end, [one.offset for one in found[1] if isinstance(one, DeadLetter)]


@pytest.mark.parametrize(("now_ms", "flush"), [(1_499, True), (1_500, False)])
def test_a_block_is_due_after_its_time_or_when_flushed_and_stays_until_it_is_stored(now_ms: int, flush: bool) -> None:
    one = partition([3, 4, 8], now_ms=1_000)
    assert one.take(POLICY, 1_499) is None
    assert taken(one.take(POLICY, now_ms, flush)) == (0, 9, [3, 4, 8])
    assert one.memory > 0
    assert one.take(POLICY, 9_000, flush=True) is None
    one.stored(2_000)
    assert (one.start, one.memory) == (9, 0)
    assert one.take(POLICY, 9_000, flush=True) is None


def test_the_end_is_one_after_the_last_message_whatever_holes_transactions_leave() -> None:
    one = partition([2, 7, 30])
    assert taken(one.take(POLICY, 1_500)) == (0, 31, [2, 7, 30])
    one.stored(1_500)
    one.offer(33, dead(33), AT, 1_600)
    assert taken(one.take(POLICY, 2_100)) == (31, 34, [33])


def test_a_full_block_does_not_wait_and_the_rest_is_the_next_one() -> None:
    one = partition(range(25))
    assert taken(one.take(POLICY, 1_000)) == (0, 10, list(range(10)))
    one.stored(1_000)
    assert taken(one.take(POLICY, 1_000)) == (10, 20, list(range(10, 20)))
    one.stored(1_000)
    assert one.take(POLICY, 1_499) is None
    assert taken(one.take(POLICY, 1_500)) == (20, 25, list(range(20, 25)))


def test_behind_a_block_that_is_not_stored_only_a_full_one_is_taken() -> None:
    one = partition(range(25))
    assert taken(one.take(POLICY, 1_000)) == (0, 10, list(range(10)))
    assert taken(one.take(POLICY, 1_000)) == (10, 20, list(range(10, 20)))
    assert one.take(POLICY, 9_000, flush=True) is None
    one.stored(9_000)
    assert (one.start, one.take(POLICY, 9_000, flush=True)) == (10, None)
    one.stored(9_000)
    assert taken(one.take(POLICY, 9_500)) == (20, 25, list(range(20, 25)))


def test_a_block_that_did_not_end_comes_again_as_it_was_and_those_behind_it_are_cut_anew() -> None:
    one = partition(range(15))
    first = one.take(POLICY, 1_000)
    one.offer(15, dead(15), AT, 1_000)
    for offset in range(16, 20):
        one.offer(offset, dead(offset), AT, 1_000)
    assert taken(one.take(POLICY, 1_000)) == (10, 20, list(range(10, 20)))
    one.again()
    tight = replace(POLICY, max_rows=3)
    assert first is not None
    assert one.take(tight, 1_000) == first._replace(read=Read.CONTAINS)
    assert one.take(tight, 1_000) is None, "nothing overtakes a begun range"
    one.stored(1_000)
    assert taken(one.take(tight, 1_000)) == (10, 13, [10, 11, 12])


def test_a_block_is_full_by_bytes_too_and_one_message_always_is_a_block() -> None:
    tight = replace(POLICY, max_bytes=len(dead(1)) - 1)
    one = partition([1, 2])
    assert taken(one.take(tight, 1_000)) == (0, 2, [1])


def test_messages_that_come_while_a_block_is_on_its_way_do_not_change_it() -> None:
    one = partition([1, 2])
    found = one.take(POLICY, 1_500)
    assert found is not None
    one.offer(3, dead(3), AT, 1_600)
    assert taken(found) == (0, 3, [1, 2])
    one.stored(1_700)
    assert taken(one.take(POLICY, 2_200)) == (3, 4, [3])


def test_a_message_that_is_delivered_again_counts_once() -> None:
    one = partition([4, 5], start=5)
    for offset in (5, 4, 6, 6, 5):
        one.offer(offset, dead(offset), AT, 1_000)
    assert taken(one.take(POLICY, 1_500)) == (5, 7, [5, 6])


def test_a_begun_range_is_built_again_from_exactly_its_messages_at_once() -> None:
    one = partition([5, 6], start=5, recovering=(5, 9))
    assert one.starving
    assert one.take(POLICY, 9_999, flush=True) is None
    for offset in (8, 9, 10):
        one.offer(offset, dead(offset), AT, 1_000)
    assert not one.starving
    assert taken(one.take(replace(POLICY, max_rows=1), 1_000)) == (5, 9, [5, 6, 8])
    one.stored(1_000)
    assert taken(one.take(POLICY, 1_500)) == (9, 11, [9, 10])


def begun(content: str, offsets: Sequence[int]) -> Read:
    """What the topic gives to a range 5 to 9 that was begun."""
    one = Partition(PLACE, DEAD.kind, 5, Range(PLACE, 5, 9, content=content))
    for offset in offsets:
        one.offer(offset, dead(offset), AT, 1_000)
    cut = one.take(POLICY, 1_000)
    assert cut is not None
    assert (cut.block.start, cut.block.end, len(cut.messages)) == (5, 9, sum(offset < 9 for offset in offsets))
    return cut.read


def test_a_begun_range_is_known_by_its_fingerprint() -> None:
    content = content_of([decode_stored(DEAD.kind, PLACE, offset, dead(offset), AT) for offset in (5, 8)])
    assert begun(content, [5, 8]) is Read.SAME
    assert begun(content, [5, 8, 9]) is Read.CONTAINS
    assert begun(content, [8]) is Read.OTHER
    assert begun(content, [5, 6, 8]) is Read.OTHER
    assert begun("", [6, 8]) is Read.SAME, "an intent of format 1 has none"
    assert begun(ANY_CONTENT, [8, 9]) is Read.ASKED
    assert begun(content, [5, 6, 9]) is Read.GAP
    assert begun(content, [9]) is Read.GAP


def test_a_fingerprint_is_of_values_and_offsets_in_their_order_and_not_of_when_they_came() -> None:
    def content(*messages: tuple[int, bytes], at: int = AT) -> str:
        return content_of([decode_stored(DEAD.kind, PLACE, offset, value, at) for offset, value in messages])

    same = content((5, b"a"), (6, b"b"))
    assert content((5, b"a"), (6, b"b"), at=7) == same
    others = [
        content((5, b"a")),
        content((5, b"a"), (7, b"b")),
        content((5, b"ab"), (6, b"")),
        content((6, b"b"), (5, b"a")),
    ]
    assert len({same, *others}) == 5
    assert len(same) == 16


def test_a_new_block_carries_its_fingerprint_and_the_time_of_the_day() -> None:
    one = partition([1, 2])
    cut = one.take(POLICY, 1_500, written_ms=AT)
    assert cut is not None
    assert cut.read is Read.NEW
    assert cut.block.written_ms == AT
    assert cut.block.content == content_of([decode_stored(DEAD.kind, PLACE, n, dead(n), AT) for n in (1, 2)])
    one.again()
    again = one.take(POLICY, 9_999, written_ms=AT + 99)
    assert again is not None
    assert again.block == cut.block, "it is as old as it was"


def test_a_range_that_needs_not_be_read_is_due_at_once_and_the_rest_follows() -> None:
    one = Partition(PLACE, DEAD.kind, 5, Range(PLACE, 5, 9), unread=True)
    assert not one.starving
    cut = one.take(POLICY, 1_000)
    assert cut == (Range(PLACE, 5, 9), [], Read.GONE)
    one.offer(9, dead(9), AT, 1_000)
    one.stored(1_000)
    assert taken(one.take(POLICY, 9_999)) == (9, 10, [9])


def test_versions_never_share_a_block() -> None:
    one = Partition(PLACE, ROLLUPS.kind, 0)
    for offset, version in enumerate([1, 1, 2]):
        one.offer(offset, encode(message([Row()], version)), AT, 1_000)
    found = one.take(POLICY, 1_000)
    assert found is not None
    assert (found[0].end, [one.version for one in found[1] if isinstance(one, RollupMessage)]) == (2, [1, 1])


def test_a_block_touches_few_of_the_stores_partitions() -> None:
    one = Partition(PLACE, ROLLUPS.kind, 0)
    for offset in range(5):
        one.offer(offset, encode(message([Row(window=T0 + DAY * offset)])), AT, 1_000)
    found = one.take(POLICY, 1_000)
    assert found is not None
    assert found[0].end == 3


@pytest.mark.parametrize("kind", [ROLLUPS.kind, DISTINCT.kind, LEDGER.kind, DEAD.kind])
@pytest.mark.parametrize("value", [b"", b"garbage", b"{}", b"\xff\xfe", b"[" * 5_000])
def test_garbage_becomes_a_dead_letter_of_its_own_the_same_on_every_reading(kind: str, value: bytes) -> None:
    first, again = (decode_stored(kind, PLACE, 12, value, AT).message for _ in range(2))
    assert first == again
    assert isinstance(first, DeadLetter)
    assert (first.topic, first.partition, first.offset, first.rows, first.at_ms) == (PLACE.topic, 3, 12, 1, AT)


@pytest.mark.parametrize(("instant", "at"), [(-1, 0), (0, 0), (1 << 62, MAX_INSTANT_MS - 1)])
def test_a_message_without_a_usable_time_still_becomes_a_dead_letter(instant: int, at: int) -> None:
    found = decode_stored(ROLLUPS.kind, PLACE, 12, b"", instant).message
    assert isinstance(found, DeadLetter)
    assert found.at_ms == at


def test_every_kind_of_message_is_read() -> None:
    for kind, value, cls in [
        (ROLLUPS.kind, ROLLUP, RollupMessage),
        (DISTINCT.kind, encode(hashes([(1, 2)])), RollupMessage),
        (LEDGER.kind, ENTRY.encode(), LedgerEntry),
        (DEAD.kind, dead(1), DeadLetter),
    ]:
        assert isinstance(decode_stored(kind, PLACE, 0, value, AT).message, cls)
    with pytest.raises(ValueError, match="no stored topic"):
        decode_stored("events", PLACE, 0, ROLLUP, AT)


@pytest.mark.parametrize(
    ("kind", "value"), [(DISTINCT.kind, ROLLUP), (ROLLUPS.kind, encode(hashes([(1, 2)]))), (LEDGER.kind, dead(1))]
)
def test_a_message_in_the_wrong_topic_is_dead_and_not_silently_left_out(kind: str, value: bytes) -> None:
    found = decode_stored(kind, PLACE, 0, value, AT).message
    assert isinstance(found, DeadLetter)
    assert found.reason == "unknown_kind"


def test_a_message_that_the_store_could_never_take_is_dead_and_does_not_stop_the_partition() -> None:
    days = message([Row(window=DAY * day, series_id=day) for day in range(257)])
    counts = message([Row(hist=dict.fromkeys(range(300), (1 << 64) - 1))])
    for bad in (days, counts):
        found = decode_stored(ROLLUPS.kind, PLACE, 0, encode(bad), AT).message
        assert isinstance(found, DeadLetter)
        assert found.reason == "too_large"
    most = message([Row(window=DAY * day, series_id=day) for day in range(256)])
    assert isinstance(decode_stored(ROLLUPS.kind, PLACE, 0, encode(most), AT).message, RollupMessage)


def test_cells_for_great_counts_are_part_of_a_messages_size() -> None:
    value = encode(message([Row(hist={5: 3 * COUNT_LIMIT, 6: COUNT_LIMIT})]))
    found = decode_stored(ROLLUPS.kind, PLACE, 0, value, AT)
    assert found.shape.size == len(value) + 2 * 8
    assert isinstance(found.message, RollupMessage)
    rows = found.message.rows
    assert isinstance(rows, RollupRows)
    assert np.array_equal(rows.hist.counts, np.array([3 * COUNT_LIMIT, COUNT_LIMIT], np.uint64))


def events_of(*messages: ScrubbedEvents) -> Partition:
    """A partition of single events."""
    found = Partition(EVENTS_PLACE, SCRUBBED.kind, 0)
    for offset, one in enumerate(messages):
        found.offer(offset, encode_scrubbed(one), AT, 0)
    return found


def ends(one: Partition) -> list[int]:
    """Where the blocks of a partition end."""
    found: list[int] = []
    while (cut := one.take(POLICY, 0, flush=True)) is not None:
        found.append(cut.block.end)
        one.stored(0)
    return found


def test_a_block_of_single_events_has_one_version_few_days_and_so_many_rows() -> None:
    day = 1_000 * DAY
    several = [single_events([AT] * 4) for _ in range(5)]
    assert ends(events_of(*several)) == [2, 4, 5], "ten rows at most"
    days = [single_events([AT + day * n]) for n in range(5)]
    assert ends(events_of(*days)) == [3, 5], "three days at most"
    assert ends(events_of(single_events([AT]), single_events([AT], version=2))) == [1, 2]


def test_single_events_that_the_store_could_never_take_become_a_letter() -> None:
    days = encode_scrubbed(single_events([AT + 1_000 * DAY * n for n in range(257)]))
    text = Strings(["x" * 4_000], np.zeros(20_000, np.uint8))
    large = encode_scrubbed(replace(single_events([AT] * 20_000), texts={"remark": text}))
    assert len(large) < 100_000, "small, until every row's text is written out"
    for value in (days, large, encode_scrubbed(single_events([AT])) + b" ", ROLLUP):
        found = decode_stored(SCRUBBED.kind, EVENTS_PLACE, 7, value, AT).message
        assert isinstance(found, DeadLetter) == (value in {days, large, ROLLUP})
        if isinstance(found, DeadLetter):
            assert (found.reason, found.offset) == ("unknown_kind" if value == ROLLUP else "too_large", 7)
