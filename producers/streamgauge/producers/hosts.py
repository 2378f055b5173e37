"""Hosts: ends and forks of processes that Python's own hooks do not see, where something runs them that is loaded already.

Nothing is imported here that the application did not import: a host that runs this process is in `sys.modules`.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol

ADVICE = "Under uWSGI set py-call-osafterfork = true"


class Process(Protocol):
    """Whose producers they are."""

    def end(self) -> None:
        """Called when the process ends."""
        ...

    def after_silent_fork(self) -> None:
        """Called in a child that was forked without Python's hooks, and perhaps in others."""
        ...


def attach(process: Process) -> None:
    """Look around when the first producer is made."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        _close_at_end_of_worker(process)
    _attach_celery(process)
    _attach_uwsgi(process)


def attach_forked(process: Process) -> None:
    """Look around in a forked child."""
    if util := _loaded("multiprocessing.util"):
        # a child of multiprocessing clears its hooks after this one has run, and then asks for new ones
        util.register_after_fork(process, _close_at_end_of_worker)
    _attach_celery(process)


def _loaded(name: str) -> Any:
    """A module, where something has loaded it: loading it here would cost every process."""
    return sys.modules.get(name)


def _close_at_end_of_worker(process: Process) -> None:
    """A child of multiprocessing ends without atexit on most Pythons, but with its own finalizers."""
    if util := _loaded("multiprocessing.util"):
        # after the others, and after the child's own children have ended
        util.Finalize(None, _end_after_threads, (process,), exitpriority=-100)


def _end_after_threads(process: Process) -> None:
    """Threads that the end of the process still waits for may record until they end."""
    others = [one for one in threading.enumerate() if not one.daemon and one is not threading.current_thread()]
    if others:
        threading.Thread(target=_end_after, args=(others, process), name="streamgauge-end").start()
    else:
        process.end()


def _end_after(others: list[threading.Thread], process: Process) -> None:
    for one in others:
        one.join()
    process.end()


def _attach_celery(process: Process) -> None:
    """Children of Celery's prefork pool end by `os._exit`, and send this signal before."""
    if signals := _loaded("celery.signals"):

        def ended(**_: object) -> None:
            process.end()

        signals.worker_process_shutdown.connect(ended, weak=False, dispatch_uid="streamgauge")


def _attach_uwsgi(process: Process) -> None:
    """uWSGI forks without telling Python, unless it is asked to."""
    uwsgi = _loaded("uwsgi")
    if uwsgi is None:
        return
    earlier = getattr(uwsgi, "post_fork_hook", None)

    def forked() -> None:
        process.after_silent_fork()
        if earlier is not None:
            earlier()

    uwsgi.post_fork_hook = forked
