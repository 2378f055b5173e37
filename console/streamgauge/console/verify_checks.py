"""Checks: looks at store and Kafka, one after the other, and what two of them say together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from streamgauge.console.accounts_store import read_ends, read_verification, refused_offsets
from streamgauge.console.doctor_facts import KafkaFacts
from streamgauge.console.verify import Certain, Verification, certain_events, certain_of
from streamgauge.console.verify_live import Key, arrived, live_positions
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import DISTINCT, LEDGER, ROLLUPS, SCRUBBED

if TYPE_CHECKING:
    from streamgauge.schemas.contracts import Contract
    from streamgauge.sinks.ddl import Reader
    from streamgauge.sinks.settings import SinkSettings

NOTHING: Certain = MappingProxyType({})
PAUSE_S: Final = 0.5
PATIENCE: Final = 4
"""While points keep coming a check goes on for so many times as long as it would wait for nothing to change."""


@dataclass(frozen=True, slots=True)
class Look:
    """The store at one instant, and Kafka shortly before and shortly after it; None where it does not answer."""

    found: Verification
    ends: Mapping[Key, Mapping[str, int]]
    before: KafkaFacts | None = None
    after: KafkaFacts | None = None
    refused: tuple[tuple[str, int, int], ...] = ()


def judge(
    then: Look, now: Look, quiet: bool, region: str, known: Certain = NOTHING, events: tuple[int, int] = (0, 0)
) -> Verification:
    """What two looks say, and what was `known` before, of single `events` too. `quiet`: nothing has changed for as long as
    one would wait.

    Where Kafka answers it says whether what was there `then` has arrived; else only quiet does.
    """
    if then.after is None or now.before is None:
        return replace(
            now.found,
            certain=certain_of(then.found.days, now.found.days, known, quiet),
            certain_events=certain_events(then.found.events, now.found.events, events, quiet),
        )
    accounted = arrived(then.after, now.before, [LEDGER.name(region)])
    settled = accounted and arrived(then.after, now.before, [ROLLUPS.name(region)])
    live = live_positions(
        then.after,
        now.ends,
        accounted,
        [topic.name(region) for topic in (ROLLUPS, DISTINCT, SCRUBBED)],
        now.refused,
    )
    sent = accounted and arrived(then.after, now.before, [SCRUBBED.name(region)])
    return replace(
        now.found,
        certain=certain_of(then.found.days, now.found.days, known, settled),
        certain_events=certain_events(then.found.events, now.found.events, events, sent),
        live=live,
    )


class Checks:
    """Looks for one region. `last_ms`: whole UTC days from so long ago on. `kafka` raises BrokerUnavailable.

    `contracts`: all versions, for what they let the tiers forget.
    """

    def __init__(
        self,
        store: Reader,
        settings: SinkSettings,
        last_ms: int,
        kafka: Callable[[], KafkaFacts] | None,
        contracts: Iterable[Contract] = (),
    ) -> None:
        self._store = store
        self._settings = settings
        self._last_ms = last_ms
        self._kafka = kafka
        self._contracts = tuple(contracts)
        self._known: Certain = NOTHING
        self._known_events = (0, 0)

    def look(self) -> Look:
        """Look once. Raises what the store raises."""
        settings = self._settings
        kept = (settings.retention_10s, settings.retention_1m, settings.retention_1h, settings.retention_1d)
        before = self._look_at_kafka()
        now_ms = time.time_ns() // 1_000_000
        since = 0 if self._last_ms == FOR_EVER else now_ms - self._last_ms
        found = read_verification(self._store, settings.database, settings.region, kept, since, now_ms, self._contracts)
        if before is None:
            return Look(found, {})
        ends = read_ends(self._store, settings.database, settings.region)
        refused = refused_offsets(self._store, settings.database, settings.region)
        return Look(found, ends, before, self._look_at_kafka(), tuple(refused))

    def _look_at_kafka(self) -> KafkaFacts | None:
        if self._kafka is None:
            return None
        try:
            return self._kafka()
        except BrokerUnavailable:
            return None

    def until_settled(
        self,
        wait_s: float,
        say: Callable[[str], None] = lambda _: None,
        patience: int = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Verification:
        """The account as soon as it is certain: everything agrees, or all that differs is not on its way.

        Else when nothing has changed for `wait_s`, or, while points keep coming, after `patience` times that. What was
        certain in an earlier call stays known.
        """
        begun = changed = clock()
        then = self.look()
        took = clock() - begun
        verdict = replace(
            then.found, certain=NOTHING, certain_events=certain_events(None, then.found.events, (0, 0), False)
        )
        if then.before is None and verdict.whole:
            self._known, self._known_events = NOTHING, (0, 0)
            return verdict
        while True:
            sleep(max(PAUSE_S, 2 * took))  # a large store is not kept busy with looks
            began = clock()
            now = self.look()
            took = clock() - began
            if (now.found.days, now.found.events) != (then.found.days, then.found.events):
                changed = clock()
            quiet = clock() - changed >= wait_s
            verdict = judge(then, now, quiet, self._settings.region, self._known, self._known_events)
            self._known, self._known_events = verdict.certain or NOTHING, verdict.certain_events or (0, 0)
            certain = verdict.live is not None and not verdict.moving
            if verdict.whole or certain or quiet or clock() - begun >= patience * wait_s:
                return verdict
            if verdict.moving:
                say(f"{verdict.moving:,} points are on their way")
            then = now
