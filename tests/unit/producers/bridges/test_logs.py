"""Logs: records are counted, declared numbers measured, and nothing that happens in logging hurts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest

from streamgauge.producers.bridges.logs import MetricsHandler
from streamgauge.schemas.errors import DeclarationError
from tests.unit.producers.bridges.recorded import Recorded


class Scene:
    """A logger with nothing but our handler."""

    def __init__(self, unique: str) -> None:
        self.recorded = Recorded()
        self.handler = MetricsHandler(measures={"rows": "{row}", "seconds": "s"}, producer=self.recorded.producer)
        self.name = unique
        self.log = logging.getLogger(unique)
        self.log.propagate = False
        self.log.setLevel(logging.DEBUG)
        self.log.addHandler(self.handler)


@pytest.fixture
def scene(unique: str) -> Iterator[Scene]:
    made = Scene(unique)
    yield made
    made.log.removeHandler(made.handler)


def test_records_are_counted_by_level_logger_and_the_exception_they_tell_of(scene: Scene) -> None:
    scene.log.info("one %s", "secret")
    scene.log.getChild("db").warning("two")
    try:
        raise KeyError("order")
    except KeyError:
        scene.log.exception("three")
    scene.log.error("four")

    assert scene.recorded.sums("log_records") == {
        ("info", scene.name, ""): 1.0,
        ("warning", f"{scene.name}.db", ""): 1.0,
        ("error", scene.name, "KeyError"): 1.0,
        ("error", scene.name, ""): 1.0,
    }


def test_numbers_are_measured_only_where_they_are_declared(scene: Scene) -> None:
    scene.log.info("import", extra={"rows": 1_200, "seconds": Decimal("3.5"), "user": 17})
    scene.log.info("import", extra={"rows": 800})
    for wrong in (True, "900", None, float("nan"), float("inf"), [1]):
        scene.log.info("import", extra={"rows": wrong})

    assert {key[0] for key in scene.recorded.found()} == {"log_records", "log_rows", "log_seconds"}
    assert scene.recorded.sums("log_rows") == {("info", scene.name): 2_000.0}
    assert scene.recorded.counts("log_rows") == {("info", scene.name): 2}
    assert scene.recorded.sums("log_seconds") == {("info", scene.name): 3.5}


def test_our_own_loggers_are_left_out(scene: Scene) -> None:
    for name in ("streamgauge", "streamgauge.producers.producer", "streamgauges"):
        scene.handler.handle(logging.makeLogRecord({"name": name, "levelname": "INFO"}))

    assert scene.recorded.sums("log_records") == {("info", "streamgauges", ""): 1.0}


def test_logging_while_a_record_is_handled_counts_once_and_ends(scene: Scene) -> None:
    class Chatty(float):
        def __float__(self) -> float:
            scene.log.error("within")
            return 4.0

    scene.log.info("outer", extra={"rows": Chatty(4.0)})

    assert scene.recorded.sums("log_records") == {("info", scene.name, ""): 1.0}
    assert scene.recorded.sums("log_rows") == {("info", scene.name): 4.0}


def test_whatever_a_record_holds_the_call_that_logged_it_goes_on(scene: Scene) -> None:
    class Broken(float):
        def __float__(self) -> float:
            raise RuntimeError("no")

    scene.log.info("broken", extra={"rows": Broken(1.0)})
    scene.log.info("after")

    assert scene.recorded.sums("log_records") == {("info", scene.name, ""): 2.0}


def test_filters_and_levels_hold(scene: Scene) -> None:
    scene.handler.setLevel(logging.WARNING)
    scene.handler.addFilter(lambda record: "noise" not in record.getMessage())
    scene.log.info("too low")
    scene.log.warning("noise")
    scene.log.warning("signal")

    assert scene.recorded.sums("log_records") == {("warning", scene.name, ""): 1.0}


def test_it_needs_no_lock_that_somebody_may_hold(scene: Scene) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        scene.handler.acquire()
        held.set()
        done.wait(20)
        scene.handler.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    scene.log.info("not held up")
    done.set()
    thread.join()

    assert scene.recorded.counts("log_records") == {("info", scene.name, ""): 1}


def test_a_field_that_cannot_name_a_metric_is_refused() -> None:
    with pytest.raises(DeclarationError, match="is not a name"):
        MetricsHandler(measures={"number of rows": "1"})
