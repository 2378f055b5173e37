"""The gateway's spool: events that no broker takes wait on disk, and so does what is left when a gateway ends."""

from __future__ import annotations

from pathlib import Path

from streamgauge.console.gateway_watch import Watch
from streamgauge.producers.outbox import Outcome
from tests.support.gateways import TestGateway


def members(one: TestGateway) -> list[str]:
    return [row["member"] for row in one.transport.events("statsd_set")]


def test_events_beyond_what_memory_holds_go_to_disk_and_come_back_once(tmp_path: Path) -> None:
    one = TestGateway(spool=str(tmp_path), outbox_bytes=20_000)
    one.transport.outcome = None
    for i in range(200):
        one.statsd(*[f"visitors:{i}-{k}|s" for k in range(20)])
        one.flush()
    assert one.gateway.outlet.json()["spooled"] > 1_000
    assert one.gateway.outlet.json()["bytes_waiting"] <= 30_000
    one.transport.outcome = Outcome.ACKNOWLEDGED
    for _ in range(60):
        one.flush()

    assert sorted(members(one)) == sorted(f"{i}-{k}" for i in range(200) for k in range(20))
    account = one.gateway.outlet.json()
    assert (account["dropped"], account["spooled"], account["waiting"]) == (0, 0, 0)
    told = one.sums("streamgauge_producer_spooled")
    assert told[("name", "statsd_set"),] > 1_000


def test_what_is_left_at_the_end_is_sent_by_the_next_gateway(tmp_path: Path) -> None:
    one = TestGateway(spool=str(tmp_path))
    one.transport.outcome = None
    one.statsd("hits:5|c", "visitors:ann|s")
    assert one.gateway.close(0.05) == 0
    assert one.gateway.outlet.json()["spooled"] > 0

    two = TestGateway(spool=str(tmp_path))
    for _ in range(40):
        two.flush()
    assert two.sums("hits") == {(): 5.0}
    assert members(two) == ["ann"]
    streams = {batch.origin.stream for batch in two.batches()}
    assert len(streams) == len({(b.origin.stream, b.origin.epoch) for b in two.batches()})


def test_without_a_spool_what_is_left_at_the_end_is_lost_and_said_so() -> None:
    one = TestGateway()
    one.transport.outcome = None
    one.statsd("hits:5|c")

    assert one.gateway.close(0.05) > 0


def test_whoever_waits_for_events_that_went_to_disk_hears_that_they_are_not_delivered(tmp_path: Path) -> None:
    one = TestGateway(spool=str(tmp_path), outbox_bytes=1_000)
    one.transport.outcome = None

    def send(i: int) -> Watch:
        one.statsd(*[f"visitors:{i}-{k}|s" for k in range(20)])
        return one.gateway.send_events()

    watches = [send(i) for i in range(20)]
    assert not watches[-1].delivered
    assert watches[-1].left == 1
