"""The spool between real processes: killed in mid-write, side by side, forked, and with a disk that is full."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamgauge.producers import Dimension, Event, Producer, ProducerSettings
from streamgauge.producers.testing import Captured, CapturedTransport
from tests.support.small_disk import SmallDisk
from tests.unit.producers.decoded import event_batches, rows, values

ROOT = Path(__file__).parents[3]

HEAD = """
    import os, sys, time
    from streamgauge.producers import Dimension, Event, Producer, ProducerSettings
    from streamgauge.producers.testing import CapturedTransport

    class Viewed(Event):
        page: Dimension[str]

    def producer(**changes):
        settings = ProducerSettings(
            spool=sys.argv[1], flush_events_interval=1, outbox_bytes=1, max_batch_bytes=1 << 20, **changes
        )
        return Producer(settings, CapturedTransport(None), background=False)

    def spool(one, page):
        one.emit(Viewed(page=page))
        one.step()
        time.sleep(0.002)
        one.step()
        return one.stats().spooled["viewed"]
"""


class Viewed(Event):
    """A page was viewed."""

    page: Dimension[str]


@contextmanager
def running(program: str, spool: Path) -> Generator[subprocess.Popen[str]]:
    """A process of its own; it never outlives the test."""
    text = textwrap.dedent(HEAD) + textwrap.dedent(program)
    with subprocess.Popen(
        [sys.executable, "-c", text, str(spool)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def successor(spool: Path) -> tuple[Producer, CapturedTransport]:
    """A later process of the service, whose broker answers: this one."""
    transport = CapturedTransport()
    settings = ProducerSettings(spool=str(spool), spool_pace=1 << 30)
    return Producer(settings, transport, background=False), transport


def replay(producer: Producer, transport: CapturedTransport) -> list[str]:
    """Pages of everything that it finds, as a worker would count them: each number of a stream once."""
    idle = 0
    while idle < 20:
        before = len(transport.delivered)
        producer.step()
        transport.poll(0)
        time.sleep(0.005)
        idle = 0 if len(transport.delivered) > before else idle + 1
    known: dict[tuple[str, int, str, int], Captured] = {}
    events = [one for one in transport.delivered if "events" in one.topic]
    for message, batch in zip(events, event_batches(events), strict=True):
        origin = batch.origin
        number = (origin.context["instance"], origin.epoch, origin.stream, origin.seq)
        assert known.setdefault(number, message) == message
    fresh = known.values()
    return [row["page"] for row in rows(fresh, "viewed")]


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_in_mid_write_costs_no_record_that_was_whole(tmp_path: Path, seed: int) -> None:
    program = """
        one = producer()
        for number in range(100_000):
            # long: a kill is likely to fall into a write
            print(spool(one, f"{number}-" + "x" * 4_000), flush=True)
    """
    with running(program, tmp_path) as process:
        whole = int(line(process))
        until = time.monotonic() + random.Random(seed).uniform(0.05, 0.3)
        while time.monotonic() < until:
            whole = int(line(process))
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        for said in process.stdout.read().split("\n")[:-1]:
            whole = int(said)
        process.wait()
    (file, *_) = sorted(tmp_path.rglob("*.seg"))
    last = sorted(tmp_path.rglob("*.seg"))[-1]
    if seed:  # what a disk may make of it
        with last.open("ab") as tail:
            tail.write(file.read_bytes()[8 : 8 + 2_000])
    producer, transport = successor(tmp_path)
    pages = replay(producer, transport)
    numbers = [int(page.partition("-")[0]) for page in pages]
    assert numbers == list(range(len(numbers)))
    assert whole <= len(numbers) <= whole + 2
    assert producer.stats().dropped.get(("__spool__", "torn_record"), 0) == (1 if seed else 0)
    assert list(tmp_path.rglob("*.seg")) == []
    producer.close(0)


def test_two_processes_never_share_a_directory_and_the_living_keeps_its_own(tmp_path: Path) -> None:
    program = """
        one = producer()
        spool(one, sys.stdin.readline().strip())
        print("there", flush=True)
        sys.stdin.readline()
    """
    with running(program, tmp_path) as first, running(program, tmp_path) as second:
        for process, page in ((first, "a\n"), (second, "b\n")):
            assert process.stdin is not None
            process.stdin.write(page)
            process.stdin.flush()
            assert line(process) == "there"
        assert len({one.parent for one in tmp_path.rglob("*.seg")}) == 2
        producer, transport = successor(tmp_path)
        assert replay(producer, transport) == []
        producer.close(0)
        first.kill()
        first.wait()
        producer, transport = successor(tmp_path)
        rival, others = successor(tmp_path)
        assert replay(producer, transport) + replay(rival, others) == ["a"]
        producer.close(0)
        rival.close(0)
        assert len(list(tmp_path.rglob("*.seg"))) == 1
    producer, transport = successor(tmp_path)
    assert replay(producer, transport) == ["b"]
    producer.close(0)


def test_a_child_leaves_its_parents_spool_alone_and_does_not_keep_it_locked(tmp_path: Path) -> None:
    program = """
        one = producer()
        spool(one, "parent")
        child = os.fork()
        if child == 0:
            assert not one.stats().spooled
            spool(one, "child")
            print("there", os.getpid(), flush=True)
            sys.stdin.readline()
            os._exit(0)
        spool(one, "parent again")
        sys.stdin.readline()
    """
    with running(program, tmp_path) as process:
        said, child = line(process).split()
        assert said == "there"
        deadline = time.monotonic() + 10
        while len(list(tmp_path.rglob("*.seg"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        try:
            producer, transport = successor(tmp_path)
            assert replay(producer, transport)[:1] == ["parent"]
            producer.close(0)
            os.kill(int(child), 0)  # it lives, and its own directory is its own
            assert len(list(tmp_path.rglob("*.seg"))) == 1
        finally:
            os.kill(int(child), signal.SIGKILL)
    deadline = time.monotonic() + 10
    found: list[str] = []
    while not found and time.monotonic() < deadline:
        producer, transport = successor(tmp_path)
        found = replay(producer, transport)
        producer.close(0)
    assert found == ["child"]


FILLS = """
    one = producer(event_buffer=10, max_batch=5)
    for number in range(200):
        spool(one, f"{number}-" + "x" * 1_000)
    stats = one.stats()
    print(stats.spooled["viewed"], stats.waiting["viewed"], stats.dropped["viewed", "buffer_full"], flush=True)
    one.close(0)
"""


def check_full(process: subprocess.Popen[str], spool: Path) -> None:
    """Some are on disk, some in memory, the rest was counted; what is on disk is whole."""
    spooled, waiting, dropped = map(int, line(process).split())
    _, said = process.communicate()
    assert spooled + waiting + dropped == 200
    assert spooled > 0
    assert dropped > 0
    assert said.count("cannot be used") == 1
    assert "Traceback" not in said
    producer, transport = successor(spool)
    pages = replay(producer, transport)
    assert [int(page.partition("-")[0]) for page in pages] == list(range(len(pages)))
    assert len(pages) >= spooled
    assert ("__spool__", "torn_record") not in producer.stats().dropped
    producer.close(0)


def test_a_disk_that_takes_half_a_record_is_survived_and_what_was_whole_stays(tmp_path: Path) -> None:
    limit = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_123, 50_123))
    """
    with running(textwrap.dedent(limit) + textwrap.dedent(FILLS), tmp_path) as process:
        check_full(process, tmp_path)


def test_a_full_disk_is_survived_and_what_was_whole_stays(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk")
    disk.mount()
    if not disk.mounted:
        pytest.skip("no right to mount here")
    try:
        (disk.path / "ballast").write_bytes(bytes(100_000))
        disk.fill()
        with (disk.path / "ballast").open("r+b") as ballast:
            ballast.truncate(40_000)  # room for some
        with running(FILLS, disk.path) as process:
            check_full(process, disk.path)
    finally:
        disk.unmount()


def test_the_loss_of_a_torn_record_is_told_in_band(tmp_path: Path) -> None:
    program = """
        one = producer()
        spool(one, "a")
        spool(one, "b")
        print("there", flush=True)
        sys.stdin.readline()
    """
    with running(program, tmp_path) as process:
        assert line(process) == "there"
    (file,) = tmp_path.rglob("*.seg")
    os.truncate(file, file.stat().st_size - 1)
    producer, transport = successor(tmp_path)
    assert replay(producer, transport) == ["a"]
    producer.flush(1)
    found = values(transport.delivered)
    assert found["streamgauge_producer_dropped", "__spool__", "torn_record"].sum == 1
    producer.close(0)
