"""Outages of any shape: over all processes of a service every point is delivered once, on disk, or counted as lost."""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Dimension, Event, Producer, ProducerSettings
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.testing import Captured, CapturedTransport, ManualClock
from tests.unit.producers.decoded import event_batches, metric_batches


class Seen(Event):
    """Something was seen."""

    what: Dimension[str]


steps = st.one_of(
    st.tuples(st.just("inc"), st.integers(1, 5)),
    st.tuples(st.just("emit"), st.integers(1, 5)),
    st.tuples(st.just("outcome"), st.integers(0, 2)),
    st.tuples(st.just("advance"), st.integers(1, 40)),
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("end"), st.just(0)),
)
actions = st.lists(steps, max_size=50)
OUTCOMES = (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, None)


def fresh(messages: Iterable[Captured]) -> list[Captured]:
    """Messages as a worker counts them: each number of a stream once. A number that names two things is an error."""
    known: dict[tuple[str, str, int, str, int], bytes] = {}
    kept: list[Captured] = []
    for one in messages:
        said = one.json()
        number = (one.topic, said["context"]["instance"], said["epoch"], said["stream"], said["seq"])
        if number not in known:
            kept.append(one)
        assert known.setdefault(number, one.value) == one.value
    return kept


class Service:
    """Processes that come one after the other over one spool, and all that they delivered."""

    def __init__(self, spool: Path, spool_bytes: int) -> None:
        self._settings = ProducerSettings(
            spool=str(spool),
            spool_bytes=spool_bytes,
            outbox_bytes=2_500,
            event_buffer=9,
            max_batch=3,
            backlog_bytes=4_000,
            environment="production",
        )
        self.clock = ManualClock()
        self.delivered: list[Captured] = []
        self.dropped: Multiset[tuple[str, str]] = Multiset()
        self.outcome: Outcome | None = Outcome.ACKNOWLEDGED
        self.in_memory: Multiset[str] = Multiset()
        """What killed processes had in memory; some of it was on disk too."""
        self._started = 0
        self.start()

    def start(self) -> None:
        """The next process."""
        self._started += 1
        self.transport = CapturedTransport(self.outcome)
        self.producer = Producer(
            self._settings, self.transport, self.clock, background=False, instance=f"p{self._started}"
        )
        self.counter = Counter("calls", producer=self.producer)

    def over(self) -> None:
        """The process is gone."""
        self.delivered += self.transport.delivered
        self.dropped.update(self.producer.stats().dropped)

    def die(self) -> None:
        """The process is killed: the system closes its files, and nothing else happens."""
        self.in_memory.update(self.producer.stats().waiting)
        self.over()
        getattr(self.producer, "_shipping").after_fork()  # noqa: B009  # closes them without another word
        self.start()

    def check(self) -> None:
        """The books of the process are right, name by name."""
        stats = self.producer.stats()
        for name, emitted in stats.emitted.items():
            dropped = sum(count for (one, _), count in stats.dropped.items() if one == name)
            here = stats.waiting.get(name, 0) + stats.spooled.get(name, 0)
            assert emitted == stats.acknowledged.get(name, 0) + here + dropped, name


def points(messages: list[Captured]) -> Multiset[str]:
    found: Multiset[str] = Multiset()
    for events in event_batches(messages):
        found[events.event] += len(events.times)
    for metrics in metric_batches(messages):
        for index, count in zip(metrics.index, metrics.count, strict=True):
            found[metrics.metrics[metrics.series[int(index)][0]].name] += int(count)
    return found


def play(service: Service, sequence: list[tuple[str, int]]) -> Multiset[str]:
    """Let it all happen, then let a last process send what is left; returns the points that were told."""
    told = Multiset(calls=0, seen=0)
    for action, number in sequence:
        if action == "inc":
            for _ in range(number):
                service.counter.inc()
            told["calls"] += number
        elif action == "emit":
            for _ in range(number):
                service.producer.emit(Seen(what=str(number) * 100))
            told["seen"] += number
        elif action == "outcome":
            service.outcome = service.transport.outcome = OUTCOMES[number]
        elif action == "advance":
            service.clock.advance(number / 4)
            service.producer.step()
        elif action == "poll":
            service.transport.poll(0)
        elif action == "end":
            service.producer.close(0)
            service.check()
            assert not service.producer.stats().waiting
            service.over()
            service.start()
        else:
            service.die()
        service.check()
    service.producer.close(0)
    service.over()
    service.outcome = Outcome.ACKNOWLEDGED
    service.start()
    for _ in range(60):
        service.clock.advance(1)
        service.producer.step()
        service.transport.poll(0)
        service.check()
    service.producer.close(1)
    service.over()
    return told


@given(actions, st.sampled_from([1 << 20, 70_000]))
def test_over_all_processes_that_end_well_every_point_is_delivered_once_or_counted(
    sequence: list[tuple[str, int]], spool_bytes: int
) -> None:
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), spool_bytes)
        told = play(service, sequence)
        assert list(Path(folder).rglob("*.seg")) == []
    delivered = points(fresh(service.delivered))
    for name, count in told.items():
        lost = sum(points for (one, _), points in service.dropped.items() if one == name)
        assert delivered[name] + lost == count, name
        assert not {reason for one, reason in service.dropped if one == name} - {"buffer_full", "backlog_full"}


deaths = st.lists(steps | st.tuples(st.just("die"), st.just(0)), max_size=50)


@given(deaths)
def test_a_process_that_is_killed_loses_what_it_had_in_memory_only_and_nothing_comes_twice(
    sequence: list[tuple[str, int]],
) -> None:
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), 1 << 20)
        told = play(service, sequence)
        assert list(Path(folder).rglob("*.seg")) == []
    delivered = points(fresh(service.delivered))
    for name, count in told.items():
        lost = sum(points for (one, _), points in service.dropped.items() if one == name)
        assert count - lost - service.in_memory[name] <= delivered[name] <= count - lost, name
