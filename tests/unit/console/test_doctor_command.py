"""`streamgauge doctor` as a command: its words, its text, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.console.cli import USAGE, main
from streamgauge.console.commands_doctor import as_document, show
from streamgauge.console.doctor import diagnose
from streamgauge.schemas.topics import METRICS
from streamgauge.sinks.migrations import shipped
from tests.support.healthy import WANTED, healthy_kafka, healthy_store, region, with_topic, with_window


@pytest.mark.parametrize(
    "words", [["--outage", "soon"], ["--outage", "forever"], ["--partitions", "metrics"], ["--partitions", "none=3"]]
)
def test_a_call_that_is_wrong_ends_with_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *words]) == USAGE


def test_people_read_the_worst_first_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    store = with_window(with_window(healthy_store(), "blocks", 0), "rollups_1m", 0)
    kafka = with_topic(healthy_kafka(), METRICS, retention_bytes="1000")
    show(diagnose(region(store, kafka), WANTED, shipped()))
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines() if line.strip()]
    assert [line[:2] for line in lines if line[0] in "123"][:3] == [["1", "error"], ["2", "error"], ["3", "warning"]]
    assert "       ALTER TABLE `db`.`blocks` MODIFY SETTING non_replicated_deduplication_window = 10000" in said.out
    assert "in order:" in said.out
    assert said.err == "3 warnings and errors\n"


def test_people_read_that_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    show(diagnose(region(healthy_store(), healthy_kafka()), WANTED, shipped()))
    assert capsys.readouterr().err == "nothing is wrong\n"


def test_programs_read_all_findings_their_counts_and_the_facts() -> None:
    facts = region(with_window(healthy_store(), "blocks", 0), healthy_kafka())
    findings = diagnose(facts, WANTED, shipped())
    document = as_document(findings, facts)
    assert document["counts"] == {
        "error": 1,
        "warning": 0,
        "note": 0,
        "ok": sum(one.severity == "ok" for one in findings),
    }
    assert len(list(document)) == 3
