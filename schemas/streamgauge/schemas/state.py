"""State: what a worker keeps of the streams of one raw partition to recognise what comes twice, as it travels.

A snapshot holds every stream, in parts of bounded size; a change holds the streams that one transaction touched, whole.
Applying a change replaces what was known of its streams, so that reading one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import orjson

from streamgauge.schemas.batches import WIRE_VERSION
from streamgauge.schemas.columns import Array, pack_array, unpack
from streamgauge.schemas.decoding import (
    INTEGER_LIMIT,
    SHORT_LIMIT,
    need,
    need_list,
    need_natural,
    need_object,
    part_of,
    versioned,
)
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import life_of
from streamgauge.schemas.packing import Json

DIGEST_BYTES = 16
FORMS = ("snapshot", "change")


@dataclass(frozen=True, slots=True)
class Hole:
    """Numbers [start, end) of a stream that have not come, below one that has; `since_s` is when the higher one came."""

    start: int
    end: int
    since_s: int


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream: every number below `next` has come, but for the holes, which are in order and apart from each other.

    `digest` stands for (instance, epoch, stream). `heard_s` is when its last batch came (seconds since the epoch).
    """

    digest: bytes
    next: int
    heard_s: int
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """A refusal of the raw message at `offset` (see `again.Again.refusal`) that was replayed and counted at `at_s`."""

    offset: int
    refusal: str
    at_s: int


@dataclass(frozen=True, slots=True)
class StateMessage:
    """One message of the state topic. `end` is the raw offset up to which it is true; `part` of `parts` of a snapshot.

    `incarnation` is the life of the raw topic that the offsets are of; empty where a release or a broker did not say.
    """

    region: str
    topic: str
    partition: int
    form: str
    end: int
    streams: tuple[StreamState, ...]
    part: int = 0
    parts: int = 1
    replays: tuple[Replay, ...] = ()
    incarnation: str = ""

    def encode(self) -> bytes:
        """As a message of the state topic."""
        replays = [[one.offset, one.refusal, one.at_s] for one in self.replays]
        return orjson.dumps(
            {
                "v": WIRE_VERSION,
                "kind": "state",
                "region": self.region,
                "topic": self.topic,
                "partition": self.partition,
                "form": self.form,
                "to": self.end,
                "part": self.part,
                "parts": self.parts,
                "n": len(self.streams),
                **_columns(self.streams),
                **({"replays": replays} if replays else {}),
                **({"incarnation": self.incarnation} if self.incarnation else {}),
            }
        )


def _columns(streams: Sequence[StreamState]) -> Json:
    holes = [hole for one in streams for hole in one.holes]
    body: Json = {
        "stream": pack_array("u1", np.frombuffer(b"".join(one.digest for one in streams), np.uint8)),
        "next": _numbers([one.next for one in streams]),
        "heard": pack_array("u4", np.array([one.heard_s for one in streams], np.uint32)),
    }
    if holes:
        body["holes"] = {
            "n": pack_array("u4", np.array([len(one.holes) for one in streams], np.uint32)),
            "from": _numbers([hole.start for hole in holes]),
            "to": _numbers([hole.end for hole in holes]),
            "since": pack_array("u4", np.array([hole.since_s for hole in holes], np.uint32)),
        }
    return body


def _numbers(values: Sequence[int]) -> str:
    return pack_array("u8", np.array(values, np.uint64))


def decode_state(value: bytes | None) -> StateMessage:
    """Read a message of the state topic. Raises Refused when it is not one."""
    body = versioned(value, "state")
    if need(body, "form", str) not in FORMS:
        raise Refused("unknown_kind")
    part, parts = part_of(body, SHORT_LIMIT)
    return StateMessage(
        region=need(body, "region", str),
        topic=need(body, "topic", str),
        partition=need_natural(body, "partition", SHORT_LIMIT),
        form=body["form"],
        end=need_natural(body, "to"),
        streams=tuple(_streams(body)),
        part=part,
        parts=parts,
        replays=tuple(map(_replay, need_list(body, "replays"))) if "replays" in body else (),
        incarnation=life_of(body),
    )


def _replay(row: Any) -> Replay:
    if type(row) is not list or [type(one) for one in cast("list[Any]", row)] != [int, str, int]:
        raise Refused("wrong_type", "replays")
    offset, refusal, at_s = cast("list[Any]", row)
    if not 0 <= offset < INTEGER_LIMIT or not 0 <= at_s < 1 << 32:
        raise Refused("out_of_range", "replays")
    return Replay(offset, refusal, at_s)


def _streams(body: Json) -> list[StreamState]:
    n = need_natural(body, "n")
    digests = unpack(body.get("stream"), "u1", n * DIGEST_BYTES).tobytes()
    following, heard = unpack(body.get("next"), "u8", n).tolist(), unpack(body.get("heard"), "u4", n).tolist()
    holes = _holes(body, n, following)
    return [
        StreamState(digests[DIGEST_BYTES * i : DIGEST_BYTES * (i + 1)], following[i], heard[i], holes[i])
        for i in range(n)
    ]


def _holes(body: Json, n: int, following: Sequence[int]) -> list[tuple[Hole, ...]]:
    if "holes" not in body:
        return [()] * n
    columns = need_object(body, "holes")
    counts: Array = unpack(columns.get("n"), "u4", n).astype(np.int64)
    total = int(counts.sum())
    starts, ends = (unpack(columns.get(key), "u8", total).tolist() for key in ("from", "to"))
    since = unpack(columns.get("since"), "u4", total).tolist()
    found: list[tuple[Hole, ...]] = []
    first = 0
    for count, limit in zip(counts.tolist(), following, strict=True):
        own = tuple(Hole(starts[i], ends[i], since[i]) for i in range(first, first + count))
        bounds = [bound for hole in own for bound in (hole.start, hole.end)]
        if any(a >= b for a, b in pairwise(bounds)) or (bounds and bounds[-1] >= limit):
            raise Refused("out_of_range", "holes")
        found.append(own)
        first += count
    return found
