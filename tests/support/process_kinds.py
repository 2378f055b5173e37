"""Kinds of process: programs that count their calls, and how each of them is run, used and ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.kafka import HOST, free_ports

PROGRAMS = Path(__file__).with_name("programs")
SECONDS = 60.0
REQUESTS = 20
TASKS = 12
# newer Pythons warn of any fork beside threads, when it is the program's own file that forks
STRICT = "error,ignore:This process:DeprecationWarning"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it said."""

    code: int
    said: str
    left: str = ""
    """What it left behind."""


class Run:
    """A program in a directory of its own, and everything that it starts."""

    def __init__(self, name: str, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        own = {key: value for key, value in os.environ.items() if not key.startswith(("STREAMGAUGE_", "OTEL_"))}
        self.environ = {**own, "OTEL_SERVICE_NAME": name, "PYTHONPATH": str(PROGRAMS), **environ}
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The program."""
        assert self._process is not None, "start() comes first"
        return self._process

    def start(self, *words: str, strict: bool = False) -> None:
        """Start a command from beside this Python; where it is `strict`, warnings are errors."""
        program = str(Path(sys.executable).with_name(words[0]))
        with (self.directory / "said").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *words[1:]],
                cwd=self.directory,
                env=self.environ | ({"PYTHONWARNINGS": STRICT} if strict else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self) -> str:
        """What it has printed."""
        return (self.directory / "said").read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something; the program must not end before."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not seen: {what}\n{self.said()}")
            time.sleep(0.02)

    def get(self, path: str = "/") -> int:
        """Ask the server; the pid of the worker that answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            return int(connection.getresponse().read())

    def answers(self) -> bool:
        """Whether the server takes connections."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    def wait(self) -> Ended:
        """Until it ends, with its children; what does not end is killed."""
        deadline = time.monotonic() + SECONDS
        left = ""
        try:
            self.process.wait(SECONDS)
            while self._others():
                if time.monotonic() > deadline:
                    left = "processes"
                    break
                time.sleep(0.02)
        except subprocess.TimeoutExpired:
            left = "itself"
        self.kill()
        return Ended(self.process.wait(), self.said(), left)

    def _others(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 0)
            return True
        return False

    def kill(self) -> None:
        """End whatever is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, how: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal to the program, not to its children, and wait."""
        self.process.send_signal(how)
        return self.wait()


@dataclass(frozen=True, slots=True)
class Kind:
    """How to run one kind of process, and what must have reached the topic: calls by who made them."""

    name: str
    run: Callable[[Run], Ended]
    calls: Mapping[str, int]
    code: int = 0
    says: str = ""
    """The whole output."""
    talks: bool = False
    """It says what it likes instead, as servers do, but never that something went wrong."""
    apart: bool = False
    """Each label is that of other processes."""
    loses: bool = False
    """Some calls come too late, and it says so."""


def program(name: str, *words: str) -> Callable[[Run], Ended]:
    """A program that ends by itself."""

    def run(one: Run) -> Ended:
        one.start("python", str(PROGRAMS / f"{name}.py"), *words, strict=name not in {"greenlets", "notebook"})
        return one.wait()

    return run


def daemon(one: Run) -> Ended:
    """A program whose grandchild lives on in a session of its own."""
    one.start("python", str(PROGRAMS / "daemon.py"), strict=True)
    ended = one.wait()
    deadline = time.monotonic() + SECONDS
    while not (one.directory / "daemon.done").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return ended


def signalled(how: signal.Signals, *words: str) -> Callable[[Run], Ended]:
    """A program that waits for a signal."""

    def run(one: Run) -> Ended:
        one.start("python", str(PROGRAMS / "signalled.py"), *words, strict=True)
        one.until(lambda: "ready" in one.said(), "ready")
        return one.end(how)

    return run


def gunicorn(*words: str, kill: bool = False) -> Callable[[Run], Ended]:
    """gunicorn with the application loaded in the master; perhaps a worker is killed between requests."""

    def run(one: Run) -> Ended:
        config = f"--config={PROGRAMS / 'gunicorn_conf.py'}"
        one.start("gunicorn", config, "--preload", "--workers=2", f"--bind={HOST}:{one.port}", *words, "wsgi_app:app")
        one.until(lambda: one.said().count("worker is ready") == 2, "two workers")
        for _ in range(REQUESTS):
            one.get()
        if kill:
            os.kill(one.get("/flush"), signal.SIGKILL)
            for _ in range(REQUESTS):
                one.get()
        return one.end()

    return run


def uvicorn(one: Run) -> Ended:
    """uvicorn with workers, which it spawns."""
    one.start("uvicorn", "--workers=2", f"--host={HOST}", f"--port={one.port}", "asgi_app:app")
    one.until(lambda: one.said().count("startup complete") == 2, "two workers")
    for _ in range(REQUESTS):
        one.get()
    return one.end()


def uwsgi(one: Run) -> Ended:
    """uWSGI with the application loaded in the master, which it forks without telling Python."""
    graceful = "--hook-master-start=unix_signal:15 gracefully_kill_them_all"
    options = ["--master", "--processes=2", "--enable-threads", "--need-app", graceful]
    one.start("uwsgi", f"--http-socket={HOST}:{one.port}", *options, "--module=wsgi_app:app")
    one.until(lambda: "master-start" in one.said() and one.answers(), "an open port")
    for _ in range(REQUESTS):
        one.get()
    return one.end()


def celery(one: Run) -> Ended:
    """Celery's prefork pool, whose children are replaced after three tasks; a warm shutdown when all are done."""
    done = one.directory / "tasks.done"
    one.start("python", str(PROGRAMS / "celery_app.py"))
    one.until(lambda: done.exists() and done.stat().st_size == TASKS, "all tasks")
    return one.end()


POOLS = {"parent": 10, "thread": 1, "pool": 10, "terminated": 10, "executor": 10}
SERVED = {"boot": 7, "request": REQUESTS}
# it is no part of the development packages: `pip install pyuwsgi` brings it into the table
HAVE_UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent)) is not None
KINDS = [
    # those that take longest first
    Kind("celery", celery, {"boot": 7, "task": TASKS}, talks=True, apart=True),
    Kind("multiprocessing, spawn", program("pools", "spawn"), POOLS, apart=True),
    Kind("multiprocessing, forkserver", program("pools", "forkserver"), POOLS, apart=True),
    Kind("multiprocessing, fork", program("pools", "fork"), POOLS, apart=True),
    Kind("script", program("script"), {"main": 3}),
    Kind("prompt", program("repl"), {"cell": 2}),
    Kind("notebook", program("notebook"), {"cell": 2, "thread": 1}, talks=True),
    Kind("threads", program("threads"), {"pool": 16_000, "leaver": 1, "late": 1, "main": 1}),
    Kind("daemon threads", program("daemon_threads"), {"main": 6}, talks=True, loses=True),
    Kind("asyncio", program("tasks"), {"task": 200, "thread": 20}),
    Kind("gevent, patched before", program("greenlets", "before"), {"greenlet": 500, "thread": 1, "main": 1}),
    Kind("gevent, patched after", program("greenlets", "after"), {"greenlet": 500, "thread": 1, "main": 1}),
    Kind("end while sending", program("leaving"), {"main": 6_000}),
    Kind("fork and double fork", program("forks"), {"parent": 10, "child": 6, "grandchild": 3}, apart=True),
    Kind("fork among threads", program("fork_among_threads"), {"thread": 80_000, "child": 8}, apart=True),
    Kind("daemon", daemon, {"starter": 2, "leader": 3, "daemon": 5}, apart=True),
    Kind("os._exit", program("os_exit"), {"flushed": 4}),
    Kind("SIGTERM", signalled(signal.SIGTERM), {"flushed": 5}, -signal.SIGTERM, "ready\n"),
    Kind("SIGTERM, asked", signalled(signal.SIGTERM, "asked"), {"flushed": 5, "window": 3}, -signal.SIGTERM, "ready\n"),
    Kind("SIGINT", signalled(signal.SIGINT), {"flushed": 5, "window": 3}, -signal.SIGINT, talks=True),
    Kind("gunicorn, recycled", gunicorn("--max-requests=4"), SERVED, talks=True, apart=True),
    Kind(
        "gunicorn, killed",
        gunicorn("--threads=4", kill=True),
        SERVED | {"request": 2 * REQUESTS},
        talks=True,
        apart=True,
    ),
    Kind("gunicorn, gevent", gunicorn("--worker-class=gevent"), SERVED, talks=True, apart=True),
    Kind("uvicorn", uvicorn, {"request": REQUESTS}, talks=True),
    *([Kind("uwsgi", uwsgi, {"request": REQUESTS}, talks=True, apart=True)] if HAVE_UWSGI else []),
]
