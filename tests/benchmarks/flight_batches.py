"""Flight batches: the flights of 2013, year after year, as the batches that producers would send and as one JSON an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from streamgauge.console.replay import Encoder, Plan, stream_names
from streamgauge.console.rows import Rows, read_rows
from streamgauge.console.sender import Batch
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.topics import EVENTS
from streamgauge.schemas.windows import TIER_NAMES, TIERS
from tests.benchmarks.backlog import Record
from tests.support.flights import flights

YEAR_MS = 365 * 86_400_000
BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """What the flights are grouped by: dimensions and the width of a window. `unique` also counts tail numbers, `single` also
    keeps each event by itself."""

    dimensions: tuple[str, ...]
    granularity: str
    unique: bool = False
    single: bool = False

    @property
    def name(self) -> str:
        """Short, for tables and regions."""
        more = [word for word, said in (("tails", self.unique), ("single", self.single)) if said]
        return "_".join((*self.dimensions, self.granularity, *more))

    @property
    def width_ms(self) -> int:
        """Width of a window."""
        return TIERS[TIER_NAMES.index(self.granularity)].width_ms

    def contract(self) -> Contract:
        """The declaration that the worker is given."""
        fields = {name: Field("dimension") for name in self.dimensions}
        fields["dep_delay"] = Field("measure", "number", unit="min", optional=True)
        if self.unique:
            fields["tailnum"] = Field("unique", optional=True)
        return Contract("flight", 1, fields, granularity=self.granularity, time="time_hour", store_events=self.single)

    def cells(self) -> int:
        """How many series-windows a year of flights has."""
        window = pl.col("hour").dt.epoch("ms") // self.width_ms
        return flights().select(*self.dimensions, window.alias("window")).n_unique()


def later(rows: Rows, shift_ms: int) -> Rows:
    """The same rows at later times."""
    return replace(rows, times=rows.times + np.int64(shift_ms))


def batches(case: Case, years: int, first: int = 0) -> Iterator[Batch]:
    """`years` times all flights from year `first` on, in order of time, 2,000 events a batch, on one stream a partition."""
    contract = case.contract()
    rows, _ = read_rows(flights(), contract)
    streams = stream_names(f"flights-{first}", EVENTS.partitions, EVENTS.partitions)
    context = {"service": "airport", "environment": "production", "instance": "benchmark", "version": "1.0"}
    encoder = Encoder(Plan(contract, context, streams, epoch_ms=1, batch_rows=BATCH_ROWS))
    for year in range(first, first + years):
        yield from encoder.batches(later(rows, year * YEAR_MS))


def single_events(case: Case, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of one JSON message an event, as a program without batches would send them."""
    frame = flights().head(count).with_columns(ts=pl.col("hour").dt.epoch("ms"))
    text = pl.format(
        '"ts":{},"carrier":"{}","origin":"{}","dest":"{}","tailnum":"{}","dep_delay":{}',
        "ts",
        "carrier",
        "origin",
        "dest",
        pl.col("tailnum").fill_null(""),
        pl.col("dep_delay").cast(pl.String).fill_null("null"),
    )
    key = pl.concat_str(*case.dimensions, separator="-")
    for name, body in frame.select(key.alias("key"), text.alias("body")).iter_rows():
        yield name.encode(), b"{" + body.encode() + b"}"


def records(made: Iterable[Batch]) -> list[Record]:
    """Batches as messages, keyed as applications key them."""
    return [Record(one.stream.encode(), one.value) for one in made]
