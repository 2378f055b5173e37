"""A worker whose clock is off by what the file `CLOCK_FILE` says, in seconds, and may step at any time.

Run as `python -m tests.support.stepping_worker`; settings from the environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from streamgauge.processors.app import Worker
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.schemas.settings import load


class SteppingWorker(Worker):
    """See the module."""

    def __init__(self, settings: ProcessorSettings, offset: Path) -> None:
        super().__init__(settings)
        self._offset = offset
        self._around = replace(self._around, now_ms=self.now_ms)

    def now_ms(self) -> int:
        """What this worker takes for now."""
        return time.time_ns() // 1_000_000 + int(self._offset.read_text() or 0) * 1_000


async def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    settings = load(ProcessorSettings, environ=os.environ, known=["store", "database", "block_interval"])
    worker = SteppingWorker(settings, Path(os.environ["CLOCK_FILE"]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
