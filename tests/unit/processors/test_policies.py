"""Policies at work: what a worker makes of names, classes and regions, and that everything it takes away is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamgauge.processors.accumulator import Accumulator, Place
from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.detectors import DETECTORS, standard_rules
from streamgauge.processors.keyring import ring_of
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.residency import Residency
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.processors.tools import Tools
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack_strings
from streamgauge.schemas.privacy import Action, compile_policy
from tests.unit.processors.raw import (
    KEY,
    NOW,
    ORDER,
    PLACE,
    Sample,
    accumulated,
    always,
    committed,
    events,
    metrics,
    never,
    tools,
)
from tests.unit.processors.totals import Totals

CARD = "4111111111111111"
SIGNUP = Contract(
    "signup",
    1,
    {
        "plan": Field("dimension", optional=True),
        "email": Field("dimension", optional=True),
        "address": Field("dimension", optional=True, generalise="ip_prefix"),
        "age": Field("dimension", optional=True, generalise="age_band"),
        "country_of_birth": Field("dimension", optional=True, generalise="country"),
        "remark": Field("free_text", optional=True),
        "gender": Field("dimension", values=("f", "m", "x"), optional=True),
    },
)
EU = Tools(Scrubber(), DistinctHasher(KEY, "eu"), residency=Residency("eu", ("uk", "test-*")))


def totals(*messages: bytes, with_tools: Tools | None = None, contract: Contract = SIGNUP) -> Totals:
    """What becomes of messages."""
    contracts = {(contract.name, contract.version): contract}
    return Totals().read(committed(messages, with_tools=with_tools, contracts=contracts)[0])


def series(found: Totals) -> set[tuple[tuple[str, str], ...]]:
    """The labels of every series, without the service."""
    return {tuple(pair for pair in labels if pair[0] != "service") for labels in found.labels.values()}


def test_fields_become_what_the_policy_says_and_everything_is_counted() -> None:
    row = {"plan": "gold", "email": "Zelda", "address": "203.0.113.77", "age": "37", "remark": "call me", "gender": "f"}
    found = totals(
        events([row, {**row, "address": "203.0.113.9"}, {**row, "address": "somewhere", "remark": None}], SIGNUP)
    )
    shared = {"plan": "gold", "email": "[email]", "age": "35-44", "gender": "f"}
    assert series(found) == {
        tuple(sorted({**shared, "address": "203.0.113.0/24"}.items())),
        tuple(sorted({**shared, "address": "[unknown]"}.items())),
    }
    assert found.ledger[0].scrubbed == {"email": 3, "ip_prefix": 2, "unknown_value": 1, "age_band": 3, "free_text": 2}
    assert {cell.count for cell in found.cells.values()} == {2, 1}


def test_what_arrives_for_a_country_is_a_country_or_unknown() -> None:
    found = totals(
        events([{"country_of_birth": "nz"}, {"country_of_birth": "203.0.113.77"}, {"country_of_birth": None}], SIGNUP)
    )
    assert series(found) == {(("country_of_birth", "NZ"),), (("country_of_birth", "[unknown]"),), ()}


def test_undeclared_fields_are_dropped_and_counted() -> None:
    found = totals(events([{"plan": "gold"}] * 3, SIGNUP, ssn=pack_strings(["078-05-1120"] * 3)))
    assert series(found) == {(("plan", "gold"),)}
    assert found.ledger[0].scrubbed == {"unknown_field": 3}


LOGINS = MetricHead(
    "logins", "counter", "", ("user_email", "client.address", "url_full", "session_minutes", "db_statement")
)


def test_labels_of_metrics_have_stock_classes_whatever_the_metric_declares() -> None:
    values = (
        "zelda",
        "2001:db8:1:2::77",
        "https://z:pw@shop.example/a?page=1&token=abc",
        "15",
        "SELECT 1 FROM t WHERE name = 'zelda'",
    )
    found = totals(metrics([Sample(LOGINS, values, NOW, 3)], {"service": "shop"}))
    assert series(found) == {
        (
            ("client.address", "2001:db8:1::/48"),
            ("db_statement", "[text]"),
            ("session_minutes", "15"),
            ("url_full", "https://shop.example/a?page=1&token=REDACTED"),
            ("user_email", "[email]"),
        )
    }
    assert found.ledger[0].scrubbed == {"email": 1, "ip_prefix": 1, "url_query": 1, "text": 1}


def test_what_a_coarse_url_still_holds_is_scanned() -> None:
    head = MetricHead("calls", "counter", "", ("url_full",))
    found = totals(metrics([Sample(head, ("/people/zelda@example.com?ip=203.0.113.77",), NOW)], {}))
    assert series(found) == {(("url_full", "/people/[email]?ip=REDACTED"),)}


def test_a_label_whose_own_name_is_personal_goes_and_its_points_stay() -> None:
    head = MetricHead("orders", "counter", "", (f"card_{CARD}", "page"))
    found = totals(metrics([Sample(head, (str(number), "/"), NOW, 2, 5.0) for number in range(4)], {}))
    assert series(found) == {(("page", "/"),)}
    ((metric, *_), cell) = next(iter(found.cells.items()))
    assert (metric, cell.count, cell.sum) == ("orders", 8, 20.0)
    assert found.ledger[0].scrubbed == {"personal_name": 4}
    assert all(one.labels == ("page",) for _, message in found.messages for one in message.metrics)


PERSONAL = [
    f"logins_of_{CARD}",
    "card_4111_1111_1111_1111",
    "calls.203.0.113.77",
    "host_203_0_113_77",
    "mail_to_zelda_at_example_com",
    "logins.zelda_fitzgerald_at_mail_shop_co_uk",
    "zelda_gmail_com",
]
ORDINARY = [
    "http_requests_total", "p99_latency_ms", "requests_2xx", "bytes_1_2_3_4", "v1_2_3", "orders_at_example_shop",
    "wait_at_disk_io", "rate_at_peak_us", "look_at_me_in",
    "password_resets_total",
    "latency_bucket_10_20_30_40", "sum_1790000000000", "job_2024_01_15", "user_emails_sent",
]  # fmt: skip


@pytest.mark.parametrize("name", PERSONAL)
def test_a_metric_whose_name_holds_personal_data_is_refused_and_not_shown(name: str) -> None:
    bad, good = MetricHead(name, "counter", "", ()), MetricHead("logins", "counter", "", ())
    accumulator = accumulated([metrics([Sample(bad, (), NOW, 7), Sample(good, (), NOW, 2)])])
    assert accumulator.refused == {"personal_name": 7}
    assert accumulator.points == 2
    assert [one.name for one in accumulator.metrics.metrics] == ["logins"]
    (letter,) = accumulator.dead
    assert letter.reason == "personal_name"
    assert {row.metric for row in letter.sample} == {"[personal_name]"}
    assert name not in repr(letter)


@pytest.mark.parametrize("name", PERSONAL)
def test_an_event_whose_name_holds_personal_data_is_refused_at_once_and_not_shown(name: str) -> None:
    accumulator = Accumulator(PLACE, tools())
    contract = Contract(name, 1, {})
    assert accumulator.add(0, events([{}, {}], contract), {}, NOW, always), "nobody waits for its contract"
    assert accumulator.refused == {"personal_name": 2}
    assert name not in repr(accumulator.dead)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_are_not_personal(name: str) -> None:
    assert not Cleaner(Scrubber()).personal(name)


def test_a_letter_shows_fields_and_labels_as_the_policy_lets_them_be_seen() -> None:
    old = NOW - 30 * 86_400_000
    row = {"time": old, "email": "Zelda", "address": "203.0.113.77", "remark": "call me", "plan": "gold"}
    contracts = {("signup", 1): SIGNUP}
    (letter,) = accumulated([events([row], SIGNUP)], contracts=contracts).dead
    assert letter.sample[0].fields == {"plan": "gold", "email": "[email]", "address": "203.0.113.0/24"}
    head = MetricHead("logins", "counter", "", ("user_email", f"card_{CARD}"))
    (letter,) = accumulated([metrics([Sample(head, ("zelda", "1"), old)])]).dead
    assert letter.sample[0].fields == {"count": 1.0, "sum": 1.0, "user_email": "[email]"}


# regions


@pytest.mark.parametrize(
    ("region", "accepted"),
    [
        ("eu", True),
        ("", True),
        ("eu-west-1", True),
        ("uk", True),
        ("test-9", True),
        ("us", False),
        ("europe", False),
        ("uk-1", False),
    ],
)
def test_a_batch_of_another_region_is_refused_and_counted(region: str, accepted: bool) -> None:
    context = {"service": "shop", "region": region}
    head = MetricHead("orders", "counter", "", ("page",))
    for message in (events([{"plan": "a"}] * 3, SIGNUP, context), metrics([Sample(head, ("/",), NOW, 3)], context)):
        found = totals(message, with_tools=EU)
        assert (found.points, found.refused["wrong_region"]) == ((3, 0) if accepted else (0, 3))
        assert accepted or (found.dead[0].reason, found.dead[0].sample) == ("wrong_region", ())


def test_other_spellings_of_a_region_are_regions() -> None:
    found = totals(events([{}], SIGNUP, {"cloud.region": "us-east-1"}), with_tools=EU)
    assert found.refused == {"wrong_region": 1}


def test_a_batch_of_another_region_waits_for_no_contract() -> None:
    accumulator = Accumulator(Place("eu", "raw", 0), EU)
    assert accumulator.add(0, events([{}], SIGNUP, {"region": "us"}), {}, NOW, always)
    assert not accumulator.add(1, events([{}], SIGNUP, {"region": "eu"}), {}, NOW, always)


def test_points_that_say_that_they_are_of_another_region_are_refused_and_the_others_counted() -> None:
    head = MetricHead("orders", "counter", "", ("page", "region"))
    found = totals(
        metrics([Sample(head, ("/", one), NOW, 2) for one in ("eu", "us", "")], {"region": "eu"}), with_tools=EU
    )
    assert (found.points, found.refused) == (4, {"wrong_region": 2})


@pytest.mark.parametrize(
    ("residency", "accepted"), [(("region",), True), (("eu",), True), (("uk", "eu"), True), (("us",), False)]
)
def test_a_contract_says_which_regions_may_process_it(residency: tuple[str, ...], accepted: bool) -> None:
    found = totals(events([{"plan": "a"}], SIGNUP), with_tools=EU, contract=replace(SIGNUP, residency=residency))
    assert found.refused == ({} if accepted else {"wrong_region": 1})


def test_a_laptop_accepts_every_region_and_a_server_its_own() -> None:
    def residency(**settings: Any) -> Residency:
        return ProcessorSettings(**settings).residency()

    assert residency().accepts("us-east-1")
    assert residency(region="eu", embedded=True).accepts("us-east-1")
    assert not residency(region="eu").accepts("us-east-1")
    assert residency(region="eu", data_regions=("us-*",)).accepts("us-east-1")


# costs


def test_names_and_values_are_looked_at_once() -> None:
    seen: list[str] = []

    class Counting(Scrubber):
        def value(self, text: str, hint: str = "") -> tuple[str, tuple[str, ...]]:
            seen.append(text)
            return super().value(text, hint)

    cleaner = Cleaner(Counting())
    for _ in range(5):
        assert cleaner.label("url_full", "/a?page=1") == ("/a?page=1", ())
        assert not cleaner.personal("p99_latency")
    assert cleaner.policy(SIGNUP) is cleaner.policy(SIGNUP)
    assert seen.count("/a?page=1") == 1
    assert seen.count("p99_latency") == 1


def test_nothing_waits_for_ever_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_NAMES", "MAX_COARSE", "MAX_POLICIES"):
        monkeypatch.setattr(f"streamgauge.processors.cleaner.{limit}", 3)
    cleaner = Cleaner(Scrubber())
    kept = [replace(SIGNUP, version=number) for number in range(1, 20)]
    for contract in kept:
        cleaner.policy(contract)
        cleaner.personal(f"name_{contract.version}")
        cleaner.label(f"label_{contract.version}", "x")
        cleaner.label("client_address", f"203.0.{contract.version}.1")
    sizes = [len(getattr(cleaner, name)) for name in ("_labels", "_names", "_policies", "_coarse")]
    assert max(sizes) <= 3
    cleaner.forget()
    assert not any(getattr(cleaner, name) for name in ("_labels", "_names", "_coarse"))
    assert never(("signup", 1)) is False


def test_a_transaction_names_the_policies_that_applied_and_no_others() -> None:
    (_, nothing), (_, labels), (_, both) = (
        committed(messages)
        for messages in (
            [b"{"],
            [metrics([Sample(MetricHead("hits", "counter", "", ("route",)), ("/a",), NOW)])],
            [
                metrics([Sample(MetricHead("hits", "counter", "", ("route",)), ("/a",), NOW)]),
                events([{"country": "NZ"}]),
            ],
        )
    )
    cleaner = Cleaner(Scrubber())
    assert nothing.policies == ()
    assert labels.policies == (cleaner.label_policy,)
    assert both.policies == tuple(
        sorted([cleaner.label_policy, compile_policy(ORDER, standard_rules().edition).version])
    )
    assert Cleaner(Scrubber(detectors=DETECTORS[1:])).label_policy != cleaner.label_policy
    assert Cleaner(Scrubber(detectors=DETECTORS)).label_policy == cleaner.label_policy


class OutOfMeans(Scrubber):
    """Cannot check anything in the first batch."""

    means = False

    def value(self, text: str, hint: str = "") -> tuple[str, tuple[str, ...]]:
        return (text, ()) if self.means else ("[unchecked]", ("unchecked",))


def test_what_a_batch_had_no_means_to_check_is_dropped_there_and_looked_at_again_with_the_next() -> None:
    scrubber = OutOfMeans()
    cleaner = Cleaner(scrubber)
    url = Action("generalise", "url")
    assert cleaner.personal("hits")
    assert cleaner.value(url, "https://example.com/a")[1] == ("unchecked",)
    scrubber.means = True
    assert not cleaner.personal("hits")
    assert cleaner.value(url, "https://example.com/a") == ("https://example.com/a", ())


def test_with_its_ring_a_worker_changes_what_it_remembers_of_values() -> None:
    own = tools()
    own.scrubber.value("blameless")
    own.cleaner.label("client.address", "203.0.113.9")
    own.hasher.hashes("order.customer", "", ["c-1"], NOW)
    remembered = repr([vars(own.scrubber), vars(own.cleaner), vars(own.hasher)])
    assert all(one in remembered for one in ("blameless", "203.0.113.9", "c-1"))
    own.use(ring_of(bytes(range(1, 33))), NOW)
    remembered = repr([vars(own.scrubber), vars(own.cleaner), vars(own.hasher)])
    assert not any(one in remembered for one in ("blameless", "203.0.113.9", "c-1"))


@pytest.mark.parametrize(
    ("deployment", "own", "other"),
    [
        ("apac", ("ap-southeast-2", "asia-east1", "australia-southeast1"), ("us-east-1", "eu-west-1", "apacific")),
        ("emea", ("eu-west-1", "europe-west4", "me-central-1", "af-south-1"), ("us-east-1", "ap-south-1")),
        ("amer", ("us-east-1", "sa-east-1", "northamerica-northeast1"), ("eu-west-1",)),
        ("eu", ("eu-west-1", "europe-west4"), ("me-central-1", "us-east-1", "e", "europewest")),
        ("north", ("north-1",), ("south", "eu-west-1", "nort")),
    ],
)
def test_zones_of_the_part_of_the_world_that_a_deployment_is_named_after_are_its_own(
    deployment: str, own: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assert [one for one in own if not Residency(deployment).accepts(one)] == []
    assert [one for one in other if Residency(deployment).accepts(one)] == []
