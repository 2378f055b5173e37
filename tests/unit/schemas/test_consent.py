"""What a person has granted: which events it lets through, and how it travels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.consent import (
    LEGAL_BASES,
    NOTHING_GRANTED,
    SHARING,
    Consent,
    consent_of,
    denial,
    is_gated,
    pack_consents,
)
from streamgauge.schemas.contracts import Contract, Field, parse_contract
from streamgauge.schemas.decoding import EventBatch, decode
from streamgauge.schemas.errors import ContractError, DeclarationError
from streamgauge.schemas.packing import pack
from tests.unit.processors.raw import events

PURPOSES = st.sampled_from(["analytics", "advertising", "fraud", "research_2"])
CONSENTS = st.builds(
    Consent,
    st.frozensets(PURPOSES),
    st.booleans(),
    st.sampled_from(["", "3", "tc v2"]),
    st.sampled_from(["", *LEGAL_BASES]),
)


@pytest.mark.parametrize(
    ("purposes", "basis", "consent", "expected"),
    [
        (["analytics"], "", NOTHING_GRANTED, ""),
        (["analytics"], "contract", NOTHING_GRANTED, ""),
        (["analytics"], "consent", NOTHING_GRANTED, "no_consent:analytics"),
        (["analytics"], "consent", Consent(frozenset({"analytics"})), ""),
        (["analytics"], "consent", Consent(frozenset({"advertising"})), "no_consent:analytics"),
        (["analytics", "advertising"], "consent", Consent(frozenset({"analytics"})), "no_consent:advertising"),
        (["advertising"], "consent", Consent(frozenset({"advertising"}), gpc=True), "gpc:advertising"),
        (["advertising"], "legitimate_interests", Consent(gpc=True), "gpc:advertising"),
        (["advertising"], "legitimate_interests", NOTHING_GRANTED, ""),
        (["analytics"], "consent", Consent(frozenset({"analytics"}), gpc=True), ""),
        (["analytics"], "contract", Consent(legal_basis="consent"), "other_legal_basis:consent"),
        (["analytics"], "contract", Consent(legal_basis="contract"), ""),
    ],
)
def test_what_is_granted_decides(purposes: list[str], basis: str, consent: Consent, expected: str) -> None:
    assert denial(purposes, basis, consent) == expected


@given(st.lists(PURPOSES, min_size=1), st.sampled_from(["", *LEGAL_BASES]), CONSENTS)
def test_a_contract_that_is_not_gated_lets_everybody_through_who_names_no_other_ground(
    purposes: list[str], basis: str, consent: Consent
) -> None:
    if not is_gated(purposes, basis) and not consent.legal_basis:
        assert denial(purposes, basis, consent) == ""
    if basis == "consent":
        assert (denial(purposes, basis, consent) == "") == (
            set(purposes) <= consent.purposes
            and not (consent.gpc and SHARING & set(purposes))
            and consent.legal_basis in {"", "consent"}
        )


@given(st.lists(st.none() | CONSENTS, min_size=1, max_size=300))
def test_consents_come_out_as_they_went_in(given_: list[Consent | None]) -> None:
    batch = decode(events([{"country": "NZ"}] * len(given_), consent_column=pack_consents(given_)))
    assert isinstance(batch, EventBatch)
    found = batch.consents
    assert found is not None
    assert [found[0][place] for place in found[1]] == given_


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        [],
        {"purposes": "analytics"},
        {"purposes": ["Analytics!"]},
        {"purposes": [3]},
        {"purposes": ["a"] * 3, "gpc": 1},
        {"purposes": [f"p{n}" for n in range(17)]},
        {"version": 3},
        {"version": "x" * 65},
        {"legal_basis": "because"},
    ],
)
def test_what_cannot_be_read_grants_nothing(body: Any) -> None:
    assert consent_of(body) is None


def test_a_column_of_another_shape_grants_nothing_to_anybody() -> None:
    yes = {"purposes": ["analytics"]}
    wrong: list[Any] = [
        7,
        {"d": yes},
        {"d": [yes], "i": pack("u1", [1, 0])},
        {"d": [yes], "i": pack("u1", [0])},
        {"analytics": True},
    ]
    for column in wrong:
        batch = decode(events([{"country": "NZ"}] * 2, consent_column=column))
        assert isinstance(batch, EventBatch)
        assert batch.consents is None


@pytest.mark.parametrize(
    "wrong", [{"purposes": "analytics"}, {"purposes": {"Marketing"}}, {"legal_basis": "vibes"}, {"version": "a\n"}]
)
def test_a_consent_that_cannot_be_one_says_so(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        Consent(**wrong)


def test_a_set_of_purposes_may_be_given_as_it_is_at_hand() -> None:
    given_: Any = ["analytics", "analytics"]
    assert Consent(given_) == Consent(frozenset({"analytics"}))


def test_a_contract_says_its_purposes_and_ground_and_keeps_them() -> None:
    contract = Contract(
        "signup", 1, {"plan": Field("dimension")}, purposes=("analytics", "advertising"), legal_basis="consent"
    )
    assert parse_contract(contract.dump()) == contract
    assert contract.all_purposes() == ("analytics", "advertising")
    assert Contract("signup", 1, {}).all_purposes() == ("analytics",)


def test_a_contract_with_an_unknown_ground_or_purpose_is_not_taken() -> None:
    text = b'{"name":"a","version":1,"fields":{},"legal_basis":"vibes","purposes":["Sell it"]}'
    with pytest.raises(ContractError) as caught:
        parse_contract(text)
    assert "vibes" in str(caught.value)
    assert "Sell it" in str(caught.value)
