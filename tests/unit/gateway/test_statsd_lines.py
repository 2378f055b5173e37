"""Lines of StatsD, DogStatsD and Telegraf: what they say, and why others are refused."""

from __future__ import annotations

import pytest

from streamgauge.console.statsd_lines import LineRefused, Sample, ServiceCheck, StatsdEvent, lines, parse


def one(line: str | bytes) -> Sample:
    found = parse(line.encode() if isinstance(line, str) else line)
    assert not isinstance(found, (StatsdEvent, ServiceCheck))
    (sample,) = found
    return sample


def refused(line: str | bytes) -> str:
    with pytest.raises(LineRefused) as caught:
        parse(line.encode() if isinstance(line, str) else line)
    return caught.value.reason


def test_a_plain_line_has_a_name_a_value_and_a_type() -> None:
    sample = one("web.requests:3|c")

    assert (sample.name, sample.type, sample.numbers, sample.rate, sample.datadog) == (
        "web.requests",
        "c",
        (3.0,),
        1.0,
        False,
    )


def test_a_rate_tags_and_a_time_are_read_and_where_it_comes_from_is_not() -> None:
    sample = one("page.views:1|c|@0.1|#env:prod,country:jp|c:83c0a99c0a54|e:it-false|card:low|T1656581400")

    assert (sample.rate, sample.tags, sample.at_s, sample.unknown) == (0.1, "env:prod,country:jp", 1_656_581_400, 0)
    assert sample.datadog


def test_packed_values_are_values_of_one_metric() -> None:
    assert one("latency:1:2.5:-3|h|#a:b").numbers == (1.0, 2.5, -3.0)


def test_telegrafs_many_types_are_samples_of_their_own_and_share_the_tags() -> None:
    found = parse(b"load:1|c|@0.5:200|ms:7|g|#host:a")

    assert not isinstance(found, (StatsdEvent, ServiceCheck))
    assert [(s.type, s.numbers, s.rate, s.tags) for s in found] == [
        ("c", (1.0,), 0.5, "host:a"),
        ("ms", (200.0,), 1.0, "host:a"),
        ("g", (7.0,), 1.0, "host:a"),
    ]


def test_a_container_id_is_not_taken_for_another_value() -> None:
    assert one("a:1|g|c:in-123").numbers == (1.0,)


def test_a_set_takes_any_text_even_with_colons() -> None:
    sample = one("visitors:user:42|s")

    assert (sample.texts, sample.numbers) == (("user:42",), ())


def test_a_gauge_keeps_the_sign_that_it_was_written_with() -> None:
    assert one("queue:+4|g").texts == ("+4",)


def test_sections_that_nobody_knows_are_ignored_and_counted() -> None:
    assert one("a:1|c|~new:thing|#x|zzz").unknown == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (":1|c", "no_name"),
        ("alone", "no_value"),
        ("a:|c", "no_value"),
        ("a:1", "no_type"),
        ("a:1|", "no_type"),
        ("a:1|c:2", "no_type"),
        ("a:1|q", "unknown_type"),
        ("a:one|c", "bad_value"),
        ("a:1_000|c", "bad_value"),
        ("a: 1|c", "bad_value"),
        ("a:1:|h", "no_value"),
        ("a:nan|g", "not_finite"),
        ("a:inf|c", "not_finite"),
        ("a:1e999|ms", "not_finite"),
        ("a:1|c|@0", "bad_rate"),
        ("a:1|c|@2", "bad_rate"),
        ("a:1|c|@nan", "bad_rate"),
        ("a:1|c|@x", "bad_rate"),
        ("a:1|g|Tsoon", "bad_time"),
        ("a:1|g|T-5", "bad_time"),
        ("_e{5,4}:title", "bad_event"),
        ("_e{5,4}:title|te", "bad_event"),
        ("_e{5,4}:title|text+|t:error", "bad_event"),
        ("_e{x,4}:title|text", "bad_event"),
        ("_sc|name", "bad_check"),
        ("_sc|name|4", "bad_check"),
        ("_sc||0", "no_name"),
        (b"\xff\xfe:1|c", "not_utf8"),
        (b"a:1|c|#\xff", "not_utf8"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(line: str | bytes, reason: str) -> None:
    assert refused(line) == reason


def test_lengths_of_an_event_are_bytes_and_its_title_may_hold_anything() -> None:
    title, text = "Ünïcode|t:error", "läuft|p:low"
    head = f"_e{{{len(title.encode())},{len(text.encode())}}}:{title}|{text}"
    line = f"{head}|d:1600000000|h:web-1|k:agg|p:low|s:deploy|t:warning|#env:prod"

    assert parse(line.encode()) == StatsdEvent("warning", "low", "deploy", "env:prod", 1_600_000_000, 0)


def test_an_event_without_more_is_normal_information() -> None:
    assert parse(b"_e{1,1}:a|b") == StatsdEvent("info", "normal", "")


def test_the_message_of_a_check_may_hold_anything_and_is_not_kept() -> None:
    line = b"_sc|db.up|2|d:1600000000|h:web-1|#team:core|m:down|#not:tags|0"

    assert parse(line) == ServiceCheck("db.up", "critical", "team:core", 1_600_000_000)
    assert b"down" not in repr(parse(line)).encode()


def test_a_packet_holds_lines_and_empty_ones_do_not_count() -> None:
    assert list(lines(b"a:1|c\r\n\nb:2|c\n\0")) == [b"a:1|c", b"b:2|c"]
