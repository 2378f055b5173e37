"""Spool segments: the bytes of an append-only file of encoded batches. Pure: what is written, and what can be read back.

A file begins with `MAGIC`; each record is its body's length and a CRC-32 of both, then the body. A record counts when it
is whole: reading ends at the first that is not, because after it nothing says where the next one begins.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

MAGIC = b"sgspool1"
HEAD = struct.Struct("<II")
BODY = struct.Struct("<QHHI")
MAX_BODY = 64 << 20
"""No record is longer: a length beyond this is damage."""


@dataclass(frozen=True, slots=True)
class Record:
    """One encoded batch as it was or would have been sent; `written_ms` (since the epoch) is when it came to the disk."""

    written_ms: int
    topic: str
    key: bytes
    value: bytes
    points: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A whole record and where it lies in its file."""

    start: int
    end: int
    record: Record


def encode(record: Record) -> bytes:
    """The bytes of one record."""
    topic, points = record.topic.encode(), orjson.dumps(dict(record.points))
    body = b"".join(
        (
            BODY.pack(record.written_ms, len(topic), len(record.key), len(points)),
            topic,
            record.key,
            points,
            record.value,
        )
    )
    length = struct.pack("<I", len(body))
    return length + struct.pack("<I", zlib.crc32(body, zlib.crc32(length))) + body


def found_at(data: bytes, start: int) -> Found | None:
    """The whole record that begins at `start`; None where there is none."""
    if start + HEAD.size > len(data):
        return None
    length, crc = HEAD.unpack_from(data, start)
    begin, end = start + HEAD.size, start + HEAD.size + length
    # the CRC covers the length too, so that a tail of zeros is no empty record
    if not BODY.size <= length <= MAX_BODY or end > len(data):
        return None
    body = data[begin:end]
    if zlib.crc32(body, zlib.crc32(data[start : start + 4])) != crc:
        return None
    written_ms, topic_size, key_size, points_size = BODY.unpack_from(body)
    key_at = BODY.size + topic_size
    points_at = key_at + key_size
    value_at = points_at + points_size
    try:
        points: dict[str, int] = orjson.loads(body[points_at:value_at])
        record = Record(written_ms, body[BODY.size : key_at].decode(), body[key_at:points_at], body[value_at:], points)
    except ValueError:  # whole, but of a writer that is not ours
        return None
    return Found(start, end, record)


def records(data: bytes) -> Iterator[Found]:
    """The whole records of a file, up to the first that is not."""
    place = len(MAGIC)
    while data.startswith(MAGIC) and (found := found_at(data, place)):
        yield found
        place = found.end


def is_torn(data: bytes, end: int) -> bool:
    """Whether something that is no record follows the last one, which ends at `end` (0: there is none)."""
    return len(data) > (end or len(MAGIC)) or not data.startswith(MAGIC[: len(data)])
