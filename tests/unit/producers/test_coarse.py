"""Coarse fields: what is precise stays in the process, whoever helps to make it coarse."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from streamgauge.processors.testing import rolled_up
from streamgauge.producers.coarse import coarsen_by
from streamgauge.producers.event_rows import EventValueError
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.contracts import Field
from streamgauge.schemas.errors import DeclarationError
from streamgauge.schemas.events import Event, FreeText, Generalised, by, contract_of, resolvers_of
from streamgauge.schemas.generalise import UNKNOWN


def country_of(address: str) -> str:
    """As an application resolves addresses."""
    if address == "0.0.0.0":
        raise LookupError(address)
    return {"203.0.113.77": "jp", "198.51.100.9": ""}.get(address, "Atlantis")


class SignedUp(Event):
    """Somebody opened an account."""

    network: Generalised[str | None, by("ip_prefix")] = None
    came_from: Generalised[str | None, by("country", country_of)] = None
    named_country: Generalised[str | None, by("country")] = None
    born: Generalised[date | None, by("date")] = None
    age: Generalised[int | None, by("age_band")] = None
    client: Generalised[str | None, by("user_agent")] = None
    page: Generalised[str | None, by("url")] = None
    remark: FreeText[str | None] = None


def sent(**values: Any) -> tuple[bytes, dict[str, str], dict[str, int]]:
    """What one event leaves: the bytes that travel, its labels after the worker, and what was scrubbed."""
    producer, transport, _ = captured_producer()
    producer.emit(SignedUp(**values), at_ms=1_790_000_000_000)
    producer.flush()
    found = rolled_up(transport, SignedUp)
    (row,) = found.of("signed_up")
    declared = contract_of(SignedUp).fields
    return (
        b"".join(one.value for one in transport.delivered if "events" in one.topic),
        {name: value for name, value in row.labels.items() if name in declared},
        dict(found.scrubbed),
    )


@pytest.mark.parametrize(
    ("name", "value", "precise", "coarse"),
    [
        ("network", "203.0.113.77", b"113.77", "203.0.113.0/24"),
        ("came_from", "203.0.113.77", b"113.77", "JP"),
        ("came_from", "198.51.100.9", b"100.9", UNKNOWN),
        ("came_from", "192.0.2.1", b"Atlantis", UNKNOWN),
        ("came_from", "0.0.0.0", b"0.0.0", UNKNOWN),
        ("named_country", "nz", b'"nz"', "NZ"),
        ("named_country", "203.0.113.77", b"113.77", UNKNOWN),
        ("born", date(1987, 4, 12), b"04-12", "1987-04"),
        ("born", datetime(1987, 4, 12, 9, 30, tzinfo=UTC), b"04-12", "1987-04"),
        ("born", "1987-04-12", b"04-12", "1987-04"),
        ("age", 37, b'"37"', "35-44"),
        ("client", "curl/8.4.0 (zelda)", b"zelda", "curl"),
        ("page", "https://zelda:pw@shop.example/users/zelda?q=1", b"zelda", "https://shop.example/users/{id}"),
    ],
)
def test_only_the_coarse_value_leaves_the_process_and_the_worker_leaves_it_so(
    name: str, value: Any, precise: bytes, coarse: str
) -> None:
    travelled, labels, scrubbed = sent(**{name: value})
    assert precise not in travelled
    assert labels == {name: coarse}
    assert scrubbed == ({"unknown_value": 1} if coarse == UNKNOWN else {})


def test_a_free_text_is_counted_and_becomes_nothing() -> None:
    _, labels, scrubbed = sent(remark="call me, Zelda", age=37)
    assert labels == {"age": "35-44"}
    assert scrubbed == {"free_text": 1}


def test_a_resolver_is_asked_once_for_each_value_of_a_batch() -> None:
    asked: list[str] = []

    def resolver(address: str) -> str:
        asked.append(address)
        return "JP"

    column = coarsen_by("country", resolver)
    assert column(["a", "b", None, "a", "", "b"]) == ["JP", "JP", None, "JP", "", "JP"]
    assert sorted(asked) == ["a", "b"]
    assert coarsen_by("country", lambda _: None)(["a"]) == [UNKNOWN]  # type: ignore[arg-type, return-value]  # pyright: ignore


def test_what_is_no_text_number_or_date_is_refused() -> None:
    producer, *_ = captured_producer(strict=True)
    odd: Any = object()
    with pytest.raises(EventValueError, match="not a value of its type"):
        producer.emit(SignedUp(age=True))
    with pytest.raises(EventValueError):
        producer.emit(SignedUp(network=odd))


def test_the_contract_says_how_a_field_is_made_coarse_and_not_who_helps() -> None:
    fields = contract_of(SignedUp).fields
    assert fields["came_from"] == Field("dimension", "string", optional=True, generalise="country")
    assert fields["remark"] == Field("free_text", "string", optional=True)
    assert dict(resolvers_of(SignedUp)) == {"came_from": country_of}


def test_a_wrong_coarse_field_is_a_declaration_error() -> None:
    with pytest.raises(DeclarationError) as caught:

        class Wrong(Event):  # pyright: ignore[reportUnusedClass]
            """Everything wrong."""

            bare: Generalised[str]  # type: ignore[valid-type]  # pyright: ignore
            unknown: Generalised[str, by("hash")]
            number: Generalised[int, by("ip_prefix")]
            real: Generalised[float, by("age_band")]

    said = str(caught.value)
    assert 'fields.bare: say by which rule: Generalised[str, by("ip_prefix")]' in said
    assert "fields.unknown: say by which rule" in said
    assert "fields.number: what ip_prefix makes coarse is a str" in said
    assert "fields.real: what age_band makes coarse is a str or an int" in said


def test_purposes_legal_basis_and_residency_are_declared_with_the_class() -> None:
    class Told(Event, purposes=("analytics", "fraud"), legal_basis="consent", residency=("eu", "uk")):
        """Somebody was told."""

    contract = contract_of(Told)
    assert (contract.purpose, contract.all_purposes()) == ("analytics", ("analytics", "fraud"))
    assert (contract.legal_basis, contract.residency) == ("consent", ("eu", "uk"))
    with pytest.raises(DeclarationError, match="legal_basis: 'because' is none of consent"):

        class Untold(Event, legal_basis="because", residency=()):  # pyright: ignore[reportUnusedClass]
            """Nobody was told."""
