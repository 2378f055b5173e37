"""Only rollups leave a region: a file that could take anything else is refused, and so is a topic that holds anything else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamgauge.console.cli import main
from streamgauge.console.export_check import Finding, check_flow, exact
from streamgauge.console.export_look import ExportLook
from streamgauge.console.mirror_file import flows, properties
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.rollups import decode_rollups, encode
from streamgauge.schemas.topics import DISTINCT, ROLLUPS, TOPICS
from tests.unit.processors.raw import NOW, ORDER, Sample, committed, events, metrics

GOOD = Path(__file__).parents[3] / "deploy" / "mirrormaker" / "rollups.properties"
HEAD = "clusters = eu, us\neu->us.enabled = true\n"


def findings(text: str, *regions: str) -> list[Finding]:
    """What is said of every enabled flow of a file."""
    return [one for flow in flows(properties(text)) if flow.enabled for one in check_flow(flow, regions).findings]


def refused(text: str, *regions: str) -> list[tuple[str, str]]:
    return [(one.flow, one.setting) for one in findings(text, *regions) if one.refused]


def test_the_example_is_accepted_without_a_word() -> None:
    assert findings(GOOD.read_text(), "eu") == []
    assert check_flow(flows(properties(GOOD.read_text()))[0], ("eu",)).topics == ("sg.eu.rollups.v1",)


@pytest.mark.parametrize(
    "line",
    [
        "eu->us.topics = .*",
        "eu->us.topics = sg\\\\.eu\\\\..*",
        "eu->us.topics = sg.eu.(rollups|distinct).v1",
        "eu->us.topics = sg\\\\.eu\\\\.rollups\\\\.v1|sg\\\\.eu\\\\.dead\\\\.v1",
        "eu->us.topics = sg.eu.rollups.v1, sg.eu.events.v1",
        "eu->us.topics = sg.eu.rollups.v1,\\\n    sg.eu.distinct.v1",
        "eu->us.topics : sg.eu.rollups.v.",
        "eu->us.topics = sg.eu.rollups.v[12]",
        "eu->us.topics = sg.eu.rollups.v1.*",
        "eu->us.topics = (?i)sg.eu.rollups.v1",
        "eu->us.topics = sg.eu.rollups.v2",
        "eu->us.topics = eu.sg.eu.rollups.v1",
        "eu->us.topics = ${file:/etc/topics:list}",
        "eu->us.topics =",
        "eu->us.topics.exclude = sg.*events.*",
        "eu->us.topics.blacklist = .*",
        "topics = sg.*",
        "eu->us.topics = sg.eu.ledger.v1",
        "eu->us.topics = \\u002e*",
        "# eu->us.topics = sg.eu.rollups.v1",
        "us->eu.topics = sg.eu.rollups.v1",
        "eu->us.topics = sg.us.rollups.v1",
        "eu->us.topics = sg.eu.rollups.v1\neu->us.topics = .*",
        "eu->us.topics = sg.eu.rollups.v1\neu->us.topic.filter.class = com.example.Mine",
    ],
)
def test_a_flow_that_could_take_anything_else_is_refused(line: str) -> None:
    assert refused(HEAD + line, "eu")


@pytest.mark.parametrize(
    "line",
    [
        "eu->us.topics = sg\\\\.eu\\\\.rollups\\\\.v1",
        "eu->us.topics=sg[.]eu[.]rollups[.]v1",
        "eu->us.topics   \\\\Qsg.eu.rollups.v1\\\\E",
        "eu->us.topics = ^sg\\\\.eu\\\\.rollups\\\\.v1$",
        "topics = sg.eu.rollups.v1",
        "topics = .*\neu->us.topics = sg.eu.rollups.v1",
        "eu->us.topics = sg.eu.rollups.v1\neu->us.topic.filter.class = org.apache.kafka.connect.mirror.DefaultTopicFilter",
    ],
)
def test_the_exact_name_of_the_rollups_is_accepted(line: str) -> None:
    assert refused(HEAD + line, "eu") == []
    assert refused(HEAD + line) == []


def test_what_a_pattern_would_take_is_named_less_what_is_excluded() -> None:
    (one,) = [one for one in findings(HEAD + "eu->us.topics = sg\\\\.eu\\\\..*", "eu") if one.refused]
    assert set(one.would) == {topic.name("eu") for topic in TOPICS if topic is not ROLLUPS}
    more = "eu->us.topics = sg\\\\.eu\\\\.d.*\neu->us.topics.exclude = .*dead.*"
    (one,) = [one for one in findings(HEAD + more, "eu") if one.refused]
    assert one.would == (DISTINCT.name("eu"),)
    assert "MirrorMaker looks for new topics" in one.text


def test_a_pattern_that_only_java_reads_counts_as_taking_everything() -> None:
    (one,) = [one for one in findings(HEAD + "eu->us.topics = \\\\p{Alnum}+", "eu") if one.refused]
    assert len(one.would) == len(TOPICS) - 1


def test_only_flows_that_are_enabled_count_and_one_switch_may_enable_all() -> None:
    wild = "clusters = eu, us\neu->us.topics = .*\n"
    assert refused(wild) == []
    assert refused(wild + "eu->us.enabled = TRUE") == [("eu->us", "topics")]
    assert refused(wild + "enabled = true\nus->eu.topics = sg.us.rollups.v1") == [("eu->us", "topics")]
    assert refused("clusters = eu, us, ap\nenabled = true\n") == [
        (f"{a}->{b}", "topics") for a in ("eu", "us", "ap") for b in ("eu", "us", "ap") if a != b
    ]


def test_a_connector_s_own_file_is_one_flow() -> None:
    text = "connector.class = org.apache.kafka.connect.mirror.MirrorSourceConnector\nsource.cluster.alias = eu\n"
    assert refused(text) == [("eu->target", "topics")]
    assert refused(text + "topics = sg.eu.rollups.v1") == []


def test_a_file_that_describes_no_flow_is_an_error() -> None:
    with pytest.raises(InputError, match="no flow"):
        flows(properties("bootstrap.servers = localhost:9092"))


def test_what_goes_along_is_noted_and_not_refused() -> None:
    noted = findings(HEAD + "eu->us.topics = sg.eu.rollups.v1", "eu")
    assert [one.setting for one in noted if not one.refused] == [
        "topics",
        "eu.consumer.isolation.level",
        "sync.topic.acls.enabled",
        "groups",
    ]
    assert not any(one.refused for one in noted)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b", {"a": "b"}),
        ("  a : b c ", {"a": "b c "}),
        ("a b", {"a": "b"}),
        ("a", {"a": ""}),
        ("# a=b\n! c=d\n\ne=f", {"e": "f"}),
        ("a=b,\\\n   c", {"a": "b,c"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        ("a\\=b=c\\.d\\u0041", {"a=b": "c.dA"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=b\\", {"a": "b"}),
    ],
)
def test_files_are_read_as_java_reads_them(text: str, found: dict[str, str]) -> None:
    assert properties(text) == found


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("a.b", ("a.b", True)),
        ("a\\.b", ("a.b", False)),
        ("a+", None),
        ("", None),
        ("^$", None),
        ("a|b", None),
        ("\\d", None),
    ],
)
def test_a_pattern_is_one_name_or_it_is_not(pattern: str, name: tuple[str, bool] | None) -> None:
    assert exact(pattern) == name


def sent(*messages: bytes, topic: str = ROLLUPS.kind) -> list[bytes]:
    """What a worker sends for raw messages to one of its topics."""
    made, _ = committed(messages)
    return [one.value for one in made if one.topic == f"sg.local.{topic}.v1"]


ROWS = [{"country": "AU", "segment": "free", "amount": 1.5, "customer": "c-1"}]
LABELLED = Sample(
    MetricHead("m", "counter", "1", ("email", "peer", "route")), ("x@example.com", "203.0.113.9", "/a"), NOW
)
CLEAN = sent(events(ROWS), metrics([LABELLED]), metrics([Sample(MetricHead("g", "gauge"), (), NOW)]))


def look(values: Sequence[bytes | None], contracts: Sequence[Contract] = (ORDER,)) -> dict[str, int]:
    seen = ExportLook("local", contracts)
    for value in values:
        seen.add(None, value)
    assert seen.messages == len(values)
    return dict(seen.found)


def changed(**labels: str) -> bytes:
    """A message of events whose series has other labels."""
    message = decode_rollups(sent(events(ROWS))[0])
    return encode(
        replace(message, labels=tuple(replace(one, labels=dict(one.labels) | labels) for one in message.labels))
    )


def test_what_workers_send_holds_nothing_that_may_not_leave() -> None:
    assert look(CLEAN) == {}
    assert look(CLEAN, ()) == {}


def test_hashes_that_count_people_are_found_wherever_they_stand() -> None:
    assert look(sent(events(ROWS), topic="distinct"))["distinct"] == 1


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (changed(country="jane@example.com"), "email"),
        (changed(country="4111 1111 1111 1111"), "card"),
        (changed(country="em_k3_abcdefgh234567abcdefgh2345"), "pseudonym"),
        (changed(customer="c-1"), "undeclared"),
        (changed(segment="something"), "undeclared"),
        (changed(service="203.0.113.9"), "ip"),
        (b"{", "unreadable"),
        (None, "unreadable"),
    ],
)
def test_planted_errors_are_counted_by_rule_and_never_shown(message: bytes | None, rule: str) -> None:
    assert look([*CLEAN, message]).keys() == {rule}


def test_parts_that_no_reader_knows_are_found() -> None:
    body: dict[str, Any] = orjson.loads(CLEAN[0])
    planted = [body | {"user": "jane"}, body | {"raw": body["raw"] | {"user": "jane"}}]
    planted.append(body | {"metrics": [one | {"user": "jane"} for one in body["metrics"][:1]] + body["metrics"][1:]})
    assert [look([orjson.dumps(one)]) for one in planted] == [{"unknown_part": 1}] * 3


def test_keys_headers_and_other_regions_are_found() -> None:
    seen = ExportLook("eu", (ORDER,))
    seen.add(b"jane", CLEAN[0], 1)
    assert dict(seen.found) == {"message_key": 1, "header": 1, "other_region": 1}


def test_fields_of_an_event_that_its_contract_does_not_declare_are_found() -> None:
    narrow = replace(ORDER, fields={name: one for name, one in ORDER.fields.items() if name != "country"})
    assert look(sent(events(ROWS)), (narrow,))["undeclared"] >= 1


def test_an_event_whose_contract_is_not_known_is_said() -> None:
    seen = ExportLook("local")
    seen.add(None, sent(events(ROWS))[0])
    assert seen.unknown == {"order"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["region", "check-export", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_ends_with_one_where_something_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, str(GOOD), "--region", "eu") == (
        0,
        "",
        "1 flow: nothing but rollups leaves; 1 not enabled, not checked\n",
    )
    assert run(capsys, str(GOOD), "--region", "us")[0] == 1
    bad = tmp_path / "bad.properties"
    bad.write_text(HEAD + "eu->us.topics = sg.eu.(rollups|distinct).v1\n")
    code, out, _ = run(capsys, str(bad), "--region", "eu")
    assert code == 1
    assert "It takes sg.eu.distinct.v1" in out
    code, out, _ = run(capsys, str(bad), "--region", "eu", "--json")
    body = json.loads(out)
    assert (code, body["refused"]) == (1, True)
    assert body["flows"][0]["findings"][0]["would"] == ["sg.eu.distinct.v1"]
    bad.write_text("clusters = eu, us\neu->us.topics = .*\n")
    assert run(capsys, str(bad)) == (0, "", "no flow is enabled: nothing leaves; 1 not enabled, not checked\n")
    assert run(capsys, str(bad), "--look")[0] == 2
