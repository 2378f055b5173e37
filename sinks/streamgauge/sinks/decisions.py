"""Decisions: what to do with a partition, by what the group has committed, what the store holds and what the topic gives.

Pure: two tables as functions, every cell of which is named in a test. What cannot be known stops, and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from streamgauge.schemas.errors import PositionLost, StreamgaugeError
from streamgauge.sinks.ranges import Committed, GroupSays, Place, Range


class InStore(Enum):
    """What the table `blocks` holds of a partition, beside a pending range or a committed offset."""

    NOTHING = "nothing"
    OTHER_LIFE = "blocks of another life of the topic only"
    BEHIND = "blocks before it"
    SAME = "this very range"
    HALF = "this very range, but the store ended just then: some tiers may lack it"
    PART = "blocks inside the range, cut in another way"
    OVERLAPPING = "blocks across an end of it"
    BEYOND = "blocks after it"


class Read(Enum):
    """What the topic gives."""

    NEW = "messages, and no range is pending"
    SAME = "the messages of the pending range"
    CONTAINS = "these, and later ones"
    OVERLAPS = "some of them yet"
    ASKED = "the messages of a range that a person wants inserted again"
    OTHER = "other messages at its offsets"
    GAP = "later messages, and not its last one"
    GONE = "nothing: these offsets are gone"
    BACKWARD = "a message that is stored already"
    RECREATED = "messages of another life of the topic"


class Act(Enum):
    """What to do."""

    FIRST = "start at the first offset that there is"
    START = "start at the committed offset"
    AGAIN = "insert the range again, with the same token"
    COMMIT = "it is in: commit only"
    CUT = "cut a new block"
    WAIT = "wait for more"
    IGNORE = "ignore it"
    STOP = "stop, with advice"


class Why(Enum):
    """Why to stop."""

    LOST_OFFSETS = "lost offsets"
    ANEW = "topic made anew"
    TWICE = "would count twice"
    CUT = "cut in another way"
    CONTENT = "content unknown"
    UNCOVERED = "not covered by deduplication"
    GONE = "messages gone"
    FOREIGN = "foreign metadata"
    FORMAT = "unknown format"
    MOVED = "offset moved by hand"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do; why, when it is to stop."""

    act: Act
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class StoreView:
    """What the store says of a range: what it holds, whether its tables still know the token, the end of its last block."""

    found: InStore
    covered: bool = True
    until: int = 0


FORGIVING = StoreView(InStore.NOTHING)
"""Of tables whose rows replace each other: whatever they hold, a repeat is harmless."""


class IntentUnknown(StreamgaugeError):
    """Commit metadata that this version does not understand. Nothing was inserted or skipped."""


class Undecided(StreamgaugeError):
    """Inserting might count twice, and going on might lose: a person has to look. Nothing was inserted or skipped."""


def at_start(committed: Committed, found: InStore) -> Decision:
    """What to do with a partition that was just taken over."""
    match committed:
        case Committed.FOREIGN:
            return Decision(Act.STOP, Why.FOREIGN)
        case Committed.OTHER_LIFE:
            return Decision(Act.STOP, Why.ANEW)
        case Committed.MOVED:
            return Decision(Act.STOP, Why.MOVED)
        case Committed.NOTHING:
            if found is InStore.NOTHING:
                return Decision(Act.FIRST)
            return Decision(Act.STOP, Why.ANEW if found is InStore.OTHER_LIFE else Why.LOST_OFFSETS)
        case Committed.BY_HAND | Committed.STORED:
            return _unless_twice(found) or Decision(Act.START)
        case Committed.PENDING:
            return _unless_cut(found) or Decision(Act.AGAIN)
        case Committed.ASKED:
            return Decision(Act.AGAIN)
        case Committed.UNKNOWN_FORMAT:
            if found is InStore.SAME:
                return Decision(Act.COMMIT)
            return _unless_cut(found) or Decision(Act.STOP, Why.FORMAT)


def when_read(read: Read, found: InStore, covered: bool) -> Decision:
    """What to do with what was read. `covered`: every table still knows the token of the range, if it ever came."""
    match read:
        case Read.NEW:
            return Decision(Act.CUT)
        case Read.OVERLAPS:
            return Decision(Act.WAIT)
        case Read.BACKWARD:
            return Decision(Act.IGNORE)
        case Read.RECREATED:
            return Decision(Act.STOP, Why.ANEW)
        case Read.ASKED:  # the range is as old as the asking
            return _if_covered(covered)
        case Read.GAP | Read.GONE:
            if found is InStore.SAME:
                return Decision(Act.COMMIT)
            return _unless_cut(found) or Decision(Act.STOP, Why.GONE)
        case Read.OTHER:
            if found is InStore.SAME:
                return Decision(Act.COMMIT)
            if found is InStore.HALF:
                return Decision(Act.STOP, Why.CONTENT)
            return _unless_cut(found) or _if_covered(covered)
        case Read.SAME | Read.CONTAINS:
            if found is InStore.SAME and not covered:
                return Decision(Act.COMMIT)
            return _unless_cut(found) or _if_covered(covered)


def would_do(says: GroupSays, view: StoreView) -> Decision:
    """What a sink would do that is started now, if the topic still has the messages."""
    decision = at_start(says.kind, view.found)
    if decision.act is not Act.AGAIN:
        return decision
    return when_read(Read.ASKED if says.kind is Committed.ASKED else Read.SAME, view.found, view.covered)


def _unless_twice(found: InStore) -> Decision | None:
    ahead = {InStore.SAME, InStore.HALF, InStore.PART, InStore.OVERLAPPING, InStore.BEYOND}
    return Decision(Act.STOP, Why.TWICE) if found in ahead else None


def _unless_cut(found: InStore) -> Decision | None:
    if found is InStore.BEYOND:
        return Decision(Act.STOP, Why.TWICE)
    return Decision(Act.STOP, Why.CUT) if found in {InStore.PART, InStore.OVERLAPPING} else None


def _if_covered(covered: bool) -> Decision:
    return Decision(Act.AGAIN) if covered else Decision(Act.STOP, Why.UNCOVERED)


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A row of `blocks` that ends behind the offset in question. `half`: the store ended just when it came."""

    start: int
    end: int
    half: bool = False


def in_store(blocks: Iterable[StoredBlock], start: int, end: int, before: InStore) -> InStore:
    """What blocks are to a range [start, end), or to an offset (start = end). `before`: what is there when none of them is.

    What is worse for going on wins.
    """
    found = {_relation(one, start, end) for one in blocks}
    for worse in (InStore.BEYOND, InStore.OVERLAPPING, InStore.PART, InStore.SAME, InStore.HALF):
        if worse in found:
            return worse
    return before


def _relation(block: StoredBlock, start: int, end: int) -> InStore:
    if block.end <= start:
        return InStore.BEHIND
    if block.start >= end:
        return InStore.BEYOND
    if (block.start, block.end) == (start, end):
        return InStore.HALF if block.half else InStore.SAME
    return InStore.PART if start <= block.start and block.end <= end else InStore.OVERLAPPING


ANEW = (
    "Stop the sinks and set the group to the beginning of the topic with kafka-consumer-groups --reset-offsets "
    "--to-earliest; blocks of the new topic cannot be taken for those of the old one"
)
"""What to do when a topic was made anew."""


def stop(why: Why, place: Place, says: GroupSays, view: StoreView) -> StreamgaugeError:
    """Why the sink stops, and what to do, as an error to raise."""
    pending, offset = says.pending, says.offset
    block = "the block" if pending is None else f"the block of offsets {pending.start}-{pending.end}"
    look = (
        f"Nothing was inserted or skipped. Look with `streamgauge sink-offset` and `streamgauge verify`; then stop the sinks "
        f"and say `streamgauge sink-offset --resolve {place} stored`"
    )
    again = f"{look}, or `insert-again` if no tier has it"
    match why:
        case Why.LOST_OFFSETS:
            return PositionLost(
                f"the group has no committed offset of {place}, though the store has its blocks up to offset {view.until}. "
                "Reading from the start could count twice. If this is the same topic, stop the sinks and say `streamgauge "
                f"sink-offset --resolve {place} stored`, or set the group's offset to {view.until} with "
                "kafka-consumer-groups --reset-offsets; if it was made anew, set it --to-earliest: blocks of the new topic "
                "cannot be taken for those of the old one"
            )
        case Why.ANEW:
            had = (
                f"the group still has the offset {offset} of its earlier life"
                if says.life
                else "the offsets went with it"
            )
            ids = f" (its id was {says.life}, now it is {place.incarnation})" if says.life else ""
            return PositionLost(f"{place} was made anew{ids}, and {had}. {ANEW}")
        case Why.GONE:
            what = "the offsets that come next" if pending is None else f"{block} was begun, but its messages"
            return PositionLost(
                f"{place}: {what} are no longer there: the topic has lost data (or its retention has passed). Nothing was "
                "skipped. Compare the ledger with `streamgauge verify`, then set the group's offset with "
                "kafka-consumer-groups --reset-offsets to go on without it"
            )
        case Why.FOREIGN:
            return IntentUnknown(
                f"the commit metadata of {place} was not written by a sink of this version. If another program commits in "
                "this group, give it a group of its own; then set the offset with kafka-consumer-groups --reset-offsets"
            )
        case Why.FORMAT:
            number = 0 if pending is None else pending.block_format
            return IntentUnknown(
                f"{place} has a pending block of format {number}; finish it with the version of streamgauge that began it, "
                "then upgrade"
            )
        case Why.MOVED:
            return IntentUnknown(
                f"the intent of {place} is for {block}, but the committed offset is {offset}: the group's offsets were "
                "changed by hand. Set them again with kafka-consumer-groups --reset-offsets"
            )
        case Why.TWICE:
            return Undecided(
                f"{place}: the store has blocks up to offset {view.until}, but the group's offset is {offset}: somebody has "
                f"set it back, or the brokers have lost commits. Going on would count these messages twice. {look}"
            )
        case Why.CUT:
            return Undecided(
                f"{place}: {block} is pending, but the store has these offsets in blocks that were cut in another way. {look}"
            )
        case Why.CONTENT:
            return Undecided(
                f"{place}: {block} was begun with other messages than the topic has now, and the store may have it in some "
                f"of its tiers only. {again}"
            )
        case Why.UNCOVERED:
            return Undecided(
                f"{place}: it is not known whether {block} is in every tier, and so much was written since that the tables "
                f"may have forgotten its token: inserting it again might count twice. {again}"
            )


def stop_for(why: Why, pending: Range, view: StoreView) -> StreamgaugeError:
    """As `stop`, for a pending range."""
    return stop(why, pending.place, GroupSays(Committed.PENDING, pending.start, pending), view)
