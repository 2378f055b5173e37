"""`streamgauge contract diff`: files or what is published, an exit code that a build can use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamgauge.console.cli import main
from streamgauge.schemas.contract_topic import publish, published
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.topics import CONTRACTS

VISIT = Contract("visit", 1, {"page": Field("dimension")})
GROWN = replace(VISIT, version=2, fields={**VISIT.fields, "person": Field("unique", optional=True)})
BROKEN = replace(GROWN, version=3, fields={"person": Field("dimension", optional=True)})


def file(directory: Path, contract: Contract) -> str:
    """A contract file."""
    path = directory / f"{contract.name}_{contract.version}.json"
    path.write_bytes(contract.dump())
    return str(path)


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The address of librdkafka's own broker, alive as long as the client that carries it."""
    holder = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = holder.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    holder.flush(0)


def test_files_are_compared_and_the_exit_code_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = (file(tmp_path, contract) for contract in (VISIT, GROWN, BROKEN))
    assert main(["contract", "diff", one, two]) == 0
    assert "fine     fields.person: is added as unique" in (said := capsys.readouterr().out)
    assert said.endswith("\ncompatible\n")
    assert main(["contract", "diff", two, three]) == 1
    said = capsys.readouterr().out
    assert "refused  fields.page: is removed" in said
    assert "refused  fields.person.kind: unique becomes dimension" in said
    assert said.endswith("\nnot compatible\n")


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "diff", file(tmp_path, GROWN), file(tmp_path, BROKEN), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert (body["name"], body["old"], body["new"], body["compatible"]) == ("visit", 2, 3, False)
    assert {one["place"]: one["compatible"] for one in body["changes"]} == {
        "fields.page": False,
        "fields.person.kind": False,
    }


@pytest.mark.parametrize("words", [["a.json"], ["a.json", "b.json", "c.json"], ["a.json", "b.json", "--published"], []])
def test_a_wrong_call_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "diff", *words]) == 2
    assert capsys.readouterr().out == ""


def test_a_file_that_is_missing_or_no_contract_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    assert main(["contract", "diff", file(tmp_path, VISIT), str(tmp_path / "none.json")]) == 2
    assert main(["contract", "diff", str(tmp_path / "bad.json"), file(tmp_path, VISIT)]) == 2


def test_what_is_published_is_compared_with_its_own_version_else_with_the_latest(
    tmp_path: Path, brokers: str, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reach = ["--published", "--brokers", brokers, "--region", unique, "--json"]
    producer = Producer({"bootstrap.servers": brokers, "log_level": 0})
    # the first publish makes the topic; before, nothing of this event is there
    publish(producer, unique, [replace(VISIT, name="other")])
    assert main(["contract", "diff", file(tmp_path, VISIT), *reach]) == 0
    assert json.loads(capsys.readouterr().out)["old"] is None
    producer.produce(CONTRACTS.name(unique), b"{", partition=1)
    publish(producer, unique, [VISIT, GROWN])
    assert published({"bootstrap.servers": brokers, "log_level": 0}, unique).keys() == {
        ("other", 1),
        ("visit", 1),
        ("visit", 2),
    }
    assert main(["contract", "diff", file(tmp_path, GROWN), *reach]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "visit", "old": 2, "new": 2, "compatible": True, "changes": [],
    }  # fmt: skip
    assert main(["contract", "diff", file(tmp_path, replace(VISIT, fields=GROWN.fields)), *reach]) == 1
    assert json.loads(capsys.readouterr().out)["changes"][0]["place"] == "version"
    assert main(["contract", "diff", file(tmp_path, BROKEN), *reach]) == 1
    assert json.loads(capsys.readouterr().out)["old"] == 2


def test_a_silent_broker_is_a_failure_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokerUnavailable, match="STREAMGAUGE_BROKERS"):
        published({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "x", timeout_s=0.5)
    assert "Traceback" not in capsys.readouterr().err
