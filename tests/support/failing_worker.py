"""A worker like any other, but one commit in `FAIL_EVERY` fails, in a worker that lives and keeps its partitions.

`FAIL_AT` names the steps at which it fails, in turn: before anything (`before`), after the transaction was begun (`begin`),
after everything was sent (`send`), after the offsets were (`offsets`), or after it was committed, its answer being lost
(`commit`). Run as `python -m tests.support.failing_worker`; settings from the environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from streamgauge.processors.app import Worker
from streamgauge.processors.outputs import Output
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.processors.transactions import CommitTarget, Committer, TransactionalCommitter
from streamgauge.schemas.settings import load
from streamgauge.schemas.topics import LEDGER

STEPS = ("before", "begin", "send", "offsets", "commit")


class Plan:
    """Which commit fails, and where."""

    def __init__(self, every: int, steps: Sequence[str]) -> None:
        self._every = every
        self._steps = steps
        self._commits = 0
        self._failures = 0

    def next(self) -> str:
        """The step at which the commit that begins now fails; empty when it does not."""
        self._commits += 1
        if self._commits % self._every:
            return ""
        self._failures += 1
        return self._steps[(self._failures - 1) % len(self._steps)]


class FailingProducer:
    """Passes everything on to a transactional producer, and fails after one step."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.step = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def fail(self, step: str) -> None:
        """Raise if this is the step."""
        if self.step == step:
            print(f"commit failed on purpose: {step}", flush=True)
            raise ConnectionError("injected: the commit fails in a worker that lives and keeps its partition")

    async def begin_transaction(self) -> None:
        """See AIOKafkaProducer."""
        await self._inner.begin_transaction()
        self.fail("begin")

    async def send_offsets_to_transaction(self, offsets: Any, group: str) -> None:
        """See AIOKafkaProducer. It is called when all sends are acknowledged."""
        self.fail("send")
        await self._inner.send_offsets_to_transaction(offsets, group)
        self.fail("offsets")

    async def commit_transaction(self) -> None:
        """See AIOKafkaProducer."""
        await self._inner.commit_transaction()
        self.fail("commit")


class FailingCommitter(TransactionalCommitter):
    """Commits with producers that fail as planned."""

    def __init__(self, target: CommitTarget, broker: Any, config: Mapping[str, Any], plan: Plan) -> None:
        super().__init__(target, broker, config)
        self._plan = plan

    def _new_producer(self) -> Any:
        return FailingProducer(super()._new_producer())

    async def _commit(self, producer: Any, outputs: Sequence[Output], end: int, life: str) -> None:
        producer.step = self._plan.next()
        producer.fail("before")
        await super()._commit(producer, outputs, end, life)


class FailingWorker(Worker):
    """See the module."""

    def __init__(self, settings: ProcessorSettings, plan: Plan) -> None:
        super().__init__(settings)
        self._plan = plan

    def _committer(self, tp: Any) -> Committer:
        target = CommitTarget(tp.topic, tp.partition, self.settings.group, LEDGER.name(self.settings.region))
        return FailingCommitter(target, self._broker, {"bootstrap_servers": list(self.settings.brokers)}, self._plan)


async def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    worker = FailingWorker(
        load(ProcessorSettings, environ=os.environ, known=["store", "database", "block_interval"]),
        Plan(int(os.environ["FAIL_EVERY"]), os.environ.get("FAIL_AT", ",".join(STEPS)).split(",")),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
