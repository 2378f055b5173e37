"""Policies: the action of every field and label, the version that tells two apart, and reasons without a value."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.series import SERIES_CONTEXT
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.key_names import table
from streamgauge.schemas.names import ALIASES, free_label
from streamgauge.schemas.privacy import UNDECLARED, compile_policy, findings, label_action, rules_version
from streamgauge.schemas.stock_classes import STOCK, by_group, stock_class

VISIT = Contract(
    "visit",
    1,
    {
        "page": Field("dimension"),
        "email": Field("dimension", optional=True),
        "client_address": Field("dimension", optional=True),
        "gender": Field("dimension", values=("f", "m", "x")),
        "born": Field("dimension", generalise="date"),
        "seconds": Field("measure", "number", "s"),
        "person": Field("unique"),
        "visit_id": Field("idempotency_key"),
        "remark": Field("free_text"),
        "note": Field("dropped"),
    },
)


def test_every_field_has_an_action() -> None:
    policy = compile_policy(VISIT)
    assert {name: (one.kind, one.rule) for name, one in policy.actions.items()} == {
        "page": ("scan", ""),
        "email": ("replace", "email"),
        "client_address": ("generalise", "ip_prefix"),
        "gender": ("closed", ""),
        "born": ("generalise", "date"),
        "seconds": ("number", ""),
        "person": ("pseudonym", ""),
        "visit_id": ("pseudonym", ""),
        "remark": ("drop", "free_text"),
        "note": ("drop", "dropped"),
    }
    assert policy.action("shoe_size") is UNDECLARED
    assert all(one.why for one in policy.actions.values())


def test_free_text_is_scanned_and_people_have_tokens_where_single_events_are_kept() -> None:
    remarks = {"remark": Field("free_text"), "user_email": Field("free_text")}
    single = replace(VISIT, fields={**VISIT.fields, **remarks}, store_events=True)
    policy = compile_policy(single)
    assert (policy.action("remark").kind, policy.action("user_email").rule) == ("scan", "email")
    assert "remark: scan: free text; kept with each event after the detectors, never a label" in policy.explain()
    assert "as a token under the key of its day" in policy.action("person").why
    assert "token" not in policy.action("visit_id").why
    assert policy.version != compile_policy(VISIT).version


def test_the_policy_explains_itself_without_a_value_of_a_closed_set() -> None:
    lines = list(compile_policy(replace(VISIT, fields={"plan": Field("dimension", values=("tin", "gold"))})).explain())
    assert lines == ["plan: closed: a closed set of values, reviewed with the contract"]
    lines = list(compile_policy(VISIT).explain())
    assert lines[1] == "email: replace email: its name speaks of an e-mail address"
    assert lines[2].startswith("client_address: generalise ip_prefix: the conventions know client.address")


def test_a_version_is_the_same_for_the_same_and_another_for_anything_else() -> None:
    version = compile_policy(VISIT).version
    assert version == compile_policy(replace(VISIT, fields=dict(VISIT.fields))).version
    others = [
        compile_policy(VISIT, "detectors 2"),
        compile_policy(replace(VISIT, version=2)),
        compile_policy(replace(VISIT, fields={**VISIT.fields, "page": Field("unique")})),
        compile_policy(replace(VISIT, fields={**VISIT.fields, "born": Field("dimension")})),
        compile_policy(replace(VISIT, residency=("eu",))),
    ]
    assert len({version, *(one.version for one in others)}) == 1 + len(others)
    assert rules_version() != rules_version("detectors 2")
    assert version.startswith("p1-")
    assert len(version) == 19


def test_a_version_is_the_same_in_every_process() -> None:
    program = (
        "from streamgauge.schemas.privacy import compile_policy; from streamgauge.schemas.contracts import Contract, Field; "
        "print(compile_policy(Contract('visit', 1, {'page': Field('dimension'), 'email': Field('unique')})).version)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_whoever_declares_a_dimension_that_will_not_arrive_as_sent_is_told() -> None:
    said = list(findings(VISIT))
    assert [line.partition(":")[0] for line in said] == ["fields.email", "fields.client_address", "fields.remark"]
    assert "every value becomes [email]" in said[0]
    assert "unless the contract has store_events" in said[2]
    single = replace(VISIT, fields={"remark": Field("free_text"), "password": Field("free_text")}, store_events=True)
    (lost,) = findings(single)
    assert lost.startswith("fields.password: ")
    assert "becomes [secret]" in lost


def attributes() -> list[str]:
    """Every attribute of the installed edition of OpenTelemetry's conventions."""
    found: set[str] = set()
    for base in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
        package = importlib.import_module(base)
        for module in pkgutil.iter_modules(package.__path__):
            named = vars(importlib.import_module(f"{base}.{module.name}"))
            found |= {value for key, value in named.items() if key.isupper() and isinstance(value, str)}
    return sorted(found)


def test_an_attribute_has_one_class_in_every_spelling_that_reaches_a_worker() -> None:
    known = attributes()
    assert len(known) > 400
    for name in known:
        assert label_action(name) == label_action(free_label(name)) == label_action(name.upper())


PEOPLE = (
    "user.id user.name user.email user.full_name user.hash enduser.id enduser.pseudo.id enduser.scope client.address "
    "source.address net.peer.ip net.sock.peer.addr network.peer.address http.client_ip url.full url.query url.original "
    "url.fragment http.url http.target http.user_agent user_agent.original session.id session.previous_id device.id "
    "app.installation.id geo.location.lat geo.location.lon geo.locality.name geo.postal_code host.mac db.statement "
    "db.query.text db.connection_string exception.message exception.stacktrace error.message graphql.document "
    "process.command_line process.command_args process.owner process.user.name messaging.kafka.message.key log.record.original "
    "gen_ai.prompt gen_ai.completion gen_ai.input.messages tls.client.subject tls.client.certificate db.user"
)
MACHINES = (
    "service.name service.version service.instance.id service.namespace host.name host.id host.arch host.type k8s.pod.name "
    "k8s.namespace.name k8s.deployment.name k8s.node.name container.id container.image.name cloud.region cloud.account.id "
    "deployment.environment.name http.route http.request.method http.response.status_code url.scheme url.template "
    "server.address server.port network.protocol.name error.type exception.type db.system.name db.operation.name "
    "db.collection.name rpc.method rpc.service messaging.system messaging.destination.name faas.name process.pid "
    "telemetry.sdk.language thread.name user_agent.name user_agent.version user.roles geo.country.iso_code os.type "
    "gen_ai.token.type gen_ai.request.max_tokens gen_ai.usage.input_tokens feature_flag.key code.function.name"
)


@pytest.mark.parametrize("name", PEOPLE.split())
def test_attributes_of_people_and_free_texts_are_replaced_or_made_coarse(name: str) -> None:
    assert label_action(name).kind in {"replace", "generalise"}


@pytest.mark.parametrize("name", [*MACHINES.split(), *SERIES_CONTEXT, *ALIASES, *ALIASES.values()])
def test_attributes_of_machines_and_programs_are_scanned_only(name: str) -> None:
    assert label_action(name).kind == "scan"


@pytest.mark.parametrize(
    ("name", "kind", "rule"),
    [
        ("http.request.header.authorization", "replace", "secret"),
        ("http.request.header.x_custom", "replace", "header"),
        ("http_request_header_user_agent", "generalise", "user_agent"),
        ("http.response.header.content_type", "scan", ""),
        ("rpc.grpc.request.metadata.my_key", "replace", "header"),
        ("user.nickname_of_the_dog", "replace", "user"),
        ("user_tier", "scan", ""),
        ("user_count", "scan", ""),
        ("userAgent", "generalise", "user_agent"),
        ("clientSocketAddress", "generalise", "ip_prefix"),
        ("db.query.parameter.0", "replace", "text"),
        ("k8s.pod.annotation.owner_email", "replace", "email"),
        ("geo.country.iso_code", "scan", ""),
        ("geo.city", "replace", "location"),
    ],
)
def test_the_longest_fitting_class_counts_and_a_name_that_speaks_of_people_is_heard_below_wildcards(
    name: str, kind: str, rule: str
) -> None:
    assert (label_action(name).kind, label_action(name).rule) == (kind, rule)


def test_every_rule_of_names_has_words_for_people() -> None:
    said = {rule: label_action(" ".join(words[0])).why for rule, words in table().items()}
    assert all(f"speaks of {rule}" not in why for rule, why in said.items())
    assert len(said) == 17


def test_no_attribute_has_two_classes() -> None:
    named = [one.attribute for one in STOCK]
    assert sorted(set(named)) == sorted(named)
    assert sum(map(len, by_group().values())) == len(STOCK)
    assert stock_class("shoe_size") is None


@given(st.text(max_size=60))
def test_any_name_of_a_label_has_an_action_and_a_reason(name: str) -> None:
    action = label_action(name)
    assert action.kind in {"replace", "generalise", "scan"}
    assert action.why
    assert action.rule or action.kind == "scan"
