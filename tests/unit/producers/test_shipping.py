"""Shipping: every batch that was taken is told as arrived or lost exactly once, or is on disk."""

from __future__ import annotations

from pathlib import Path

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.batching import Batch
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.shipping import Shipping, open_spool
from streamgauge.producers.testing import CapturedTransport, ManualClock


def batch(order: int, size: int = 100) -> Batch:
    return Batch("events", b"key", b"x" * size, {"paid": 2}, order)


class Shipped:
    """Shipping over a transport that answers as it is told, and what it told of batches."""

    def __init__(self, outcome: Outcome | None, spool: Path | None = None, max_bytes: int = 1_000) -> None:
        self.accounts, self.clock = Accounts(), ManualClock()
        self.transport = CapturedTransport(outcome)
        self.told: list[tuple[int, bool]] = []
        settings = ProducerSettings(spool=str(spool or ""))
        disk = open_spool(settings, "one", self.accounts, self.clock)
        self.shipping = Shipping(
            self.transport,
            self.accounts,
            self.clock,
            disk,
            max_bytes,
            lambda: 0.0,
            lambda one, arrived: self.told.append((one.order, arrived)),
        )

    def turn(self) -> None:
        """Hand over, let the transport answer, and settle."""
        self.shipping.hand_over()
        self.transport.poll(0.0)
        self.shipping.settle()


def test_what_arrived_and_what_was_refused_is_told_once() -> None:
    one = Shipped(Outcome.ACKNOWLEDGED)
    one.shipping.take(batch(1))
    one.turn()
    one.transport.outcome = Outcome.REFUSED
    one.shipping.take(batch(2))
    one.turn()
    one.turn()
    assert one.told == [(1, True), (2, False)]
    _, acknowledged, dropped = one.accounts.books()
    assert (acknowledged, dropped) == ({"paid": 2}, {("paid", "refused_by_broker"): 2})
    assert one.shipping.empty()


def test_what_may_have_arrived_is_not_told_and_comes_again() -> None:
    one = Shipped(Outcome.UNKNOWN)
    one.shipping.take(batch(1))
    one.turn()
    assert (one.told, one.shipping.waiting()) == ([], {"paid": 2})
    one.transport.outcome = Outcome.ACKNOWLEDGED
    one.clock.advance(10)
    one.turn()
    assert (one.told, one.transport.sent[0]) == ([(1, True)], one.transport.sent[1])


def test_without_a_disk_memory_takes_what_is_too_much_and_the_end_gives_it_up() -> None:
    one = Shipped(None)
    assert all(one.shipping.take(batch(order, 800)) for order in (1, 2))
    assert not one.shipping.has_disk
    one.shipping.leave_everything()
    one.shipping.close()
    assert one.told == [(1, False), (2, False)]
    assert one.accounts.books()[2] == {("paid", "closed"): 4}


def test_with_a_disk_what_is_too_much_is_there_only_and_the_end_leaves_the_rest_there(tmp_path: Path) -> None:
    one = Shipped(None, tmp_path)
    assert one.shipping.take(batch(1, 800))
    assert not one.shipping.take(batch(2, 800))
    assert one.shipping.parked() == {"paid": 2}
    one.shipping.leave_everything()
    one.shipping.close()
    assert (one.told, one.shipping.parked(), one.accounts.books()[2]) == ([], {"paid": 4}, {})


def copies(directory: Path) -> list[Path]:
    """Files in which a batch is."""
    return [path for path in directory.rglob("*") if path.is_file() and b"x" * 100 in path.read_bytes()]


def test_what_waits_too_long_is_on_disk_too_until_it_arrives(tmp_path: Path) -> None:
    one = Shipped(None, tmp_path)
    one.shipping.take(batch(1))
    one.turn()
    one.clock.advance(1.5)
    one.turn()
    assert copies(tmp_path)
    one.transport.outcome = Outcome.ACKNOWLEDGED
    one.turn()
    assert (one.told, one.shipping.spooled()) == ([(1, True)], {})
    one.shipping.close()
    assert not copies(tmp_path)
