"""The spool: what no broker took is on disk, bounded, and comes again byte for byte, from this process or a later one."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from streamgauge.processors.sequences import SequencePolicy, Sequences
from streamgauge.producers import Counter, Dimension, Event, Producer, ProducerSettings
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.settings import producer_settings
from streamgauge.producers.spool import HORIZON_MS
from streamgauge.producers.spool_segment import records
from streamgauge.producers.testing import CapturedTransport, ManualClock, captured_producer
from tests.unit.producers.decoded import event_batches, rows, values


class Viewed(Event):
    """A page was viewed."""

    page: Dimension[str]


def files(spool: Path) -> list[Path]:
    return sorted(spool.rglob("*.seg"))


def away(spool: Path, **changes: Any) -> tuple[Producer, CapturedTransport, ManualClock]:
    """A producer whose broker does not answer."""
    producer, transport, clock = captured_producer(spool=str(spool), **changes)
    transport.outcome = None
    return producer, transport, clock


def views(producer: Producer, clock: ManualClock, pages: range) -> None:
    """One event every second; a batch of two every other one."""
    for page in pages:
        producer.emit(Viewed(page=str(page)))
        clock.advance(1)
        producer.step()
        producer.step()


def later(spool: Path, clock: ManualClock, **changes: Any) -> tuple[Producer, CapturedTransport]:
    """Another process of the service, afterwards, whose broker answers."""
    transport = CapturedTransport()
    settings = ProducerSettings(spool=str(spool), **changes)
    return Producer(settings, transport, clock, background=False, instance="later"), transport


def run(producer: Producer, transport: CapturedTransport, clock: ManualClock, seconds: int) -> None:
    for _ in range(4 * seconds):
        clock.advance(0.25)
        producer.step()
        transport.poll(0)
    producer.step()


def pages(transport: CapturedTransport) -> list[str]:
    return [row["page"] for row in rows(transport.delivered, "viewed")]


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not ProducerSettings().spool
    assert producer_settings({"STREAMGAUGE_SPOOL": "/var/spool/x"}).spool == "/var/spool/x"
    producer, transport, clock = captured_producer()
    transport.outcome = None
    views(producer, clock, range(5))
    assert producer.close(0).spooled == 0
    assert list(tmp_path.rglob("*")) == []


def test_what_is_acknowledged_in_time_never_touches_the_disk(tmp_path: Path) -> None:
    producer, transport, clock = captured_producer(spool=str(tmp_path))
    for page in range(3):
        producer.emit(Viewed(page=str(page)))
        run(producer, transport, clock, 3)
    assert pages(transport) == ["0", "1", "2"]
    assert list(tmp_path.rglob("*")) == []
    producer.close(0)


def test_an_event_that_waits_longer_than_a_second_is_on_disk_until_it_is_acknowledged(tmp_path: Path) -> None:
    producer, transport, clock = away(tmp_path)
    views(producer, clock, range(4))
    assert len(files(tmp_path)) == 1
    # what is in memory too counts once
    assert (producer.stats().waiting["viewed"], producer.stats().spooled) == (4, {})
    transport.outcome = Outcome.ACKNOWLEDGED
    run(producer, transport, clock, 2)
    assert files(tmp_path) == []
    assert sorted(pages(transport)) == ["0", "1", "2", "3"]
    producer.close(0)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_the_spool_is_for_its_owner_alone(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path / "new" / "spool")
    views(producer, clock, range(3))
    made = list((tmp_path / "new" / "spool").rglob("*"))
    assert len(made) == 4
    assert {one.stat().st_mode & 0o077 for one in made} == {0}


def test_what_is_left_at_the_end_is_replayed_byte_for_byte_by_a_later_process(tmp_path: Path) -> None:
    producer, transport, clock = away(tmp_path)
    Counter("requests", producer=producer).inc(7)
    views(producer, clock, range(5))
    Counter("late", producer=producer).inc()
    report = producer.close(0)
    assert (report.delivered, report.dropped, report.left, report.spooled) == (0, 0, 0, 7)
    stats = producer.stats()
    assert stats.emitted == stats.spooled
    assert [stats.spooled[name] for name in ("requests", "viewed", "late")] == [1, 5, 1]
    sent = {(one.topic, one.value) for one in transport.sent}

    successor, afterwards = later(tmp_path, clock)
    run(successor, afterwards, clock, 3)
    assert sent <= {(one.topic, one.value) for one in afterwards.delivered}
    assert pages(afterwards) == ["0", "1", "2", "3", "4"]
    found = values(afterwards.delivered)
    assert (found["requests",].sum, found["late",].sum) == (7.0, 1.0)
    assert found["streamgauge_producer_replayed", "viewed"].sum == 5.0
    stats = successor.stats()
    assert (stats.acknowledged["viewed"], stats.emitted["viewed"], stats.spooled) == (5, 5, {})
    assert files(tmp_path) == []
    successor.close(0)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_numbers_of_a_stream_have_no_holes_when_all_came_through_the_spool(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path, outbox_bytes=1_000)
    views(producer, clock, range(50))
    assert producer.stats().spooled["viewed"] > 40
    producer.close(0)
    successor, transport = later(tmp_path, clock)
    run(successor, transport, clock, 5)
    seqs = [batch.origin.seq for batch in event_batches(transport.delivered)]
    assert seqs == list(range(25))
    assert pages(transport) == [str(page) for page in range(50)]
    successor.close(0)


def test_a_full_outbox_parks_events_on_disk_and_this_process_fetches_them_when_the_broker_is_back(
    tmp_path: Path,
) -> None:
    producer, transport, clock = away(tmp_path, outbox_bytes=2_000, event_buffer=10)
    views(producer, clock, range(60))
    stats = producer.stats()
    assert stats.bytes_waiting <= 2_500
    assert stats.waiting["viewed"] + stats.spooled["viewed"] == 60
    report = producer.flush(0)
    assert (report.left, report.spooled) == (stats.waiting["viewed"], stats.spooled["viewed"])
    transport.outcome = Outcome.ACKNOWLEDGED
    run(producer, transport, clock, 10)
    assert sorted(pages(transport), key=int) == [str(page) for page in range(60)]
    assert producer.stats().acknowledged["viewed"] == 60
    assert producer.flush(0).left == 0
    found = values(transport.delivered)
    assert found["streamgauge_producer_spooled", "viewed"].sum >= stats.spooled["viewed"]


def test_a_full_spool_drops_its_oldest_file_and_says_so_by_name_and_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    producer, transport, clock = away(tmp_path, outbox_bytes=1_000, spool_bytes=300_000)
    long = "x" * 4_000
    for number in range(200):
        producer.emit(Viewed(page=f"{number:03d}{long}"))
        clock.advance(1)
        producer.step()
    assert sum(one.stat().st_size for one in files(tmp_path)) <= 300_000
    lost = producer.stats().dropped["viewed", "spool_full"]
    assert 100 < lost < 150
    assert caplog.text.count("spool_full") == 1
    transport.outcome = Outcome.ACKNOWLEDGED
    run(producer, transport, clock, 10)
    assert producer.stats().acknowledged["viewed"] == 200 - lost
    kept = sorted(page[:3] for page in pages(transport))
    assert kept[-150:] != [f"{number:03d}" for number in range(150)]
    assert "199" in kept
    assert values(transport.delivered)["streamgauge_producer_dropped", "viewed", "spool_full"].sum == lost
    producer.close(0)


def test_records_that_workers_would_wait_for_no_longer_are_given_up_as_too_old(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path)
    views(producer, clock, range(10))
    producer.close(0)
    clock.advance(HORIZON_MS / 1_000 - 5)
    successor, transport = later(tmp_path, clock)
    run(successor, transport, clock, 4)
    old = successor.stats().dropped["viewed", "too_old"]
    assert old == 4
    assert pages(transport) == [str(page) for page in range(old, 10)]
    assert values(transport.delivered)["streamgauge_producer_dropped", "viewed", "too_old"].sum == old
    assert files(tmp_path) == []
    successor.close(0)


def test_replaying_keeps_to_its_pace_and_lets_what_is_new_through(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path, outbox_bytes=1_000)
    for number in range(100):
        producer.emit(Viewed(page=f"{number}" + "x" * 4_000))
        clock.advance(1)
        producer.step()
    producer.close(0)
    size = sum(one.stat().st_size for one in files(tmp_path))
    successor, transport = later(tmp_path, clock, spool_pace=50_000)
    sizes: list[int] = []
    for second in range(20):
        successor.emit(Viewed(page=f"new {second}"))
        before = len(transport.delivered)
        run(successor, transport, clock, 1)
        sizes.append(sum(len(one.value) for one in transport.delivered[before:]))
        assert f"new {second}" in pages(transport)[-len(sizes) - 20 :]
    replaying = [one for one in sizes if one > 10_000]
    assert max(replaying) < 50_000 + 12_500 + 9_000
    assert size / 50_000 <= len(replaying) + 1 <= size / 50_000 + 4
    assert len(pages(transport)) == 120
    successor.close(0)


def test_only_so_much_is_replayed_without_an_answer(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path, outbox_bytes=1_000)
    for number in range(100):
        producer.emit(Viewed(page=f"{number}" + "x" * 4_000))
        clock.advance(1)
        producer.step()
    producer.close(0)
    successor, transport = later(tmp_path, clock, spool_pace=50_000)
    transport.outcome = None
    for _ in range(200):
        clock.advance(0.5)
        successor.step()
    assert 50_000 <= sum(len(one.value) for one in transport.sent) < 50_000 + 9_000
    assert successor.stats().bytes_waiting < 50_000 + 9_000
    report = successor.close(0)
    assert (report.spooled, report.dropped) == (100, 0)
    third, transport = later(tmp_path, clock)
    run(third, transport, clock, 5)
    assert len(set(pages(transport))) == 100
    third.close(0)


def test_a_record_that_went_bad_on_disk_is_counted_and_takes_nobody_along(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path)
    views(producer, clock, range(5))
    producer.close(0)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    last = [found for found in records(bytes(data)) if "events" in found.record.topic][-1]
    data[last.end - 3] ^= 1
    file.write_bytes(data)
    successor, transport = later(tmp_path, clock)
    run(successor, transport, clock, 5)
    assert pages(transport) == ["0", "1", "2", "3"]
    assert successor.stats().dropped == {("__spool__", "torn_record"): 1}
    found = values(transport.delivered)
    assert found["streamgauge_producer_dropped", "__spool__", "torn_record"].sum == 1
    assert files(tmp_path) == []
    successor.close(0)


def test_a_file_in_the_place_of_the_directory_is_said_once_and_memory_takes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("in the way")
    producer, transport, clock = away(tmp_path / "spool", outbox_bytes=3_000, event_buffer=10, max_batch=5)
    views(producer, clock, range(100))
    stats = producer.stats()
    assert stats.bytes_waiting <= 4_500
    lost = stats.dropped["viewed", "buffer_full"]
    assert lost > 50
    assert stats.waiting["viewed"] + lost == 100
    said = [one.getMessage() for one in caplog.records if "cannot be used" in one.getMessage()]
    assert len(said) == 1
    assert str(tmp_path / "spool") in said[0]
    transport.outcome = Outcome.ACKNOWLEDGED
    run(producer, transport, clock, 5)
    seqs = [batch.origin.seq for batch in event_batches(transport.delivered)]
    assert seqs == list(range(len(seqs)))
    found = values(transport.delivered)
    errors = [value.sum for name, value in found.items() if name[0] == "streamgauge_producer_spool_errors"]
    assert sum(errors) >= 3  # every half a minute
    assert found["streamgauge_producer_dropped", "viewed", "buffer_full"].sum == lost
    producer.close(0)


def test_a_directory_that_comes_back_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_text("in the way")
    producer, _, clock = away(tmp_path / "spool", outbox_bytes=2_000)
    views(producer, clock, range(10))
    (tmp_path / "spool").unlink()
    views(producer, clock, range(10, 60))
    assert "takes batches again" in caplog.text
    assert len(files(tmp_path)) == 1
    report = producer.close(0)
    assert (report.spooled, report.dropped) == (60, 0)


def test_a_spool_that_is_removed_under_a_living_process_is_begun_anew(tmp_path: Path) -> None:
    producer, transport, clock = away(tmp_path, outbox_bytes=1_000)
    views(producer, clock, range(10))
    for one in sorted(tmp_path.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    views(producer, clock, range(10, 12))
    transport.outcome = Outcome.ACKNOWLEDGED
    run(producer, transport, clock, 5)
    stats = producer.stats()
    assert stats.emitted["viewed"] == 12
    assert stats.acknowledged["viewed"] + stats.dropped.get(("viewed", "spool_damaged"), 0) == 12
    assert (stats.waiting, stats.spooled) == ({}, {})
    producer.close(0)


def test_services_regions_and_environments_do_not_replay_each_others_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    producer, _, clock = away(tmp_path, service="a/b", region="eu")
    views(producer, clock, range(3))
    producer.close(0)
    for changes in ({"service": "a"}, {"service": "a/b"}, {"service": "a/b", "region": "eu", "environment": "test"}):
        other, transport = later(tmp_path, clock, **changes)
        run(other, transport, clock, 3)
        assert transport.delivered == []
        other.close(0)
    same, transport = later(tmp_path, clock, service="a/b", region="eu")
    run(same, transport, clock, 3)
    assert pages(transport) == ["0", "1", "2"]
    same.close(0)


def test_contracts_travel_with_the_events_they_are_of(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path, publish_contracts=True)
    views(producer, clock, range(1))
    producer.close(0)
    successor, transport = later(tmp_path, clock)
    run(successor, transport, clock, 3)
    assert [one.topic.split(".")[2] for one in transport.delivered][:2] == ["contracts", "events"]
    successor.close(0)


def test_a_process_that_begins_without_a_broker_is_heard_from_its_first_number_on(tmp_path: Path) -> None:
    # workers take the first number that they hear of a stream for its beginning when it is beyond their reach
    reach = SequencePolicy(max_holes=20)
    producer, transport, clock = away(tmp_path, outbox_bytes=2_000)
    views(producer, clock, range(200))
    assert producer.stats().spooled["viewed"] > 150
    transport.outcome = Outcome.ACKNOWLEDGED
    for page in range(200, 300):
        producer.emit(Viewed(page=str(page)))
        run(producer, transport, clock, 1)
    sequences = Sequences(reach)
    heard = [
        row["page"]
        for one in transport.delivered
        if "events" in one.topic and sequences.first_time(event_batches([one])[0].origin, 1)
        for row in rows([one], "viewed")
    ]
    assert sorted(heard, key=int) == [str(page) for page in range(300)]
    producer.close(0)


class SlowTransport(CapturedTransport):
    """Answers, but takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self._since = 0.0

    def send(self, topic: str, key: bytes, value: bytes, report: Any) -> None:
        """Take it, and the time."""
        self._since = time.monotonic()
        super().send(topic, key, value, report)

    def poll(self, seconds: float, hurry: bool = False) -> None:
        """Answer a third of a second after the latest message."""
        time.sleep(min(seconds, 0.01))
        if time.monotonic() - self._since > 0.3:
            super().poll(seconds, hurry)


def test_the_end_of_a_process_does_not_wait_for_what_another_one_left(tmp_path: Path) -> None:
    producer, _, clock = away(tmp_path)
    for number in range(100):
        producer.emit(Viewed(page=f"{number}" + "x" * 4_000))
        clock.advance(1)
        producer.step()
    producer.close(0)
    transport = SlowTransport()
    script = Producer(ProducerSettings(spool=str(tmp_path), spool_pace=50_000), transport, background=False)
    Counter("runs", producer=script).inc()
    started = time.monotonic()
    report = script.flush(10)
    assert (report.left, time.monotonic() - started < 5) == (0, True)
    assert [one for one in transport.sent if "events" in one.topic]
    report = script.close(10)
    assert time.monotonic() - started < 5
    assert transport.sums()["runs"] == 1
    assert report.dropped == 0
    assert files(tmp_path)
