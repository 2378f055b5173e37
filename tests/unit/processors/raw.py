"""Raw messages as applications send them, from plain rows; and what adding them takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from streamgauge.processors.accumulator import Accumulator, ContractKey, Place, Tools
from streamgauge.processors.outputs import Output, OutputPolicy, outputs
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.packing import pack_optional, pack_strings

_STREAMS = count()
NOW = 1_790_000_000_000
KEY = bytes(range(32))
PLACE = Place("local", "sg.local.events.v1", 3)

ORDER = Contract(
    "order",
    1,
    {
        "country": Field("dimension", optional=True),
        "segment": Field("dimension", values=("free", "pro"), optional=True),
        "amount": Field("measure", "number", unit="{USD}", optional=True),
        "items": Field("measure", "integer", optional=True),
        "customer": Field("unique", optional=True),
        "note": Field("dropped", optional=True),
    },
)
ORDER_2 = Contract(
    "order",
    2,
    {
        "country": Field("dimension", optional=True),
        "channel": Field("dimension", optional=True),
        "amount": Field("measure", "number", unit="{USD}", optional=True),
        "customer": Field("unique", optional=True),
        "session": Field("unique", optional=True),
    },
    granularity="1m",
)
PAID = Contract(
    "paid",
    1,
    {
        "order_id": Field("idempotency_key"),
        "country": Field("dimension", optional=True),
        "amount": Field("measure", "number", unit="{USD}", optional=True),
    },
)
ASKED = Contract(
    "asked",
    1,
    {
        "topic": Field("dimension", optional=True),
        "minutes": Field("measure", "number", unit="min", optional=True),
        "customer": Field("unique", optional=True),
        "remark": Field("free_text", optional=True),
        "note": Field("dropped", optional=True),
    },
    store_events=True,
)
CONTRACTS: dict[ContractKey, Contract] = {(one.name, one.version): one for one in (ORDER, ORDER_2, PAID, ASKED)}


def origin(context: Mapping[str, str] | None = None, backfill: bool = False) -> Origin:
    """Identity of a batch; each is another one."""
    return Origin({"service": "shop"} if context is None else context, f"s{next(_STREAMS)}", 1, 0, backfill)


def events(
    rows: Sequence[Mapping[str, Any]],
    contract: Contract = ORDER,
    context: Mapping[str, str] | None = None,
    backfill: bool = False,
    consent_column: Any = None,
    **columns: Any,
) -> bytes:
    """One batch of events: each row has `time` and its fields; what a row lacks is missing. `columns` replace packed ones."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name != "time"):
        values = [row.get(name) for row in rows]
        if contract.fields.get(name, Field("dimension")).kind == "measure":
            fields[name] = pack_optional("f8", values)
        else:
            fields[name] = pack_strings(values)
    times = [row.get("time", NOW) for row in rows]
    sender = origin(context, backfill)
    return encode_events(sender, contract.name, contract.version, times, fields | columns, consent_column)


@dataclass(frozen=True)
class Sample:
    """What one series of a metric gained in one window."""

    head: MetricHead
    labels: tuple[str, ...]
    window: int
    count: int = 1
    sum: float = 1.0
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    last_ms: int = 0
    buckets: dict[int, int] = field(default_factory=dict[int, int])


def metrics(samples: Sequence[Sample], context: Mapping[str, str] | None = None, backfill: bool = False) -> bytes:
    """One batch of metric points."""
    heads = list(dict.fromkeys(one.head for one in samples))
    series: list[tuple[int, *tuple[str, ...]]] = [
        (heads.index(head), *labels) for head, labels in dict.fromkeys((one.head, one.labels) for one in samples)
    ]
    points = [
        Point(
            series.index((heads.index(one.head), *one.labels)),
            one.window,
            one.count,
            one.sum,
            one.min,
            one.max,
            one.last,
            one.last_ms,
            one.buckets,
        )
        for one in samples
    ]
    return encode_metrics(origin(context, backfill), heads, series, points)


def tools(policy: TimePolicy | None = None, key: bytes = KEY, region: str = "local") -> Tools:
    """Fresh tools of a worker."""
    return Tools(Scrubber(), DistinctHasher(key, region), policy or TimePolicy())


def never(_: ContractKey) -> bool:
    """Wait for no contract."""
    return False


def always(_: ContractKey) -> bool:
    """Wait for every contract."""
    return True


def accumulated(
    messages: Sequence[bytes | None],
    now_ms: int = NOW,
    with_tools: Tools | None = None,
    place: Place = PLACE,
    start: int = 0,
    contracts: Mapping[ContractKey, Contract] | None = None,
) -> Accumulator:
    """An accumulator that has added the messages."""
    accumulator = Accumulator(place, with_tools or tools())
    for offset, message in enumerate(messages, start):
        accumulator.add(offset, message, CONTRACTS if contracts is None else contracts, now_ms, never)
    return accumulator


def committed(
    messages: Sequence[bytes | None],
    now_ms: int = NOW,
    with_tools: Tools | None = None,
    index: SeriesIndex | None = None,
    policy: OutputPolicy | None = None,
    start: int = 0,
    contracts: Mapping[ContractKey, Contract] | None = None,
) -> tuple[list[Output], LedgerEntry]:
    """The outputs of one transaction over the messages."""
    accumulator = accumulated(messages, now_ms, with_tools, start=start, contracts=contracts)
    end = start + len(messages)
    return outputs(accumulator, start, end, index or SeriesIndex(), policy or OutputPolicy(), now_ms)
