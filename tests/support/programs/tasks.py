"""asyncio: tasks, and threads beside them."""

import asyncio

from streamgauge.producers import Counter

CALLS = Counter("calls", "", ["who"])


async def task() -> None:
    """Half a call before others get their turn, half after."""
    CALLS.labels("task").inc()
    await asyncio.sleep(0.001)
    CALLS.labels("task").inc()


async def main() -> None:
    """A hundred at once."""
    await asyncio.gather(*(task() for _ in range(100)))
    await asyncio.gather(*(asyncio.to_thread(CALLS.labels("thread").inc) for _ in range(20)))


asyncio.run(main())
