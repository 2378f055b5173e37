from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.contracts import RESERVED_COLUMNS
from streamgauge.schemas.names import label_name, label_values, metric_name


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("http.route", "operation"),
        ("endpoint", "operation"),
        ("http.response.status_code", "status"),
        ("error.type", "error_type"),
        ("tenant.id", "tenant"),
        ("http.request.method", "method"),
        ("messaging.system", "messaging_system"),
        ("service.name", "service_name"),  # a point cannot say that another service sends it
        ("host.id", "host_id"),
        ("service", "exported_service"),
        ("value", "exported_value"),
        ("__name__", "exported___name__"),
        ("2xx", "_2xx"),
        ("größe", "gr__e"),
        ("", "_"),
    ],
)
def test_an_attribute_becomes_its_column_or_a_word(foreign: str, ours: str) -> None:
    assert label_name(foreign) == ours


@given(st.text())
def test_whatever_it_is_called_it_becomes_a_name_that_may_be_declared(text: str) -> None:
    for name in (label_name(text), metric_name(text)):
        assert name.isidentifier()
        assert name.isascii()
        assert len(name) <= 200
    assert label_name(text) not in RESERVED_COLUMNS
    assert not label_name(text).startswith("__")


def test_a_long_hidden_name_stays_within_the_bound_and_itself() -> None:
    assert len(label_name("__" + "x" * 198)) == 200
    assert label_name("__" + "x" * 198) != label_name("__" + "x" * 197 + "y")


def test_an_instrument_keeps_its_words_in_lower_case() -> None:
    assert metric_name("HTTP.Server/Request-Duration") == "http_server_request_duration"


def test_long_names_that_begin_alike_stay_two_names() -> None:
    assert metric_name("x" * 300) != metric_name("x" * 301)
    assert label_name("x" * 300) != label_name("x" * 299 + "y")


def test_attributes_that_become_one_label_are_joined_in_a_fixed_order() -> None:
    pairs = [("db_system", "b"), ("db.system", "a"), ("x", "1")]

    assert label_values(pairs) == label_values(pairs[::-1]) == {"db_system": "a;b", "x": "1"}


def test_an_address_in_a_name_stays_recognisable() -> None:
    assert metric_name("logins.of.Bob@Example.com") == "logins_of_bob_at_example_com"
