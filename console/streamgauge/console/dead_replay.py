"""Replaying dead letters: their raw messages are found, recognised and produced once more, with a header that says why.

Nothing is sent that is not surely what was refused: same place, same length, same keyed hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import KafkaError, Producer

from streamgauge.console.dead_letters import Origin
from streamgauge.console.interrupts import Check
from streamgauge.console.output import Report
from streamgauge.console.raw_log import Absence, RawMessage
from streamgauge.console.sender import MAX_QUEUED_BYTES, PRODUCER_SETTINGS
from streamgauge.schemas.again import AGAIN_HEADER, Again, again_of
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.packing import Json

BAD_AGAIN = "bad_again"
SKIPPED: Mapping[str, str] = {
    "not_raw": "stands in a topic that nobody replays into",
    "no_hash": "was written by a release that recorded neither hash nor rows",
    "bad_again": "is about the header of a replay, not about data",
    "anew": "was refused in an earlier life of its topic, which was made anew since: the message is gone",
    "differs": "another message stands at its offset: the topic was made anew, or the key is another one",
    "never": "its offset lies beyond the end of the topic: the topic was made anew",
}
"""Why a letter is left out, with what it means."""


@dataclass(slots=True)
class ReplayAccount:
    """What became of the letters: `sent` are acknowledged, of `gone` ones the raw topic's retention has passed."""

    letters: int
    sent: int = 0
    points: int = 0
    gone: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether every letter was sent."""
        return self.sent == self.letters

    def json(self) -> Json:
        """As a JSON object."""
        return {
            "letters": self.letters,
            "sent": self.sent,
            "points": self.points,
            "gone": self.gone,
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
        }


class Log(Protocol):
    """Where raw messages are found."""

    def find(self, origin: Origin) -> RawMessage | Absence:
        """The message at an origin."""
        ...


Send = Callable[[DeadLetter, RawMessage, Again], None]
"""Takes a letter, its raw message and the header that goes with it."""


def hindrance(letter: DeadLetter, topics: frozenset[str]) -> str:
    """Why a letter cannot be replayed, whatever its raw message is; empty when it can."""
    if letter.topic not in topics:
        return "not_raw"
    if letter.reason == BAD_AGAIN:
        return "bad_again"
    return "" if letter.hash else "no_hash"


def copy_of(letter: DeadLetter) -> Origin:
    """Where the bytes of a letter are kept longest: of a replay that was refused, the replay."""
    return Origin(letter.topic, letter.partition, letter.again or letter.offset)


Recognises = Callable[[bytes | None, str], bool]
"""Takes a message and a hash; tells whether the hash is of this message."""


def is_of(letter: DeadLetter, raw: RawMessage, recognises: Recognises) -> bool:
    """Whether this is the message that was refused."""
    return len(raw.value or b"") == letter.size and recognises(raw.value, letter.hash)


def replay_letters(
    letters: Sequence[DeadLetter],
    log: Log,
    send: Send,
    recognises: Recognises,
    topics: frozenset[str],
    account: ReplayAccount,
    backfill: bool,
    report: Report,
    earlier: Callable[[DeadLetter], bool] = lambda _: False,
) -> None:
    """Find and send them one after the other; what is not sent is counted by its reason. `earlier`: letters of an earlier
    life of their topic. The same bytes may stand at the offset now, and have counted.
    """
    for done, letter in enumerate(letters, 1):
        if why := hindrance(letter, topics):
            account.skipped[why] += 1
        elif earlier(letter):
            account.skipped["anew"] += 1
        else:
            raw = log.find(copy_of(letter))
            if raw is Absence.GONE:
                account.gone += 1
            elif raw is Absence.NEVER:
                account.skipped["never"] += 1
            elif is_of(letter, raw, recognises):
                send(letter, raw, again_of(letter, backfill))
            else:
                account.skipped["differs"] += 1
        report(done / len(letters), f"{done:,} of {len(letters):,} letters")


class AgainSender:
    """Produces raw bytes again, to the partition they came from. What is acknowledged is in the account after `close`."""

    def __init__(self, config: Mapping[str, Any], account: ReplayAccount, check: Check = lambda: None) -> None:
        # the header comes on top of a message that may have been as large as the broker takes
        self._producer = Producer({**PRODUCER_SETTINGS, **config, "message.max.bytes": 64 << 20})
        self._account = account
        self._check = check
        self._queued = 0

    def send(self, letter: DeadLetter, raw: RawMessage, again: Again) -> None:
        """Hand one over as soon as there is room for it."""
        size = len(raw.value or b"")

        def landed(error: KafkaError | None, _: object) -> None:
            self._queued -= size
            if error is not None:
                self._account.failed[error.name()] += 1
            else:
                self._account.sent += 1
                self._account.points += letter.rows

        while self._queued and self._queued + size > MAX_QUEUED_BYTES:
            self._wait()
        self._queued += size
        headers: list[tuple[str, str | bytes | None]] = [(AGAIN_HEADER, again.encode())]
        while True:
            try:
                self._producer.produce(
                    letter.topic, raw.value, raw.key, letter.partition, on_delivery=landed, headers=headers
                )
            except BufferError:
                self._wait()
            else:
                return

    def _wait(self) -> None:
        self._producer.poll(0.1)
        self._check()

    def close(self, within_s: float) -> None:
        """Wait for acknowledgements; what has none by then is counted as failed."""
        left = self._producer.flush(within_s)
        if left:
            self._account.failed["not acknowledged"] += left
            self._producer.purge()
