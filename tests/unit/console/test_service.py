"""Services that are asked to end: they do, whatever they wait for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

SERVICE = """
import logging, sys, threading, time
from streamgauge.console.service import run_until_ended

logging.basicConfig()
asked = threading.Event()


def good():
    print("running", flush=True)
    asked.wait(30)
    print("finished", flush=True)


def stuck():
    print("running", flush=True)
    time.sleep(30)


def broken():
    raise ValueError("as it says")


run_until_ended({"good": good, "stuck": stuck, "broken": broken}[sys.argv[1]], asked.set, 1.0)
"""


def start(how: str) -> subprocess.Popen[str]:
    """A service that runs."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVICE, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(how: str, number: int) -> tuple[int, str, str, float]:
    """Exit code, what it said, and how long it took after a signal."""
    service = start(how)
    assert service.stdout is not None
    assert service.stdout.readline() == "running\n"
    began = time.monotonic()
    service.send_signal(number)
    out, error = service.communicate(timeout=20)
    return service.returncode, out, error, time.monotonic() - began


def test_a_service_that_is_asked_to_end_finishes() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        code, out, error, _ = ended("good", number)
        assert (code, out, error) == (0, "finished\n", "")


def test_a_service_that_waits_for_ever_is_given_up_in_time_and_says_where_it_waited() -> None:
    code, _, error, seconds = ended("stuck", signal.SIGTERM)
    assert code == 1
    assert seconds < 10
    assert "has not ended within 1 s" in error
    assert "in stuck" in error


def test_what_a_service_raises_is_raised() -> None:
    service = start("broken")
    _, error = service.communicate(timeout=20)
    assert service.returncode == 1
    assert "ValueError: as it says" in error


def test_a_connection_that_is_refused_shows_nothing_of_the_statement_whenever_the_client_is_loaded() -> None:
    program = """
import urllib3, logging
from streamgauge.console.service import configure_logging
configure_logging(False)
import clickhouse_connect
try:
    urllib3.PoolManager(retries=1).request("GET", "http://127.0.0.1:1/?param_who=jane")
except urllib3.exceptions.HTTPError:
    logging.getLogger("streamgauge").warning("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "refused" in done.stderr
    assert "jane" not in done.stderr
