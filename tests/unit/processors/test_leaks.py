"""No message of a worker holds what it was not allowed to pass on, wherever a sender puts it."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from streamgauge.processors.outputs import Output
from streamgauge.schemas.packing import pack_strings
from tests.support.canaries import EVENT, NAMES, PERSONAL, SECRET, anywhere, event, everything, metric, single
from tests.unit.processors.raw import ORDER, committed, events


def leaks(message: dict[str, Any], canary: str) -> list[str]:
    """Topics of the outputs that hold the canary."""
    made, _ = committed([orjson.dumps(message)])
    return [one.topic for one in made if holds(one, canary)]


def holds(output: Output, canary: str) -> bool:
    """Whether the bytes hold it, as they are or as JSON writes it."""
    return canary.encode() in output.value or orjson.dumps(canary)[1:-1] in output.value


@pytest.mark.parametrize("canary", PERSONAL)
@pytest.mark.parametrize("place", everything("1"))
def test_personal_data_is_in_no_output(place: str, canary: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert leaks(everything(canary)[place], canary) == []
    assert canary not in caplog.text


@pytest.mark.parametrize("place", anywhere(""))
def test_what_no_contract_passes_on_is_in_no_output(place: str) -> None:
    assert leaks(anywhere(SECRET)[place], SECRET) == []


@pytest.mark.parametrize("canary", [*PERSONAL, "jane doe", "a-b", "", "x" * 201, "１"])
@pytest.mark.parametrize("place", NAMES)
def test_names_are_names_and_nothing_else(place: str, canary: str) -> None:
    made, entry = committed([orjson.dumps(NAMES[place](canary))])
    assert (entry.total, sum(entry.refused.values())) == (0, 1)
    assert not canary or not any(holds(one, canary) for one in made)


def test_the_canary_is_seen_where_it_may_pass() -> None:
    # the other tests would be worth nothing if it were not
    assert leaks(single(remark=pack_strings([SECRET])), SECRET) == ["sg.local.events_scrubbed.v1"]
    for message in (event(fields={"country": pack_strings([SECRET])}), metric(series=[[0, SECRET]])):
        assert leaks(message, SECRET) == ["sg.local.rollups.v1"]


def test_a_worker_s_region_and_topic_are_all_that_an_output_says_of_its_origin() -> None:
    made, _ = committed([events([EVENT], ORDER), b"{"])
    for one in made:
        body = orjson.loads(one.value)
        assert body["region"] == "local"
        assert "s" not in {body.get("stream"), body.get("epoch")}
