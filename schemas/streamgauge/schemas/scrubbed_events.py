"""Scrubbed events: single rows of events after scrubbing, as packed columns, from a worker to the store of its region.

A message holds rows of one version of one event: labels as those of series, measures, tokens for unique fields, and free
texts after the detectors. Idempotency keys and what is dropped are never in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import orjson

from streamgauge.schemas.batches import MAX_INSTANT_MS, WIRE_VERSION
from streamgauge.schemas.columns import (
    Array,
    Numbers,
    Strings,
    narrow,
    pack_array,
    unpack_narrow,
    unpack_numbers,
    unpack_strings,
)
from streamgauge.schemas.decoding import SHORT_LIMIT, need, need_natural, need_object, versioned
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import MAX_POLICY
from streamgauge.schemas.packing import Json, index_type
from streamgauge.schemas.rollups import RawRange, raw_json, raw_of

KIND = "events_scrubbed"
MAX_COLUMNS = 1_024
_CONTRACT_LIMIT = 1 << 32


@dataclass(frozen=True, slots=True)
class ScrubbedEvents:
    """Rows of one event, in the order in which they came. `times` are ms since the epoch; every column has as many rows.

    An empty or missing string is absent: a label nobody gave, a token whose key was destroyed. `source` are the raw offsets
    that the rows are of, `version` is the materialization version, `policy` the version of the policy that cleaned them.
    """

    region: str
    source: RawRange
    version: int
    event: str
    contract: int
    policy: str
    times: Array
    labels: Mapping[str, Strings]
    measures: Mapping[str, Numbers]
    pseudonyms: Mapping[str, Strings]
    texts: Mapping[str, Strings]

    def __len__(self) -> int:
        return len(self.times)


def encode_scrubbed(events: ScrubbedEvents) -> bytes:
    """A message of the topic of scrubbed events. Of dictionaries only what a row points at is in it."""
    start = int(events.times.min()) if len(events) else 0
    body: Json = {
        "v": WIRE_VERSION,
        "kind": KIND,
        "region": events.region,
        "mv": events.version,
        "raw": raw_json(events.source),
        "event": events.event,
        "contract": events.contract,
        "policy": events.policy,
        "n": len(events),
        "t0": start,
        "t": narrow(events.times - start),
        "labels": {name: _strings_json(column) for name, column in events.labels.items()},
        "measures": {name: _numbers_json(column) for name, column in events.measures.items()},
        "pseudonyms": {name: _strings_json(column) for name, column in events.pseudonyms.items()},
        "texts": {name: _strings_json(column) for name, column in events.texts.items()},
    }
    return orjson.dumps(body)


def _strings_json(column: Strings) -> Json:
    used, index = np.unique(column.index, return_inverse=True)
    dictionary = [column.dictionary[int(entry)] for entry in used]
    return {"d": dictionary, "i": pack_array(index_type(len(dictionary)), index)}


def _numbers_json(column: Numbers) -> Json:
    body: Json = {"f8": pack_array("f8", column.values)}
    if column.missing is not None and len(column.missing):
        body["null"] = pack_array("u4", column.missing)
    return body


def decode_scrubbed(value: bytes | None) -> ScrubbedEvents:
    """Read a message of the topic of scrubbed events. Raises Refused when it is not one."""
    body = versioned(value, KIND)
    n, start = need_natural(body, "n"), need(body, "t0", int)
    if not 0 <= start < MAX_INSTANT_MS:
        raise Refused("time_out_of_range")
    policy = need(body, "policy", str)
    if not 0 < len(policy) <= MAX_POLICY:
        raise Refused("out_of_range", "policy")
    event = need(body, "event", str)
    if not event:
        raise Refused("bad_name", "event")
    return ScrubbedEvents(
        region=need(body, "region", str),
        source=raw_of(body),
        version=need_natural(body, "mv", SHORT_LIMIT),
        event=event,
        contract=need_natural(body, "contract", _CONTRACT_LIMIT),
        policy=policy,
        times=_times(body.get("t"), n, start),
        labels={name: unpack_strings(column, n) for name, column in _columns(body, "labels")},
        measures={name: unpack_numbers(column, n) for name, column in _columns(body, "measures")},
        pseudonyms={name: unpack_strings(column, n) for name, column in _columns(body, "pseudonyms")},
        texts={name: unpack_strings(column, n) for name, column in _columns(body, "texts")},
    )


def _times(column: Any, n: int, start: int) -> Array:
    later = unpack_narrow(column, n)
    # compared before they are added: 64 bits could wrap around
    if n and int(later.max()) >= MAX_INSTANT_MS - start:
        raise Refused("time_out_of_range")
    return later.astype(np.int64) + start


def _columns(body: Json, key: str) -> list[tuple[str, Json]]:
    columns = need_object(body, key)
    if len(columns) > MAX_COLUMNS or not all(type(column) is dict for column in columns.values()):
        raise Refused("wrong_type", key)
    if not all(columns):
        raise Refused("bad_name", key)
    return [(name, cast("Json", column)) for name, column in columns.items()]
