"""The recount that the fault suite rests on: it must see a point too few, a wrong sum, a wrong bucket."""

from __future__ import annotations

import math
from io import BytesIO

import polars as pl

from tests.support.raw_load import RawLoad
from tests.support.truth import CELL, Ask, Rows, Truth, bucket_keys, labels_text

NOW = 1_795_354_000_000
LABELS = labels_text({"service": "shop", "empty": ""})


def truth_of(*values: float) -> Truth:
    """One series of a histogram, a value every 45 s."""
    one = Rows([("m", LABELS)])
    for number, value in enumerate(values):
        t = NOW + 45_000 * number
        one.points.append((0, t, 1, value, value, value, value, t))
        one.buckets.append((0, t, int(bucket_keys([value])[0]), 1))
    truth = Truth({"m": "histogram"})
    truth.add(one)
    return truth


def store_of(truth: Truth, *, sums: float = 0.0, buckets: int = 0, points: int = 0) -> Ask:
    """A store that answers as it should, but for what is asked."""

    def ask(sql: str) -> bytes:
        tier = next((one for one in ("10s", "1m", "1h", "1d") if sql.find(f"_{one}") > 0), "")
        if not tier:
            frame = pl.DataFrame({"series_id": [1], "labels": ['{"service":"shop"}']})
        elif "distinct" in sql:
            frame = pl.DataFrame(schema={"metric": pl.String, "series_id": pl.Int64, "window": pl.Int64, "n": pl.Int64})
        elif "entry" in sql:
            frame = truth.expected_buckets(tier).select(*CELL, "key", pl.col("n") + buckets)
        else:
            changed = (pl.col("sum") + sums, pl.col("count") + points)
            frame = truth.expected_points(tier).select(*CELL, "min", "max", "last", *changed)
        if tier and "distinct" not in sql:
            frame = frame.with_columns(series_id=pl.lit(1)).drop("labels")
        file = BytesIO()
        frame.write_parquet(file)
        return file.getvalue()

    return ask


def test_a_store_that_is_right_differs_in_nothing() -> None:
    truth = truth_of(1.5, 2.0, 0.0)
    assert truth.differences(store_of(truth)) == []


def test_every_kind_of_difference_is_seen_in_every_tier() -> None:
    truth = truth_of(1.5, 2.0, 0.0)
    wrong = store_of(truth, sums=1e-6), store_of(truth, buckets=1), store_of(truth, points=-1)
    for number, store in enumerate(wrong):
        found = truth.differences(store)
        assert {one.split(":")[0].split(" ")[0] for one in found} == {"10s", "1m", "1h", "1d"}, number


def test_buckets_hold_what_lies_above_their_lower_bound_and_up_to_their_upper_one() -> None:
    upper = 2.0 ** (1 / 32)
    values = [1.0, math.nextafter(1.0, 2), upper, math.nextafter(upper, 2), 2.0, -1.0, 0.0, 1e300, 1e-300]
    expected = [16_383, 16_384, 16_384, 16_385, 16_384 + 31, -16_383, 0, 32_767, 1]
    assert bucket_keys(values).tolist() == expected


def test_a_seed_repeats_every_byte_and_repeats_are_the_same_bytes() -> None:
    first, second = (RawLoad(7, "eu", NOW) for _ in range(2))
    batches = [one for one, _ in zip(first.batches(), range(600), strict=False)]
    assert [one.value for one in batches] == [one.value for one, _ in zip(second.batches(), range(600), strict=False)]
    known: dict[tuple[str, str, int], bytes] = {}
    for one in batches:
        assert known.setdefault(one.identity, one.value) == one.value
    assert len(known) < len(batches)
    for kind, stream in {(one.kind, one.stream) for one in batches}:
        seqs = {one.seq for one in batches if (one.kind, one.stream) == (kind, stream)}
        assert len(seqs) >= max(seqs) - 10, "dense, but for an outage that the cut went through"
