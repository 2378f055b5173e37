"""Services: what the long-running commands share: logs on stderr, and signals that end them cleanly."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from types import FrameType


def configure_logging(verbose: bool, quiet: bool = False) -> None:
    """Logs of this process on stderr. Libraries are heard from warnings on; the stream library only when `verbose`."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("streamgauge").setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    # the names that Faust gives to our subclasses of its services
    logging.getLogger("streamgauge.processors.app").setLevel(logging.WARNING)
    # Faust never commits here, and says so all the time; the others report every refused connection of a retry
    for name in ("faust", "mode", "aiokafka", "clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)


def leave() -> None:
    """For `on_end` while a service is still starting: there is nothing to finish yet."""
    raise SystemExit(0)


def on_end(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and Ctrl-C; a second one ends at once."""

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
