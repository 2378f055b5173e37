"""Memory: what a partition remembers beyond its transactions, as messages of the state topic, and read back from them.

Each transaction carries the streams that it touched; now and then one carries all of them, and the committed offset names
the first message of that snapshot. So a new owner reads a snapshot and what came after it, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from streamgauge.processors.accumulator import Place
from streamgauge.processors.broker import Committed
from streamgauge.processors.outputs import Output
from streamgauge.processors.replays import Replays
from streamgauge.processors.sequences import Findings, SequencePolicy, Sequences
from streamgauge.schemas.errors import PositionLost, Refused
from streamgauge.schemas.state import Replay, StateMessage, StreamState, decode_state
from streamgauge.schemas.topics import STATE, state_partition

log = logging.getLogger("streamgauge.processors")

SNAPSHOT_EVERY = 60
"""Transactions between snapshots: about a minute of changes to read at the next start."""

ENTRIES_A_MESSAGE = 5_000
"""Half a megabyte of streams without holes, and of replays; brokers take one megabyte."""


class Memory:
    """Of one raw partition. `sequences` and `replays` are replaced by `restore` and `forget`."""

    def __init__(self, place: Place, policy: SequencePolicy, partitions: int, snapshot_every: int) -> None:
        self.place = place
        self.where = STATE.name(place.region), state_partition(place.topic, place.partition, partitions)
        self.sequences = Sequences(policy)
        self.replays = Replays(policy.expiry_s)
        self._policy = policy
        self._snapshot_every = snapshot_every
        self._changes: int | None = None
        self._life = ""

    def forget(self, life: str = "") -> None:
        """Nothing was ever committed in this life of the raw topic."""
        self._life = life
        self.sequences = Sequences(self._policy)
        self.replays = Replays(self._policy.expiry_s)
        self._changes = None

    def restore(self, values: Sequence[bytes], committed: Committed, life: str = "") -> None:
        """Know what these messages say, in this life of the raw topic. Raises PositionLost when one of them is no state.

        Streams outlive their topic: a batch that was counted in an earlier life counts once all the same. Replays do not:
        they are known by offsets, which mean something else now.
        """
        self.forget(life)
        end: int | None = None
        earlier = False
        for message in map(self._decode, values):
            if (message.topic, message.partition) != (self.place.topic, self.place.partition):
                continue  # of a raw partition that keeps its state in the same place
            if message.form == "snapshot":
                if message.part == 0:
                    self.sequences = Sequences(self._policy)
                    self.replays = Replays(self._policy.expiry_s)
                self._changes = 0
            elif self._changes is not None:
                self._changes += 1
            self.sequences.restore(message.streams)
            earlier = bool(life and message.incarnation and message.incarnation != life)
            if not earlier:
                self.replays.restore(message.replays)
            end = message.end
        if earlier:
            log.info(
                "%s/%s: the state is of an earlier life of the topic; batches that were counted in it are recognised",
                self.place.topic, self.place.partition,
            )  # fmt: skip
        elif end is not None and end != committed.offset:
            log.warning(
                "%s/%s: the state is that of offset %d, the committed offset is %d: it was set by hand, or another "
                "program commits in this group. Batches that were counted are recognised all the same",
                self.place.topic, self.place.partition, end, committed.offset,
            )  # fmt: skip

    def _decode(self, value: bytes) -> StateMessage:
        try:
            return decode_state(value)
        except Refused as refused:
            raise PositionLost(
                f"{self.where[0]}/{self.where[1]} holds a message that is no state of this version ({refused.reason}). Without "
                "it batches that were sent twice cannot be recognised. Start the version of streamgauge that wrote it"
            ) from refused

    def take(self, end: int, now_s: int) -> tuple[Findings, list[Output]]:
        """What a transaction that ends at the raw offset `end` must carry: all that changed since the last one."""
        self.sequences.settle(now_s)
        streams, replays = self.sequences.take_touched(), self.replays.take_new()
        if self._changes is None or self._changes >= self._snapshot_every:
            self.sequences.forget(now_s)
            self._changes = 0
            made = self._messages("snapshot", end, self.sequences.all(), self.replays.all(now_s))
        else:
            self._changes += 1
            made = self._messages("change", end, streams, replays)
        findings = self.sequences.take_findings()
        if findings.crowded_out:
            log.warning(
                "%s/%s: %d streams were forgotten for want of room: batches of theirs that come again will count again",
                self.place.topic, self.place.partition, findings.crowded_out,
            )  # fmt: skip
        return findings, made

    def _messages(self, form: str, end: int, streams: Sequence[StreamState], replays: Sequence[Replay]) -> list[Output]:
        starts = range(0, max(1, len(streams), len(replays)), ENTRIES_A_MESSAGE)
        cuts = [(streams[i : i + ENTRIES_A_MESSAGE], replays[i : i + ENTRIES_A_MESSAGE]) for i in starts]
        place, (topic, partition) = self.place, self.where
        made: list[Output] = []
        for part, (some, others) in enumerate(cuts):
            message = StateMessage(
                place.region, place.topic, place.partition, form, end, tuple(some), part, len(cuts), tuple(others),
                self._life,
            )  # fmt: skip
            # of equal keys compaction keeps the last one: each is used once between two snapshots
            key = f"{place.topic}/{place.partition}/{form}/{self._changes}/{part}".encode()
            made.append(Output(topic, partition, message.encode(), key, anchor=form == "snapshot" and part == 0))
        return made
