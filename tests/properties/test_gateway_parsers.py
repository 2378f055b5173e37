"""Whatever bytes come in at any door: they are on the account, and nothing else happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console import otlp_json, otlp_protobuf
from streamgauge.console.gateway_account import Refusal
from streamgauge.console.gateway_body import unpacked
from streamgauge.console.gateway_names import seconds_name, senders_name
from streamgauge.console.otlp_model import PayloadError
from streamgauge.console.socket_drops import drops_of
from streamgauge.console.statsd_lines import LineRefused, parse
from streamgauge.console.statsd_streams import MAX_LINE, read_stream
from streamgauge.producers.metrics import head_problems
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.names import label_values
from tests.support.gateways import NOW_MS, TestGateway

WORDS = """a b.c : | # @ 1 -2.5 +3 c ms g h s d T1800000000 _e{1,1}: _sc| m: 0.5 , k:v e:x card:low é nan 1e400 inf k=v
{ } 0 :: ||"""
pieces = st.sampled_from([*WORDS.split(), " ", "\t"])
linelike = st.lists(pieces, max_size=14).map(lambda parts: "".join(parts).encode())
lines = linelike | st.binary(max_size=60)
leaves = st.none() | st.booleans() | st.integers(-5, 1 << 63) | st.floats() | st.text(max_size=6)
KEYS = [
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "name",
    "sum",
    "histogram",
    "dataPoints",
    "asInt",
    "attributes",
    "key",
]
jsonlike = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
ANY = Contract("any", 1, {"a": Field("dimension", optional=True), "n": Field("measure", "integer", optional=True)})


@given(lines)
def test_a_line_is_read_or_refused(line: bytes) -> None:
    with suppress(LineRefused):
        parse(line)


@given(st.lists(lines, max_size=8))
def test_every_line_is_on_the_account_and_what_comes_out_can_be_read(packets: list[bytes]) -> None:
    one = TestGateway()
    for packet in packets:
        one.gateway.packet(packet)
    one.flush()

    account = one.gateway.account
    # lines with several samples may be refused in their midst; no line is refused twice
    assert (
        sum(count for (kind, _), count in account.refused.items() if kind.startswith("statsd"))
        <= account.received.total()
    )
    assert one.batches() is not None
    assert one.event_batches() is not None
    sent = one.gateway.outlet.json()
    assert sent["points"] == sent["acknowledged"]


@given(st.binary(max_size=200) | jsonlike.map(lambda value: orjson.dumps(value)))
def test_a_request_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    one = TestGateway()
    for coding in (otlp_json, otlp_protobuf):
        with suppress(PayloadError):
            one.gateway.otlp.take(coding.read(body), NOW_MS)
    with suppress(Refusal):
        one.gateway.door.take(body, NOW_MS)
    for encoding in ("gzip", "deflate"):
        with suppress(Refusal):
            unpacked(body, encoding, 1_000)
    one.flush()
    assert one.batches() is not None


@given(
    st.dictionaries(st.sampled_from(["a", "n", "x"]), leaves | st.lists(leaves, max_size=2), max_size=3), leaves, leaves
)
def test_any_event_is_accepted_or_refused(fields: object, at: object, version: object) -> None:
    one = TestGateway({("any", 1): ANY})
    document = {"event": "any", "fields": fields, "at": at, "version": version}
    answer = one.gateway.door.take(orjson.dumps(document), NOW_MS)

    assert answer.accepted + answer.refused.total() == 1
    one.flush()
    assert len(one.transport.events("any")) == answer.accepted


@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=4))
def test_whatever_a_metric_and_its_tags_are_called_they_can_be_declared(name: str, tags: list[str]) -> None:
    labels = tuple(label_values((tag, "") for tag in tags))
    with suppress(Refusal):
        own = senders_name(name)
        assert list(head_problems(MetricHead(own, "counter", "", labels))) == []
        assert list(head_problems(MetricHead(seconds_name(own), "histogram", "s", labels))) == []


@given(st.text(max_size=300), st.integers(0, 99))
def test_any_table_of_the_kernel_is_read_or_says_nothing(text: str, inode: int) -> None:
    assert drops_of(text, inode) is None or drops_of(text, inode) is not None


def streamed(pieces_: list[bytes]) -> tuple[list[bytes], list[bytes], list[str]]:
    """What a stream hands over that comes in these pieces: lines, frames, refusals."""
    taken: list[bytes] = []
    frames: list[bytes] = []
    refused: list[str] = []

    async def run() -> None:
        reader = asyncio.StreamReader(limit=MAX_LINE)
        for piece in pieces_:
            reader.feed_data(piece)
        reader.feed_eof()
        await read_stream(reader, taken.append, frames.append, refused.append)

    asyncio.run(run())
    return taken, frames, refused


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_frames_come_out_as_they_were_sent_however_the_stream_is_cut(frames: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(len(frame).to_bytes(4, "little") + frame for frame in frames)
    cut = data.draw(st.integers(0, len(whole)))

    assert streamed([whole[:cut], whole[cut:]]) == ([], frames, [])


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda one: b"\n" not in one and 0 not in one), max_size=6))
def test_lines_come_out_as_they_were_sent(every: list[bytes]) -> None:
    taken, frames, refused = streamed([b"\n".join(every)])

    assert (frames, refused) == ([], [])
    assert [line for packet in taken for line in packet.split(b"\n") if line.strip()] == [
        line for line in every if line.strip()
    ]


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_any_stream_ends(every: list[bytes]) -> None:
    taken, frames, refused = streamed(every)

    assert sum(map(len, taken)) + sum(map(len, frames)) <= sum(map(len, every))
    assert len(refused) <= 1
