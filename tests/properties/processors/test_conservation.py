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
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.tools import Tools
from streamgauge.schemas.batches import MetricHead
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

words = st.sampled_from(["", "AU", "gold", "37", "curl/8.4", *CANARIES])


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """A field as a policy may declare it, that any text may fill."""
    kind = draw(st.sampled_from(["dimension", "dimension", "generalised", "unique", "free_text", "dropped"]))
    if kind == "generalised":
        return Field("dimension", optional=True, generalise=draw(st.sampled_from(GENERALISE_RULES)))
    return Field(kind, optional=True)


contracts = st.dictionaries(st.sampled_from([one for one in LABELS if "4111" not in one]), fields(), max_size=6).map(
    lambda chosen: Contract("visit", 1, {**chosen, "amount": Field("measure", "number", "1", optional=True)})
)
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
    # and a series holds what its policy lets it hold
    policy = compile_policy(contract)
    for labels in found.labels.values():
        for name, value in labels:
            if policy.action(name).kind in {"replace", "generalise"} and policy.action(name).rule != "url":
                assert not any(canary in value for canary in CANARIES)
        assert {name for name, _ in labels} <= {*contract.of_kind("dimension"), *context}


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
