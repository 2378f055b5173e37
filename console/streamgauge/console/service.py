"""Services: what the long-running commands share: logs on stderr, and signals that end them cleanly."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType

log = logging.getLogger("streamgauge.console")

END_WITHIN_S = 13.0
"""From the first signal on; orchestrators kill a service some time after that (docker compose here: 20 s)."""
TURN_S = 0.2


def configure_logging(verbose: bool, quiet: bool = False) -> None:
    """Logs of this process on stderr. Libraries are heard from warnings on; the stream library only when `verbose`."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("streamgauge").setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    # the names that Faust gives to our subclasses of its services
    logging.getLogger("streamgauge.processors.app").setLevel(logging.WARNING)
    # Faust never commits here, and says so all the time; the others report every refused connection of a retry, with all that
    # is bound to the statement. The level of urllib3 itself is set anew when clickhouse_connect is imported
    for name in ("faust", "mode", "aiokafka", "clickhouse_connect", "urllib3.connectionpool"):
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


def run_until_ended(run: Callable[[], None], stop: Callable[[], None], within_s: float = END_WITHIN_S) -> None:
    """Run in a thread of its own, until it ends, or `stop` has ended it after SIGTERM or Ctrl-C. Raises what it raises.

    Signals are heard whatever it waits for: a client library may wait for a broker that does not answer, and nothing of
    Python runs in its thread then. What has not ended `within_s` after the signal is left as it is, as if it were killed:
    only for services that may be killed at any time. The process ends with code 1 then, and says where it waited.
    """
    asked = threading.Event()

    def end() -> None:
        asked.set()
        stop()

    on_end(end)
    outcome: Future[None] = Future()

    def work() -> None:
        try:
            run()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    thread = threading.Thread(target=work, name="streamgauge-service", daemon=True)
    thread.start()
    deadline: float | None = None
    while thread.is_alive():
        thread.join(TURN_S)
        if asked.is_set():
            deadline = deadline or time.monotonic() + within_s
            if thread.is_alive() and time.monotonic() > deadline:
                log.error(
                    "it has not ended within %.0f s, and is given up. Nothing is lost: it begins again where it was",
                    within_s,
                )
                faulthandler.dump_traceback()
                os._exit(1)
    outcome.result()
