"""A worker like any other, but one commit in `FAIL_EVERY` fails: before it begins, or after it was done unseen.

Run as `python -m tests.support.failing_worker`; settings from the environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from streamgauge.processors.app import Worker
from streamgauge.processors.broker import Committed
from streamgauge.processors.outputs import Output
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.processors.transactions import Committer
from streamgauge.schemas.settings import load


class FailingCommitter:
    """Passes everything on. Of the commits that fail, every second one takes effect all the same: its outcome is unknown."""

    def __init__(self, inner: Committer, counter: list[int], every: int) -> None:
        self._inner = inner
        self._counter = counter
        self._every = every

    async def open(self) -> Committed:
        """See Committer."""
        return await self._inner.open()

    async def commit(self, outputs: Sequence[Output], end: int) -> None:
        """See Committer."""
        self._counter[0] += 1
        if self._counter[0] % self._every:
            await self._inner.commit(outputs, end)
            return
        if self._counter[0] % (2 * self._every) == 0:
            await self._inner.commit(outputs, end)
        print("commit failed on purpose", flush=True)
        raise ConnectionError("injected: the commit fails in a worker that lives and keeps its partition")

    async def close(self) -> None:
        """See Committer."""
        await self._inner.close()


class FailingWorker(Worker):
    """See the module."""

    def __init__(self, settings: ProcessorSettings, every: int) -> None:
        super().__init__(settings)
        self._counter = [0]
        self._every = every

    def _committer(self, tp: Any) -> Committer:
        return FailingCommitter(super()._committer(tp), self._counter, self._every)


async def main() -> None:
    """Run until SIGTERM."""
    worker = FailingWorker(
        load(ProcessorSettings, environ=os.environ, known=["store", "database", "block_interval"]),
        int(os.environ["FAIL_EVERY"]),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
