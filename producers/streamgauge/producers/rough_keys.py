"""Rough keys: the cheapest number that tells the bucket of an amount, translated when a series is taken.

`floor(log2(amount) * DOUBLINGS)` is the rough key of a positive amount: -ceil(32 log2), the same float arithmetic as
`bucket_of`, so both name the same bucket. Other amounts get rough keys that no positive amount has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import floor, log2

from streamgauge.schemas.histogram import KEY_OFFSET, MAX_INDEX, PER_DOUBLING, Buckets

DOUBLINGS = -float(PER_DOUBLING)
NEGATIVE = 1 << 20
"""Added for a negative amount; rough keys of magnitudes are below 40,000 either way."""
ZERO = 1 << 22
OUTERMOST = frozenset(sign * (KEY_OFFSET + end) for sign in (-1, 1) for end in (-MAX_INDEX, MAX_INDEX))
"""Buckets that unite several rough keys. Every other one has one rough key."""


def rough_key(amount: float) -> int:
    """The rough key of a finite amount. Equal keys are one object, which every series shares."""
    if amount == 0.0:
        return ZERO
    key = floor(log2(abs(amount)) * DOUBLINGS)
    return _shared(key if amount > 0 else key + NEGATIVE)


@lru_cache(maxsize=1 << 17)  # more than there are
def _shared(key: int) -> int:
    return key


@lru_cache(maxsize=1 << 17)
def wire_key(rough: int) -> int:
    """The bucket's key as it travels."""
    if rough == ZERO:
        return 0
    negative = rough > NEGATIVE // 2
    index = -(rough - NEGATIVE if negative else rough) - 1
    key = min(max(index, -MAX_INDEX), MAX_INDEX) + KEY_OFFSET
    return -key if negative else key


def wire_buckets(
    roughs: Sequence[Mapping[int, int]],
) -> tuple[Iterable[int], Iterable[int], Iterable[int]]:
    """How many buckets each histogram has, then the keys and the counts of all of them, as they travel."""
    keys = list(map(wire_key, chain.from_iterable(roughs)))
    if OUTERMOST.isdisjoint(keys):
        return map(len, roughs), keys, chain.from_iterable([rough.values() for rough in roughs])
    exact = [_united(rough) for rough in roughs]
    return map(len, exact), chain.from_iterable(exact), chain.from_iterable([one.values() for one in exact])


def _united(rough: Mapping[int, int]) -> Buckets:
    united: Buckets = {}
    for key, count in rough.items():
        exact = wire_key(key)
        united[exact] = united.get(exact, 0) + count
    return united
