"""A sink like any other, which kills itself where `KILL_AT` says: `insert` (the intent is written, the insert is not begun) or
`commit` (the insert is in, its end is not committed). It is the second block of a topic, that of rollups, or the first of
`KILL_OF`. Refusals are tried again soon.

Run as `python -m tests.support.killed_sink`; settings from the environment.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from streamgauge.schemas.settings import load
from streamgauge.schemas.topics import ROLLUPS, SCRUBBED
from streamgauge.sinks.app import Sink
from streamgauge.sinks.ddl import ROLLUPS_LANDING
from streamgauge.sinks.driver import Commit
from streamgauge.sinks.insertion import CommitDone, Outcome, RetryPolicy
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.writer import Writer


def die() -> None:
    """SIGKILL, as nobody can handle it."""
    os.kill(os.getpid(), signal.SIGKILL)


def victim() -> tuple[str, str, int]:
    """The kind of topic, its landing table, and which of its blocks it is."""
    of = os.environ.get("KILL_OF", "")
    # older releases run this too, and have no name for the table
    return (of, "events_landing", 1) if of == SCRUBBED.kind else (ROLLUPS.kind, ROLLUPS_LANDING, 2)


class KilledWriter(Writer):
    """Dies instead of the insert."""

    inserts = 0

    def insert(self, table: str, insert: Callable[[str], None], token: str) -> Outcome:
        """See Writer."""
        _, landing, which = victim()
        if table == landing and os.environ.get("KILL_AT") == "insert":
            self.inserts += 1
            if self.inserts == which:
                die()
        return super().insert(table, insert, token)


class KilledSink(Sink):
    """See the module."""

    ends = 0

    def writer(self) -> Writer:
        """See Sink."""
        return KilledWriter(self.store, self._catalog)

    def _commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        kind, _, which = victim()
        done = [step.done.place.topic for step in steps if isinstance(step, CommitDone)]
        if os.environ.get("KILL_AT") == "commit" and any(f".{kind}." in topic for topic in done):
            self.ends += 1
            if self.ends == which:
                die()
        return super()._commit(steps)


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    settings = load(SinkSettings, environ=os.environ, known=["pseudonym_key", "commit_interval"])
    sink = KilledSink(settings, retry=RetryPolicy(refused_s=1.0))

    def end(number: int, _: FrameType | None) -> None:
        sink.stop()

    signal.signal(signal.SIGTERM, end)
    sink.run()


if __name__ == "__main__":
    main()
