"""The store door from its opening to its end: one owner, deduplication, kills, and what is there afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamgauge.console.engine import Engine
from streamgauge.schemas.errors import InputError
from tests.support.door import DoorProcess, until
from tests.support.small_disk import SmallDisk

pytestmark = pytest.mark.clickhouse

ROWS = 200_000


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    with DoorProcess(tmp_path_factory.mktemp("store")) as opened:
        yield opened


def test_a_second_store_on_the_same_directory_is_refused_with_advice(door: DoorProcess) -> None:
    command = [sys.executable, "-m", "streamgauge.console.door", str(door.path), "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (second.returncode, second.stdout) == (2, "")
    assert "another store has this directory open" in second.stderr
    assert "choose another directory" in second.stderr
    assert door.value("SELECT 1") == "1"


def test_a_directory_that_cannot_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(InputError, match=r"cannot write here .* Choose a directory"):
        Engine.open(tmp_path / "file" / "store")


def test_a_port_in_use_is_refused_with_advice(door: DoorProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamgauge.console.door", str(tmp_path), str(door.port)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert "Choose another port" in second.stderr


# --------------------------------------------------------------------------------------- deduplication and what survives

SETTINGS: dict[str, Any] = {
    "async_insert": "0",
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "max_insert_block_size": "50000",
    "min_insert_block_size_rows": "50000",
}


def create_cascade(door: DoorProcess) -> None:
    """Null → view → minutes → view → hours, both tables with a deduplication window."""
    for name, source, width in (("minutes", "landing", 60), ("hours", "minutes", 3_600)):
        door.run(
            "CREATE TABLE IF NOT EXISTS landing (t UInt32, n UInt64) ENGINE = Null",
            f"CREATE TABLE IF NOT EXISTS {name} (t UInt32, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree"
            " ORDER BY t SETTINGS non_replicated_deduplication_window = 10000",
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS to_{name} TO {name} AS"
            f" SELECT intDiv(t, {width}) * {width} AS t, sum(n) AS n FROM {source} GROUP BY t",
        )


def totals(door: DoorProcess) -> tuple[int, int]:
    return int(door.value("SELECT sum(n) FROM minutes")), int(door.value("SELECT sum(n) FROM hours"))


def test_the_same_token_counts_once_in_every_tier(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7_200},1\n" for n in range(ROWS)).encode()
    with DoorProcess(tmp_path) as door:
        create_cascade(door)
        for _ in range(3):
            reply = door.ask("INSERT INTO landing FORMAT CSV", rows, insert_deduplication_token="range 0-1", **SETTINGS)
            assert reply.status == 200, reply.text
        assert totals(door) == (ROWS, ROWS)
        assert (
            door.ask("INSERT INTO landing FORMAT CSV", rows, insert_deduplication_token="range 1-2", **SETTINGS).status
            == 200
        )
        assert totals(door) == (2 * ROWS, 2 * ROWS)


def grown(door: DoorProcess, before: int) -> bool:
    return totals(door)[0] > before


@pytest.mark.faults
def test_a_killed_store_counts_exactly_when_the_insert_is_sent_again(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7_200},1\n" for n in range(10 * ROWS)).encode()
    torn = 0
    for attempt in range(4):
        token = f"range {attempt}"
        with DoorProcess(tmp_path) as door, ThreadPoolExecutor(1) as sender:
            create_cascade(door)
            before = totals(door)[0]
            sent = sender.submit(
                door.ask, "INSERT INTO landing FORMAT CSV", rows, insert_deduplication_token=token, **SETTINGS
            )
            assert until(partial(grown, door, before))
            door.end(signal.SIGKILL)
            assert isinstance(sent.exception(60), OSError)
        with DoorProcess(tmp_path) as door:
            torn += before < totals(door)[0] < before + 10 * ROWS
            reply = door.ask("INSERT INTO landing FORMAT CSV", rows, insert_deduplication_token=token, **SETTINGS)
            assert reply.status == 200, reply.text
            assert totals(door) == (10 * ROWS * (attempt + 1),) * 2
    assert torn > 0  # else nothing was shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_store_ends_at_once_and_has_everything_when_opened_again(
    tmp_path: Path, number: signal.Signals
) -> None:
    with DoorProcess(tmp_path) as door:
        door.run(
            "CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a",
            "CREATE FUNCTION plus_two AS x -> x + 2",
            "CREATE DATABASE other",
            "CREATE TABLE other.t (a Int64) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO t SELECT number FROM numbers(100000)",
            "INSERT INTO other.t VALUES (1)",
        )
        began = time.monotonic()
        assert door.end(number) == 0
        assert time.monotonic() - began < 2
    for _ in range(2):  # opened twice: the first opening must not spoil the second
        with DoorProcess(tmp_path) as door:
            assert door.value("SELECT count(), sum(a) FROM t") == "100000\t4999950000"
            assert door.value("SELECT plus_two(a) FROM other.t") == "3"


def test_a_stopped_store_does_not_wait_for_an_endless_query(tmp_path: Path) -> None:
    with DoorProcess(tmp_path) as door, ThreadPoolExecutor(1) as asker:
        endless = asker.submit(door.ask, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
        assert until(lambda: door.value("SELECT count() FROM system.processes") == "2")
        began = time.monotonic()
        assert door.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 2
        with suppress(OSError):  # the connection may end before the answer
            assert endless.result(10).status != 200


def test_a_directory_with_odd_characters_is_opened(tmp_path: Path) -> None:
    with DoorProcess(tmp_path / "a b+c%41 ü&d=e") as door:
        door.run("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
        assert (tmp_path / "a b+c%41 ü&d=e" / "store").is_dir()


def test_many_connections_share_few_handles(door: DoorProcess) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(door.value, [f"SELECT {n} + sleep(0.01)" for n in range(64)]))
    assert answers == [str(n) for n in range(64)]


def test_rows_that_a_full_disk_did_not_take_are_an_error_and_are_in_when_they_are_sent_again(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "data")
    disk.mount()
    if not disk.mounted:
        pytest.skip("no right to mount a small disk here")
    try:
        with DoorProcess(tmp_path / "data") as door:
            settings = "SETTINGS non_replicated_deduplication_window = 9"
            door.run(f"CREATE TABLE default.few (a UInt64) ENGINE = MergeTree ORDER BY a {settings}")
            disk.fill(leave=32 << 20)
            insert = partial(
                door.ask, "INSERT INTO default.few FORMAT TSV", b"1\n2\n", insert_deduplication_token="one"
            )
            assert insert().code == 243, "what is left is room for what has begun"
            disk.fill()
            assert insert().code == 243
            disk.empty()
            assert insert().status == 200
            assert insert().status == 200
            assert door.value("SELECT count() FROM default.few") == "2"
    finally:
        disk.unmount()
