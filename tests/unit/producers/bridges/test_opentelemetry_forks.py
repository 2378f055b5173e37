from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.documents import ROOT


def totals(tmp_path: Path, scenario: str, temporality: str, guarded: str = "guarded") -> dict[str, float]:
    """What all processes of a scenario delivered together."""
    output = tmp_path / "delivered"
    output.touch()
    words = [sys.executable, "-m", "tests.support.otel_process", scenario, str(output), temporality, guarded]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        name, amount = line.split()
        found[name] += float(amount)  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    return dict(found)


@pytest.mark.parametrize("temporality", ["DELTA", "CUMULATIVE"])
@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("plain_fork", 5 + 7 + 2 * 11 + 13),
        ("nested_fork", 5 + 7 + 11),
        ("pool", 7 + 2 * 11),
        ("spawn", 7 + 11),
        ("shut_down_before", 7),
    ],
)
def test_every_process_counts_what_it_counted_and_nothing_else(
    scenario: str, expected: int, temporality: str, tmp_path: Path
) -> None:
    assert totals(tmp_path, scenario, temporality) == {"requests": expected, "seconds": expected}


def test_without_the_flush_before_a_fork_children_count_again_what_they_inherit(tmp_path: Path) -> None:
    found = totals(tmp_path, "plain_fork", "DELTA", "unguarded")

    assert found["requests"] > 5 + 7 + 2 * 11 + 13


def test_a_fork_under_a_lock_of_the_sdk_is_held_up_for_a_second_and_not_for_ever(tmp_path: Path) -> None:
    assert totals(tmp_path, "fork_in_callback", "DELTA")["requests"] == 7


def ask(path: Path) -> str:
    """The answer of an HTTP server behind a Unix socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(path))
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: one.recv(4096), b"")).decode().rpartition("\r\n")[2]


def test_workers_of_a_gunicorn_that_loaded_the_application_first_count_what_they_served() -> None:
    # a socket's path must be short
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        where, delivered = Path(folder) / "s", Path(folder) / "delivered"
        words = ["gunicorn", "--preload", "--workers", "2", "--bind", f"unix:{where}", "tests.support.otel_wsgi:app"]
        server = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, "DELIVERED": str(delivered), "OTEL_METRIC_EXPORT_INTERVAL": "60000"},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 30
            while not where.exists() and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            workers = [ask(where) for _ in range(40)]
        finally:
            server.terminate()
            _, errors = server.communicate(timeout=30)
        assert server.returncode == 0, errors
        assert sum(int(float(line.split()[1])) for line in delivered.read_text().splitlines()) == 1_000 + len(workers)
