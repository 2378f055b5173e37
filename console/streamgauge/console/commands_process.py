"""`streamgauge process`: a worker."""

from __future__ import annotations

import asyncio

import click

from streamgauge.console.options import with_settings
from streamgauge.console.service import configure_logging, leave, on_end
from streamgauge.processors.settings import ProcessorSettings


@click.command("process", epilog="Example: streamgauge process --brokers kafka:9092 --region eu --contracts contracts/")
@with_settings(ProcessorSettings)
@click.option("--verbose", is_flag=True, help="Say more.")
@click.option("--quiet", is_flag=True, help="Say only what is wrong.")
def process(settings: ProcessorSettings, verbose: bool, quiet: bool) -> int:
    """Scrub and roll up what producers send, one Kafka transaction per raw partition and second.

    Start as many as there are partitions at most. Ends cleanly on SIGTERM and Ctrl-C; may be killed at any time.
    """
    configure_logging(verbose, quiet)
    on_end(leave)

    from streamgauge.processors.app import Worker

    async def work() -> None:
        worker = Worker(settings)
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.call_soon_threadsafe(worker.stop)

        on_end(end)
        await worker.run()

    asyncio.run(work())
    return 0
