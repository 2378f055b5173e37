"""A sink like any other, which kills itself where `KILL_AT` says: `insert` (the intent is written, the insert is not begun) or
`commit` (the insert is in, its end is not committed). Refusals are tried again soon.

Run as `python -m tests.support.killed_sink`; settings from the environment.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

from streamgauge.schemas.settings import load
from streamgauge.sinks.app import Sink
from streamgauge.sinks.ddl import ROLLUPS_LANDING
from streamgauge.sinks.driver import Commit
from streamgauge.sinks.insertion import CommitDone, Outcome, RetryPolicy
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.writer import Writer


def die() -> None:
    """SIGKILL, as nobody can handle it."""
    os.kill(os.getpid(), signal.SIGKILL)


class KilledWriter(Writer):
    """Dies instead of the second insert of points."""

    inserts = 0

    def insert(self, table: str, insert: Callable[[str], None], token: str) -> Outcome:
        """See Writer."""
        if table == ROLLUPS_LANDING and os.environ.get("KILL_AT") == "insert":
            self.inserts += 1
            if self.inserts == 2:
                die()
        return super().insert(table, insert, token)


class KilledSink(Sink):
    """See the module."""

    ends = 0

    def writer(self) -> Writer:
        """See Sink."""
        return KilledWriter(self.store, self._catalog)

    def _commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        if os.environ.get("KILL_AT") == "commit" and any(isinstance(step, CommitDone) for step in steps):
            self.ends += 1
            if self.ends == 2:
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
