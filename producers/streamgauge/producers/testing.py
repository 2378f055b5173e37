"""Testing: a transport that keeps what was sent and a clock that stands still, for the tests of those who emit.

producer, transport, clock = captured_producer()
REQUESTS = Counter("requests", "Requests served", producer=producer)
REQUESTS.inc()
producer.flush()
assert transport.sums() == {"requests": 1.0}
"""

from __future__ import annotations

import sys
import time
from array import array
from base64 import b64decode
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from streamgauge.producers.default import replaced_default
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from streamgauge.schemas.packing import TYPECODES, Json, index_type

if TYPE_CHECKING:
    from streamgauge.producers.transport import Report


@dataclass(frozen=True, slots=True)
class Captured:
    """One message as it was sent."""

    topic: str
    key: bytes
    value: bytes

    def json(self) -> Json:
        """The message's JSON object; `streamgauge.schemas.decoding.decode` reads its columns too."""
        message: Json = orjson.loads(self.value)
        return message


class CapturedTransport:
    """Keeps messages in memory. What it answers is chosen by `outcome`; None: nothing, like a broker that is away."""

    def __init__(self, outcome: Outcome | None = Outcome.ACKNOWLEDGED) -> None:
        self.outcome = outcome
        self.sent: list[Captured] = []
        """Every hand-over, repeats included."""
        self.delivered: list[Captured] = []
        """What was acknowledged."""
        self.closed = False
        self._open: list[tuple[Captured, Report]] = []

    def send(self, topic: str, key: bytes, value: bytes, report: Report) -> None:
        """Keep a message; it is answered at the next poll."""
        message = Captured(topic, key, value)
        self.sent.append(message)
        self._open.append((message, report))

    def sums(self) -> dict[str, float]:
        """What was added to each metric, over all its series, in delivered batches (for gauges a sum of values)."""
        totals: dict[str, float] = {}
        for message in (one.json() for one in self.delivered):
            if message.get("kind") == "metrics":
                for place, amount in _amounts(message):
                    name = message["metrics"][message["series"][place][0]]["name"]
                    totals[name] = totals.get(name, 0.0) + amount
        return totals

    def events(self, name: str) -> list[dict[str, Any]]:
        """Delivered events of one name as field values, in the order of their batches."""
        found: list[dict[str, Any]] = []
        for message in (one.json() for one in self.delivered):
            if message.get("kind") == "events" and message["event"] == name:
                columns = {field: _values(column) for field, column in message["fields"].items()}
                found += [{field: values[row] for field, values in columns.items()} for row in range(message["n"])]
        return found

    def poll(self, seconds: float, hurry: bool = False) -> None:
        """Answer what is open, if there is an outcome."""
        if self.outcome is not None:
            self._answer(self.outcome)
        elif seconds > 0:
            time.sleep(min(seconds, 0.01))

    def _answer(self, outcome: Outcome) -> None:
        answered, self._open = self._open, []
        for message, report in answered:
            if outcome is Outcome.ACKNOWLEDGED:
                self.delivered.append(message)
            report(outcome)

    def close(self, seconds: float) -> None:
        """Answer what is open; as unknown without an outcome."""
        self._answer(Outcome.UNKNOWN if self.outcome is None else self.outcome)
        self.closed = True

    def after_fork(self) -> None:
        """Forget what the parent sent."""
        self.sent, self.delivered, self._open = [], [], []


def _index(dictionary: Sequence[Any]) -> str:
    return TYPECODES[index_type(len(dictionary))]


def _numbers(text: str, code: str) -> array[Any]:
    numbers: array[Any] = array(code, b64decode(text))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _amounts(message: Json) -> Iterator[tuple[int, float]]:
    return zip(
        _numbers(message["s"], _index(message["series"])), _numbers(message["sum"], TYPECODES["f8"]), strict=True
    )


def _values(column: Mapping[str, Any]) -> list[Any]:
    if "d" in column:
        return [column["d"][place] for place in _numbers(column["i"], _index(column["d"]))]
    kind = "f8" if "f8" in column else "i8"
    values: list[Any] = list(_numbers(column[kind], TYPECODES[kind]))
    for place in _numbers(column.get("null", ""), TYPECODES["u4"]):
        values[place] = None
    return values


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, wall_ms: int = 1_800_000_000_000) -> None:
        self._wall_ns = wall_ms * 1_000_000
        self._monotonic = 0.0
        self.moved: Callable[[], object] = bool
        """Called after every move."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._wall_ns

    def monotonic(self) -> float:
        """Seconds that it was moved."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times on."""
        self._monotonic += seconds
        self.step(seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as a time server would; monotonic time does not notice."""
        self._wall_ns += round(seconds * 1e9)
        self.moved()


def captured_producer(
    settings: ProducerSettings | None = None, **changes: Any
) -> tuple[Producer, CapturedTransport, ManualClock]:
    """A producer that sends nowhere and has no thread: nothing happens until `flush()` or `step()`.

    `changes` replace single settings. The instance is the one given, or `test`, without a suffix.
    """
    settings = replace(settings or ProducerSettings(), **changes)
    transport, clock = CapturedTransport(), ManualClock()
    producer = Producer(settings, transport, clock, background=False, instance=settings.instance or "test")
    clock.moved = producer.tick
    return producer, transport, clock


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What metrics without a producer, and `emit`, send while a test runs. Reading flushes first."""

    producer: Producer
    transport: CapturedTransport
    clock: ManualClock

    def sums(self) -> dict[str, float]:
        """What was added to each metric, over all its series."""
        self.producer.flush()
        return self.transport.sums()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events of one name as field values."""
        self.producer.flush()
        return self.transport.events(name)

    @property
    def delivered(self) -> list[Captured]:
        """Every message so far: what `streamgauge.processors.testing.rolled_up` takes."""
        self.producer.flush()
        return self.transport.delivered


@contextmanager
def capturing(settings: ProducerSettings | None = None, **changes: Any) -> Generator[Telemetry, None, None]:
    """Let the default producer be a captured one for a while. The former default comes back at the end."""
    telemetry = Telemetry(*captured_producer(settings, **changes))
    with replaced_default(telemetry.producer):
        yield telemetry
    telemetry.producer.close()
