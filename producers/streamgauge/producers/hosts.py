"""Hosts: ends and forks of processes that Python's own hooks do not see, where something runs them that is loaded already.

Nothing is imported here that the application did not import: a host that runs this process is in `sys.modules`.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any, Protocol

THREAD = "streamgauge-end"
ADVICE = "Under uWSGI set py-call-uwsgi-fork-hooks = true"


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
    multiprocessing = _loaded("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        _end_with_worker(process)
        if threading.current_thread() is not threading.main_thread():
            _end_after_threads(process)  # finalizers may have run already
    _attach_celery(process)
    _attach_uwsgi(process)


def attach_forked(process: Process) -> None:
    """Look around in a forked child."""
    if util := _loaded("multiprocessing.util"):
        # a child of multiprocessing clears its hooks after this one has run, and then asks for new ones
        util.register_after_fork(process, _end_with_worker)
    _attach_celery(process)


def _loaded(name: str) -> Any:
    """A module, where something has loaded it: loading it here would cost every process."""
    return sys.modules.get(name)


def _end_with_worker(process: Process) -> None:
    """A child of multiprocessing ends without atexit on most Pythons, but with its own finalizers."""
    if util := _loaded("multiprocessing.util"):
        # after the others, and after the child's own children have ended
        util.Finalize(None, _finalize, (process,), exitpriority=-100)


def _finalize(process: Process) -> None:
    if _others():
        _end_after_threads(process)
    else:
        process.end()


def _others() -> list[threading.Thread]:
    """Threads that the end of this process waits for: until they end they may record."""
    own = threading.current_thread(), threading.main_thread()
    return [one for one in threading.enumerate() if not one.daemon and one not in own]


def _end_after_threads(process: Process) -> None:
    """Such a thread itself, which ends when there is no other one."""

    def wait() -> None:
        threading.main_thread().join()
        while others := [one for one in _others() if one.name != THREAD]:
            others[0].join()
        process.end()

    if not any(one.name == THREAD for one in threading.enumerate()):
        threading.Thread(target=wait, name=THREAD, daemon=False).start()


def _attach_celery(process: Process) -> None:
    """Children of Celery's prefork pool end by `os._exit`, and send this signal before."""
    if signals := _loaded("celery.signals"):

        def ended(**_: object) -> None:
            outlive_supervisor()
            process.end()

        signals.worker_process_shutdown.connect(ended, weak=False, dispatch_uid="streamgauge")


def outlive_supervisor() -> None:
    """Let a child of Celery's pool end in its own time.

    One that replaced another is killed by the system as soon as the thread that started it ends, in the midst of the
    worker's shutdown. Nothing elsewhere than on Linux.
    """
    if util := _loaded("billiard.util"):
        with suppress(Exception):
            util.set_pdeathsig(0)


def _attach_uwsgi(process: Process) -> None:
    """uWSGI forks without telling Python, unless it is asked to."""
    if uwsgi := _loaded("uwsgi"):
        earlier = getattr(uwsgi, "post_fork_hook", None)

        def forked() -> None:
            process.after_silent_fork()
            if earlier is not None:
                earlier()

        uwsgi.post_fork_hook = forked


def is_uwsgi_master() -> bool:
    """Whether this process loads the application for uWSGI's workers, which it has yet to fork.

    A second thread would not survive that: a worker's interpreter waits for it for ever, even with uWSGI's fork hooks.
    """
    uwsgi = _loaded("uwsgi")
    return uwsgi is not None and not uwsgi.worker_id()
