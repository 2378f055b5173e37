from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streamgauge.producers import Counter, get_default, set_default
from streamgauge.producers.testing import captured_producer, capturing

REQUESTS = Counter("testing_requests", "Requests served", ["path"])


def test_what_declares_no_producer_is_captured_for_a_while_and_the_former_default_comes_back() -> None:
    former, transport, _ = captured_producer()
    set_default(former)
    try:
        REQUESTS.labels("/a").inc()
        with capturing() as telemetry:
            REQUESTS.labels("/a").inc(5)
            assert telemetry.sums() == {"testing_requests": 5.0}
            assert len(telemetry.delivered) == 1
        assert get_default() is former
        REQUESTS.labels("/a").inc()
        former.flush()
        assert transport.sums() == {"testing_requests": 2.0}
    finally:
        set_default(None)


def test_one_line_in_a_conftest_gives_tests_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["streamgauge.producers.pytest_fixtures"]\n')
    (tmp_path / "test_it.py").write_text(
        "from streamgauge.producers import Counter\n"
        "SOLD = Counter('sold')\n"
        "def test_one(telemetry):\n    SOLD.inc(3)\n    assert telemetry.sums() == {'sold': 3.0}\n"
        "def test_other(telemetry):\n    assert telemetry.sums() == {}\n    assert telemetry.events('x') == []\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:asyncio", "-W", "error", "."]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert "2 passed" in done.stdout, done.stdout + done.stderr
