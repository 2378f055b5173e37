"""Conservation: whatever policies, labels and values there are, cleaning never changes how much there is, only under what.

Every point that a batch holds is in a series afterwards, or refused under a reason; sums are those that were sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import Labels
from streamgauge.processors.tools import Tools
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.consent import Consent, pack_consents
from streamgauge.schemas.contracts import GENERALISE_RULES, Contract, Field
from streamgauge.schemas.privacy import compile_policy
from tests.properties.messages import MODERATE
from tests.unit.processors.raw import KEY, NOW, Sample, committed, events, metrics
from tests.unit.processors.totals import Totals

CANARIES = (
    "zelda.fitzgerald@example.com", "203.0.113.77", "2001:db8:aa:bb::77", "4111111111111111", "Zelda Fitzgerald", "hunter2",
    "https://zelda:hunter2@shop.example/users/zelda?token=abc123", "1987-04-12", "+61 491 570 156",
)  # fmt: skip
LABELS = (
    "page", "plan", "email", "userEmail", "client_address", "user_agent_original", "url_full", "password", "session_id",
    "label_4111111111111111", "session_minutes", "author", "country", "db_query_text", "user_id", "first_name",
)  # fmt: skip
SURE = ("email", "userEmail", "password", "session_id", "db_query_text", "user_id", "first_name", "client_address")
"""Labels that show nothing of any value."""
METRICS = ("checkout_seconds", "logins_of_4111111111111111", "password_resets_total", "calls.203.0.113.77")

YES, NO = Consent(frozenset({"analytics"})), Consent()

words = st.sampled_from(["", "AU", "gold", "37", "curl/8.4", *CANARIES])


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """A field as a policy may declare it, that any text may fill."""
    kind = draw(st.sampled_from(["dimension", "dimension", "generalised", "unique", "free_text", "dropped"]))
    if kind == "generalised":
        return Field("dimension", optional=True, generalise=draw(st.sampled_from(GENERALISE_RULES)))
    return Field(kind, optional=True)


@st.composite
def declared(draw: st.DrawFn) -> Contract:
    """A contract with any fields, whose single events are kept or not."""
    names = st.sampled_from([one for one in LABELS if "4111" not in one])
    chosen = draw(st.dictionaries(names, fields(), max_size=6))
    amount = Field("measure", "number", "1", optional=True)
    return Contract("visit", 1, {**chosen, "amount": amount}, store_events=draw(st.booleans()))


contracts = declared()
rows = st.lists(
    st.fixed_dictionaries(
        {"amount": st.none() | st.integers(-1_000, 1_000).map(float)},
        optional=dict.fromkeys((*(one for one in LABELS if "4111" not in one), "undeclared"), words),
    ),
    min_size=1,
    max_size=12,
)
contexts = st.dictionaries(st.sampled_from(["service", "tenant", "operation", "country"]), words, max_size=3)


def tools() -> Tools:
    """A worker's."""
    return Tools(Scrubber(), DistinctHasher(KEY, "local"))


def shown(found: Totals) -> str:
    """Everything that rollups name."""
    return repr([key[:2] for key in found.cells]) + repr(list(found.labels.values()))


@MODERATE
@given(contracts, rows, contexts)
def test_cleaning_changes_neither_counts_nor_sums_of_events(
    contract: Contract, sent: list[Mapping[str, Any]], context: Mapping[str, str]
) -> None:
    messages, entry = committed(
        [events(sent, contract, context)], with_tools=tools(), contracts={("visit", 1): contract}
    )
    found = Totals().read(messages)
    amounts = [row["amount"] for row in sent if row["amount"] is not None]
    by_metric: Counter[str] = Counter()
    sums: dict[str, float] = {}
    for (metric, *_), cell in found.cells.items():
        by_metric[metric] += cell.count
        sums[metric] = sums.get(metric, 0.0) + cell.sum
    assert not entry.refused
    assert by_metric["visit"] == len(sent)
    assert (by_metric["visit.amount"], sums.get("visit.amount", 0)) == (len(amounts), sum(amounts))
    assert entry.total == len(sent) + len(amounts)
    # as many are kept by themselves, where that is declared
    assert len(found.rows("labels")) == (len(sent) if contract.store_events else 0)
    # and a series holds what its policy lets it hold
    policy = compile_policy(contract)
    for labels in found.labels.values():
        for name, value in labels:
            if policy.action(name).kind in {"replace", "generalise"} and policy.action(name).rule != "url":
                assert not any(canary in value for canary in CANARIES)
        assert {name for name, _ in labels} <= {*contract.of_kind("dimension"), *context}


PEOPLE = Contract(
    "visit",
    1,
    {
        "visit_id": Field("idempotency_key"),
        "plan": Field("dimension", values=("tin", "gold"), optional=True),
        "page": Field("dimension", optional=True),
        "amount": Field("measure", "number", "1", optional=True),
        "email": Field("unique", optional=True),
        "remark": Field("free_text", optional=True),
        "note": Field("dropped", optional=True),
    },
    purposes=("analytics",),
    legal_basis="consent",
    store_events=True,
)
visits = st.fixed_dictionaries(
    {"visit_id": st.sampled_from([*"abcdefgh", None]), "amount": st.none() | st.integers(-9, 9).map(float)},
    optional={
        "plan": st.sampled_from(["tin", "gold", "lead"]),
        "page": words,
        "email": words,
        "remark": words,
        "note": words,
        "time": st.sampled_from([NOW, NOW - 70_000, NOW - 86_400_000, NOW - 30 * 86_400_000, NOW + 86_400_000]),
    },
)
batches = st.lists(st.tuples(visits, st.sampled_from([YES, NO, None])), min_size=1, max_size=8)


@MODERATE
@given(st.lists(batches, min_size=1, max_size=4), contexts, st.integers(1, 5))
def test_exactly_the_rows_that_count_are_kept_as_single_events(
    sent: list[list[tuple[Mapping[str, Any], Consent | None]]], context: Mapping[str, str], days: int
) -> None:
    raw = [
        events([row for row, _ in batch], PEOPLE, context, consent_column=pack_consents([one for _, one in batch]))
        for batch in sent
    ]
    policy = OutputPolicy(max_bytes=2_000, max_parts=days)
    messages, entry = committed([*raw, raw[0]], contracts={("visit", 1): PEOPLE}, policy=policy)
    found = Totals().read(messages)
    # as many in each series and window as its count there, and no measure more or less
    cells = Counter[tuple[Labels, int]]()
    for (metric, labels, _, window), cell in found.cells.items():
        if metric == "visit":
            cells[labels, window] += cell.count
    times = [at for _, one in found.single for at in one.times.tolist()]
    kept = zip(found.rows("labels"), times, strict=True)
    assert Counter((tuple(sorted(labels.items())), (at - at % 10_000) // 1000) for labels, at in kept) == cells
    measured = [row["amount"] for row in found.rows("measures") if row]
    amounts = [cell for (metric, *_), cell in found.cells.items() if metric == "visit.amount"]
    assert (len(measured), sum(measured)) == (sum(one.count for one in amounts), sum(one.sum for one in amounts))
    assert entry.events == len(times)
    # every token is that of somebody who is counted, and nothing says who
    hashes = {one for seen in found.distinct.values() for one in seen}
    assert len({row["email"] for row in found.rows("pseudonyms") if row}) == len(hashes)
    for output, _ in found.single:
        assert b"example.com" not in output.value
        assert b"4111111111111111" not in output.value
    for _, one in found.single:
        assert len(set((one.times // 86_400_000).tolist())) <= days
        assert not one.texts.keys() - {"remark"}
        assert not one.pseudonyms.keys() - {"email"}


heads = st.builds(
    MetricHead,
    st.sampled_from(METRICS),
    st.just("counter"),
    st.sampled_from(["", "s", "jane@example.com"]),
    st.lists(st.sampled_from(LABELS), unique=True, max_size=4).map(tuple),
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Points of any metric with any labels."""
    head = draw(heads)
    values = tuple(draw(words) for _ in head.labels)
    return Sample(
        head, values, NOW - draw(st.sampled_from([0, 10_000])), draw(st.integers(1, 9)), draw(st.integers(0, 99))
    )


@MODERATE
@given(st.lists(samples(), min_size=1, max_size=12, unique_by=lambda one: (one.head, one.labels, one.window)), contexts)
def test_cleaning_changes_neither_counts_nor_sums_of_metrics(sent: list[Sample], context: Mapping[str, str]) -> None:
    messages, entry = committed([metrics(sent, context)], with_tools=tools())
    found = Totals().read(messages)
    personal = [one for one in sent if "4111" in one.head.name or "203" in one.head.name]
    kept = [one for one in sent if one not in personal]
    assert sum(cell.count for cell in found.cells.values()) == sum(one.count for one in kept)
    assert sum(cell.sum for cell in found.cells.values()) == sum(one.sum for one in kept)
    assert +Counter(entry.refused) == +Counter(personal_name=sum(one.count for one in personal))
    assert "4111" not in shown(found)
    assert "example.com" not in repr([one.metrics for _, one in found.messages])
    for labels in found.labels.values():
        assert not any(canary in value for name, value in labels if name in SURE for canary in CANARIES)


@MODERATE
@given(st.sampled_from(LABELS), st.one_of(words, st.text(max_size=60), st.lists(words, max_size=3).map("&a=".join)))
def test_cleaning_twice_is_cleaning_once_and_two_workers_agree(name: str, value: str) -> None:
    cleaner = Cleaner(Scrubber())
    once, _ = cleaner.label(name, value)
    assert cleaner.label(name, once)[0] == once
    assert Cleaner(Scrubber()).label(name, value)[0] == once


@MODERATE
@given(st.lists(samples(), min_size=2, max_size=8))
def test_series_that_become_equal_merge_exactly(sent: list[Sample]) -> None:
    head = MetricHead("logins", "counter", "", ("user_email", "page"))
    people = [
        Sample(head, (f"person{number}@example.com", "/"), NOW, one.count, one.sum) for number, one in enumerate(sent)
    ]
    found = Totals().read(committed([metrics(people)], with_tools=tools())[0])
    ((metric, labels, *_), cell) = next(iter(found.cells.items()))
    assert (len(found.cells), metric, dict(labels)["user_email"]) == (1, "logins", "[email]")
    assert (cell.count, cell.sum) == (sum(one.count for one in sent), sum(one.sum for one in sent))
