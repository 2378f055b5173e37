"""Single events: exactly the rows that count, with tokens that erasure finds, bounded in memory and in every message."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import orjson
import pytest

from streamgauge.processors.accumulator import Accumulator
from streamgauge.processors.cleaner import CUT, MAX_TEXT, Cleaner
from streamgauge.processors.detectors_text import MAX_CHARS
from streamgauge.processors.keyring import DAY_MS, Keyring
from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.policy import CommitPolicy
from streamgauge.processors.pseudonyms import DistinctHasher, Tokens, live_pseudonyms, pseudonym
from streamgauge.processors.residency import Residency
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.tools import Tools
from streamgauge.schemas.columns import Strings
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack, pack_strings
from streamgauge.schemas.privacy import Action
from tests.support.canaries import PERSONAL, SECRET
from tests.unit.processors.bench import opened
from tests.unit.processors.raw import NOW, PLACE, accumulated, committed, events, never, tools
from tests.unit.processors.rings import TODAY, YESTERDAY, ring_with
from tests.unit.processors.totals import Totals

SIGNUP = Contract(
    "signup",
    1,
    {
        "plan": Field("dimension", optional=True),
        "country": Field("dimension", optional=True),
        "tier": Field("dimension", values=("tin", "gold"), optional=True),
        "seconds": Field("measure", "number", "s", optional=True),
        "email": Field("unique", optional=True),
        "remark": Field("free_text", optional=True),
        "note": Field("dropped", optional=True),
    },
    store_events=True,
)
ORDERS = replace(SIGNUP, fields={**SIGNUP.fields, "signup_id": Field("idempotency_key")})
KIB = 1 << 10
SCAN = Action("scan")


def totals(*messages: bytes, contract: Contract = SIGNUP, ring: Keyring | None = None, **policy: int) -> Totals:
    """What one transaction over the messages adds up to."""
    own = Tools(Scrubber(), DistinctHasher(ring, "local")) if ring else None
    made, _ = committed(
        messages, with_tools=own, contracts={("signup", 1): contract}, policy=OutputPolicy(**policy) if policy else None
    )
    return Totals().read(made)


def test_a_row_is_kept_with_labels_measures_tokens_and_clean_text() -> None:
    row = {"plan": "pro", "seconds": 1.5, "email": "Jane@Example.com ", "remark": "mail jane@example.com", "note": "n"}
    found = totals(events([row, {"time": NOW - 1}], SIGNUP, {"service": "web", "tenant": "acme", "version": "1.2"}))
    ((output, message),) = found.single
    assert (output.topic, output.partition, output.key) == ("sg.local.events_scrubbed.v1", 3 % 2, None)
    assert (message.event, message.contract, message.version, message.source.start, message.source.end) == (
        "signup", 1, 1, 0, 1,
    )  # fmt: skip
    assert message.policy in found.ledger[0].policies
    assert message.times.tolist() == [NOW, NOW - 1]
    shared = {"service": "web", "tenant": "acme"}
    assert found.rows("labels") == [{**shared, "plan": "pro"}, shared]
    assert found.rows("measures") == [{"seconds": 1.5}, {}]
    assert found.rows("texts") == [{"remark": "mail [email]"}, {}]
    (person, nobody) = found.rows("pseudonyms")
    assert person["email"].startswith("em_k1_")
    assert nobody == {}
    assert (found.ledger[0].events, found.ledger[0].scrubbed) == (2, {"email": 1, "pseudonym": 1, "dropped": 2})


def test_of_a_contract_that_does_not_ask_nothing_is_kept() -> None:
    found = totals(
        events([{"email": "a@example.com", "remark": "x"}], SIGNUP), contract=replace(SIGNUP, store_events=False)
    )
    assert (found.single, found.ledger[0].events, found.points) == ([], 0, 1)
    assert found.ledger[0].scrubbed == {"pseudonym": 1, "free_text": 1}


def test_a_dimension_stands_for_itself_whatever_the_context_says() -> None:
    context = {"service": "web", "country": "AU"}
    found = totals(events([{"country": "NZ"}, {"country": None}], SIGNUP, context))
    assert found.rows("labels") == [{"service": "web", "country": "NZ"}, {"service": "web"}]
    assert sorted(map(dict, found.labels.values()), key=len) == [
        {"service": "web"},
        {"service": "web", "country": "NZ"},
    ]


def test_rows_that_do_not_count_are_not_kept() -> None:
    once = events([{"signup_id": "a", "plan": "1"}, {"signup_id": "b", "plan": "2"}], ORDERS)
    others = events(
        [
            {"signup_id": "a", "plan": "repeated"},
            {"signup_id": "c", "plan": "old", "time": NOW - 30 * DAY_MS},
            {"signup_id": "d", "plan": "early", "time": NOW + DAY_MS},
            {"signup_id": "e", "plan": "bad", "tier": "lead"},
            {"signup_id": None, "plan": "keyless"},
            {"signup_id": "f", "plan": "3"},
        ],
        ORDERS,
    )
    foreign = events([{"signup_id": "g", "plan": "foreign"}], ORDERS, {"region": "us"})
    own = Tools(Scrubber(), DistinctHasher(bytes(32), "eu"), residency=Residency("eu"))
    made, _ = committed([once, once, others, foreign], with_tools=own, contracts={("signup", 1): ORDERS})
    found = Totals().read(made)
    assert [row["plan"] for row in found.rows("labels")] == ["1", "2", "3"]
    assert found.refused.keys() >= {
        "repeated_key",
        "too_old",
        "in_the_future",
        "bad_value",
        "missing_field",
        "wrong_region",
    }
    assert found.ledger[0].events == found.points == 3


# tokens

RING = ring_with(YESTERDAY, TODAY)
"""Three keys."""
DAYS = [{"email": "jane@example.com", "time": at} for at in (YESTERDAY - 1, YESTERDAY, TODAY + 1, TODAY - 1)]


def tokens(found: Totals) -> list[str | None]:
    """The token of each row."""
    return [row.get("email") for row in found.rows("pseudonyms")]


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_a_row_has_the_token_that_erasure_finds_under_the_key_of_its_day(tenant: str) -> None:
    found = totals(events(DAYS, SIGNUP, {"tenant": tenant}), ring=RING)
    first, second, third = live_pseudonyms(RING, "local", tenant, "signup.email", " Jane@EXAMPLE.com")
    # by day: the row of yesterday that came last stands beside the one that came before
    assert tokens(found) == [first.token, second.token, second.token, third.token]
    assert {one for seen in found.distinct.values() for one in seen} == {first.hash, second.hash, third.hash}


def test_without_its_key_a_row_is_kept_without_a_token() -> None:
    found = totals(events(DAYS, SIGNUP), ring=RING.destroyed("k2", NOW))
    assert [token and token[:6] for token in tokens(found)] == ["em_k1_", None, None, "em_k3_"]
    assert found.ledger[0].events == 4
    assert found.ledger[0].scrubbed == {"pseudonym": 2, "key_destroyed": 2}
    found = totals(events(DAYS, SIGNUP), ring=replace(RING, keys=RING.keys[1:]))
    assert [token and token[:6] for token in tokens(found)] == [None, "em_k2_", "em_k2_", "em_k3_"]


def test_tokens_are_those_of_single_values() -> None:
    column = Strings(["a", None, " ", "b", "a "], np.array([4, 3, 2, 1, 0, 3], np.uint8))
    times = np.array([YESTERDAY - 1, TODAY, TODAY, TODAY, TODAY, YESTERDAY])
    made = Tokens(RING, "eu").column("order.customer", "t", column, times)
    k1, k2, k3 = RING.keys
    expected = [("a", k1), ("b", k3), ("", k3), ("", k3), ("a", k3), ("b", k2)]
    assert [made.dictionary[place] or "" for place in made.index] == [
        pseudonym("", value, key, "eu", "t", "order.customer") for value, key in expected
    ]


def test_a_memory_of_tokens_is_bounded_and_ends_with_its_ring() -> None:
    small = Tokens(RING, "eu", capacity=10)
    for number in range(100):
        column = Strings([f"canary{number}", f"canary{number + 1}"], np.arange(2))
        made = small.column("a.b", f"tenant{number % 3}", column, np.array([TODAY, YESTERDAY]))
        wanted = pseudonym("", f"canary{number + 1}", RING.keys[1], "eu", f"tenant{number % 3}", "a.b")
        assert made.dictionary[int(made.index[1])] == wanted
        assert sum(map(len, vars(small)["_seen"].values())) <= 10 + 2 * 3, "a column more, and what is missing"
        assert len(vars(small)["_seen"]) <= 10
    own = tools()
    accumulated([events([{"email": "jane@example.com"}], SIGNUP)], with_tools=own, contracts={("signup", 1): SIGNUP})
    assert "jane" in repr(vars(own.hasher.tokens))
    own.use(RING, NOW)
    assert "jane" not in repr(vars(own.hasher.tokens))
    assert vars(own.hasher.tokens)["_ring"] is RING


# free texts


def test_a_long_text_is_cut_and_counted() -> None:
    texts = ["x" * MAX_TEXT, "y" * (MAX_TEXT + 1), "word " * 800, None, ""]
    found = totals(events([{"remark": text} for text in texts], SIGNUP))
    kept = [row.get("remark") for row in found.rows("texts")]
    assert kept == ["x" * MAX_TEXT, "y" * MAX_TEXT, ("word " * 800)[:MAX_TEXT], None, None]
    assert found.ledger[0].scrubbed == {CUT: 2}


@pytest.mark.parametrize("canary", ["zelda.fitzgerald@example.com", "4111 1111 1111 1111", "+61 491 570 156"])
def test_no_half_of_what_stood_where_a_text_was_cut_is_kept(canary: str) -> None:
    cleaner = Cleaner(Scrubber())
    half = canary[: len(canary) // 2]
    for place in (MAX_TEXT, MAX_CHARS):
        for start in range(place - len(canary), place + 1):
            text = "a " * (start // 2) + " " * (start % 2) + canary + " b" * 900
            clean, rules = cleaner.text(SCAN, text)
            assert half not in clean
            assert len(clean) <= MAX_TEXT
            assert CUT in rules
    # what is found before makes room for what stands behind
    many = "ada.lovelace.of.london@example.com " * 56
    for shift in range(0, 90, 7):
        clean, _ = cleaner.text(SCAN, many + "c" * shift + " " + canary + " and so on" * 50)
        assert half not in clean


def test_of_a_free_text_nothing_is_remembered() -> None:
    own = tools()
    accumulated([events([{"remark": "she said canary"}], SIGNUP)], with_tools=own, contracts={("signup", 1): SIGNUP})
    assert "canary" not in repr([vars(own.scrubber), vars(own.cleaner), vars(own.hasher)])


def test_what_detectors_have_no_means_left_for_is_dropped_from_texts_before_labels() -> None:
    own = Tools(Scrubber(validations=60), DistinctHasher(bytes(32), "local"))
    rows = [
        {"remark": f"call +61 491 570 {100 + number}", "plan": f"+61 491 571 {100 + number}"} for number in range(40)
    ]
    contract = replace(SIGNUP, fields=dict(reversed(list(SIGNUP.fields.items()))))
    made, entry = committed([events(rows, contract)], with_tools=own, contracts={("signup", 1): contract})
    found = Totals().read(made)
    assert {row["plan"] for row in found.rows("labels")} == {"[phone]"}
    assert "[unchecked]" in {row["remark"] for row in found.rows("texts")}
    assert entry.scrubbed["unchecked"] > 0


def test_numbers_in_the_place_of_a_text_are_dropped_and_counted() -> None:
    found = totals(events([{"plan": "a"}] * 3, SIGNUP, remark={"f8": pack("f8", [1.0, 2.0, 3.0])}))
    assert (found.rows("texts"), found.points) == ([{}, {}, {}], 3)
    assert found.ledger[0].scrubbed == {"free_text": 3}


def test_a_text_whose_name_speaks_of_a_person_is_replaced() -> None:
    contract = replace(SIGNUP, fields={"password": Field("free_text", optional=True)})
    found = totals(events([{"password": "hunter2"}], contract), contract=contract)
    assert found.rows("texts") == [{"password": "[secret]"}]


# leaks

PLACES = {
    "label": {"plan": "{}"},
    "text": {"remark": "a {} b"},
    "text at the end of a long one": {"remark": "a " * 511 + "{}"},
}
NOWHERE = {
    "unique": {"email": "{}"},
    "key": {"signup_id": "{}"},
    "dropped": {"note": "{}"},
    "undeclared": {"shoe_size": "{}"},
    "closed": {"tier": "{}"},
}


def outputs_of(row: dict[str, str], canary: str) -> bytes:
    """Everything that a transaction sends of a row with the canary in its place, a good row and an unused entry."""
    sent = {"signup_id": "good", **{name: text.replace("{}", canary) for name, text in row.items()}}
    unused = pack_strings([canary, "c", "c"]) | {"i": pack("u1", [1, 1])}
    extra: dict[str, Any] = {} if "remark" in row else {"remark": unused}
    made, entry = committed(
        [events([sent, {"signup_id": "other"}], ORDERS, **extra)], contracts={("signup", 1): ORDERS}
    )
    assert entry.events >= 1
    return b"\n".join(one.value for one in made)


@pytest.mark.parametrize("canary", PERSONAL)
@pytest.mark.parametrize("place", [*PLACES, *NOWHERE])
def test_personal_data_is_in_no_output(place: str, canary: str) -> None:
    sent = outputs_of({**PLACES, **NOWHERE}[place], canary)
    assert canary.encode() not in sent
    assert orjson.dumps(canary)[1:-1] not in sent


@pytest.mark.parametrize("place", NOWHERE)
def test_what_is_counted_recognised_or_dropped_is_in_no_output(place: str) -> None:
    assert SECRET.encode() not in outputs_of(NOWHERE[place], SECRET)


def test_the_canary_is_seen_where_it_may_pass() -> None:
    assert SECRET.encode() in outputs_of(PLACES["text"], SECRET)
    assert SECRET.encode() in outputs_of(PLACES["label"], SECRET)


# bounds


@pytest.mark.parametrize(
    "load",
    [
        [{"remark": f"{number} " + "漢" * 900, "plan": f"p{number % 7}"} for number in range(3_000)],
        [{"remark": f"{number}" + "\x01" * 1_000} for number in range(1_000)],
        [{"email": f"person{number}", "seconds": 1.0} for number in range(30_000)],
        [{"plan": f"{number % 400}" + "p" * 1_500} for number in range(4_000)],
    ],
    ids=["texts", "texts that JSON escapes", "people", "labels that come again"],
)
def test_messages_stay_small_whatever_fills_them(load: list[dict[str, Any]]) -> None:
    found = totals(events(load, SIGNUP))
    sizes = [len(output.value) for output, _ in found.single]
    assert max(sizes) < 768 * KIB
    assert min(sizes[:-1]) > 128 * KIB
    assert len(found.rows("labels")) == len(load)


def test_rows_stay_few_where_a_reader_would_hold_much() -> None:
    context = {"operation": "o" * 200, "service": "s" * 200}
    batches = [events([{"plan": "p" * 2_000, "seconds": 1.0}] * 20_000, SIGNUP, context) for _ in range(2)]
    found = totals(*batches)
    longest = 200 + 200 + 2_000 + 8 + 8
    assert max(len(message) for _, message in found.single) * longest < 20 << 20
    assert 4 <= len(found.single) <= 8
    assert sum(len(message) for _, message in found.single) == 40_000


def test_a_message_touches_few_days_and_rows_of_a_day_stand_as_they_came() -> None:
    numbers = count()
    batches = [
        [
            {"time": NOW - day * DAY_MS, "seconds": float(next(numbers))}
            for _ in "abc"
            for day in range(first, first + 25)
        ]
        for first in range(0, 100, 25)
    ]
    found = totals(*(events(rows, SIGNUP, backfill=True) for rows in batches), max_parts=32)
    days = [sorted(set((message.times // DAY_MS).tolist())) for _, message in found.single]
    assert [len(one) for one in days] == [32, 32, 32, 4]
    by_day: dict[int, list[float]] = {}
    for (_, message), _ in zip(found.single, days, strict=True):
        for at, value in zip(message.times.tolist(), message.measures["seconds"].values.tolist(), strict=True):
            by_day.setdefault(at // DAY_MS, []).append(value)
    assert all(values == sorted(values) and len(values) == 3 for values in by_day.values())


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_the_rows_of_a_raw_partition_go_to_one_partition(partitions: int) -> None:
    found = totals(events([{"plan": "a"}], SIGNUP), event_partitions=partitions)
    assert [output.partition for output, _ in found.single] == [PLACE.partition % partitions]


def test_what_single_events_take_counts_for_the_next_commit() -> None:
    rows = [{"email": f"p{number}", "remark": f"{number}"} for number in range(5_000)]
    message = events(rows, SIGNUP)
    sizes: list[int] = []
    held: list[int] = []
    for kept in (False, True):
        accumulator = Accumulator(PLACE, tools())
        tracemalloc.start()
        accumulator.add(0, message, {("signup", 1): replace(SIGNUP, store_events=kept)}, NOW, never)
        accumulator.tools.use(RING, NOW)  # what tools remember is bounded elsewhere
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        sizes.append(accumulator.size)
    more = held[1] - held[0]
    assert sizes[0] == len(message)
    assert 0.7 * more < sizes[1] - sizes[0] < 2 * more


async def test_a_partition_commits_before_single_events_fill_its_memory() -> None:
    sizes: list[int] = []
    for kept in (False, True):
        contract = replace(SIGNUP, store_events=kept)
        policy = CommitPolicy(every_ms=1 << 40, max_bytes=256 * KIB)
        bench = await opened(contracts={("signup", 1): contract}, commit_policy=policy)
        for offset in range(20):
            rows = [{"email": f"{offset}.{number}"} for number in range(200)]
            await bench.partition.add(offset, events(rows, contract))
        sizes.append(len(bench.ranges()))
        assert bench.partition.committed <= 20
    assert sizes[0] == 0
    assert sizes[1] >= 2
