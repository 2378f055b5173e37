"""Data of other regions ends at the gateway, through whichever door it comes, and is counted."""

from __future__ import annotations

import pytest

from tests.support.gateways import TestGateway
from tests.unit.gateway.test_otlp_intake import request, send, total


@pytest.mark.parametrize(("region", "taken"), [("eu", 1), ("eu-west-1", 1), ("uk", 1), ("us-east-1", 0)])
def test_statsd_of_another_region_is_refused_and_counted(region: str, taken: int) -> None:
    one = TestGateway(region="eu", data_regions=("uk",))
    one.statsd(f"orders:1|c|#region:{region}")
    assert len(one.rows("orders")) == taken
    assert one.gateway.account.refused["statsd", "wrong_region"] == 1 - taken


def test_otlp_of_another_region_is_refused_point_by_point_and_the_rest_is_taken() -> None:
    one = TestGateway(region="eu")
    foreign = request(total("calls", 5, 2), total("calls", 7, 2, route="/b"), cloud__region="us-east-1")
    taken = send(one, foreign)
    assert (taken.points, dict(taken.rejected)) == (0, {"wrong_region": 2})
    assert send(one, request(total("calls", 5, 2, temporality=1), cloud__region="eu-central-1")).points == 1
    assert [row.sum for row in one.rows("calls")] == [5.0]
    assert one.gateway.account.refused["otlp", "wrong_region"] == 2


def test_a_laptop_takes_data_of_every_region() -> None:
    one = TestGateway()
    one.statsd("orders:1|c|#region:us-east-1")
    assert [row.context["region"] for row in one.rows("orders")] == ["us-east-1"]
