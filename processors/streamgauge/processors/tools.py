"""Tools: what accumulators of one worker share, and where what they read stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.inbox import Inbox
from streamgauge.processors.keyring import Keyring
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.residency import Residency
from streamgauge.processors.scrub import Scrubber


@dataclass(frozen=True, slots=True)
class Tools:
    """What accumulators of one worker share: their memories of values, hashes and series."""

    scrubber: Scrubber
    hasher: DistinctHasher
    policy: TimePolicy = field(default_factory=TimePolicy)
    max_message_bytes: int = 16 << 20
    residency: Residency = field(default_factory=Residency)
    inbox: Inbox = field(default_factory=Inbox)
    cleaner: Cleaner = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cleaner", Cleaner(self.scrubber))

    def use(self, ring: Keyring, now_ms: int) -> None:
        """Hash under this ring from now on, and forget every value: what was seen under a key must not outlive it here."""
        self.hasher.use(ring, now_ms)
        self.scrubber.forget()
        self.cleaner.forget()
        self.inbox.forget()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands. `incarnation` is the life of the topic that offsets are of, where it is known."""

    region: str
    topic: str
    partition: int
    incarnation: str = ""
