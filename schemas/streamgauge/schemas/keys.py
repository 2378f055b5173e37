"""Keys: idempotency keys that a worker knows of one raw partition, as they travel: keyed 128-bit hashes with their times.

Each transaction carries the keys that came in it (`add`); about once an hour one carries all that came since the last
time (`slice`), which takes the place of those additions. Reading a message twice, or out of its order, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from streamgauge.schemas.batches import WIRE_VERSION
from streamgauge.schemas.columns import Array, pack_array, unpack
from streamgauge.schemas.decoding import MAX_ROWS, SHORT_LIMIT, need, need_natural, part_of, versioned
from streamgauge.schemas.errors import Refused

FORMS = ("slice", "add")
SECONDS_LIMIT = 1 << 32
PARTS_LIMIT = 1 << 32
KEYS_A_MESSAGE = 16_384
"""Less than half a megabyte; brokers take one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys and when each came (seconds since the epoch), as three columns of one length."""

    low: Array
    high: Array
    at: Array

    def __len__(self) -> int:
        return len(self.low)

    def split(self, size: int = KEYS_A_MESSAGE) -> Iterator[Keys]:
        """Pieces of at most `size` keys; none of nothing."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Keys(self.low[part], self.high[part], self.at[part])


def joined(parts: Sequence[Keys]) -> Keys:
    """All of them, one after another."""
    return Keys(
        np.concatenate([np.zeros(0, np.uint64), *(one.low for one in parts)]),
        np.concatenate([np.zeros(0, np.uint64), *(one.high for one in parts)]),
        np.concatenate([np.zeros(0, np.uint32), *(one.at for one in parts)]),
    )


@dataclass(frozen=True, slots=True)
class KeysMessage:
    """One message about keys in the state topic. `slice_s` names the slice that its keys belong to, by when that began;
    `part` of `parts` of it, where `parts` of an addition are those so far. `end` is the raw offset of its transaction."""

    region: str
    topic: str
    partition: int
    form: str
    end: int
    slice_s: int
    keys: Keys
    part: int = 0
    parts: int = 1

    def encode(self) -> bytes:
        """As a message of the state topic."""
        return orjson.dumps(
            {
                "v": WIRE_VERSION,
                "kind": "keys",
                "region": self.region,
                "topic": self.topic,
                "partition": self.partition,
                "form": self.form,
                "to": self.end,
                "slice": self.slice_s,
                "part": self.part,
                "parts": self.parts,
                "n": len(self.keys),
                "low": pack_array("u8", self.keys.low),
                "high": pack_array("u8", self.keys.high),
                "at": pack_array("u4", self.keys.at),
            }
        )


def decode_keys(value: bytes | None) -> KeysMessage:
    """Read a message about keys. Raises Refused when it is not one."""
    body = versioned(value, "keys")
    if need(body, "form", str) not in FORMS:
        raise Refused("unknown_kind")
    part, parts = part_of(body, PARTS_LIMIT)
    n = need_natural(body, "n", MAX_ROWS)
    low, high = unpack(body.get("low"), "u8", n), unpack(body.get("high"), "u8", n)
    if not low.all():
        raise Refused("out_of_range", "low")
    return KeysMessage(
        region=need(body, "region", str),
        topic=need(body, "topic", str),
        partition=need_natural(body, "partition", SHORT_LIMIT),
        form=body["form"],
        end=need_natural(body, "to"),
        slice_s=need_natural(body, "slice", SECONDS_LIMIT),
        keys=Keys(low, high, unpack(body.get("at"), "u4", n)),
        part=part,
        parts=parts,
    )
