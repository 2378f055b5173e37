"""Which contract may replace which: growing is fine, and every way of taking away or showing more is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamgauge.schemas.compatibility import EXPOSURE, compare, compatible
from streamgauge.schemas.contracts import FIELD_KINDS, Contract, Field
from streamgauge.schemas.small_cells import SmallCells
from streamgauge.schemas.windows import TIER_NAMES

words = st.sampled_from(["a", "b", "c", "d", "e"])


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """A field of any kind that a contract may declare."""
    kind = draw(st.sampled_from(FIELD_KINDS))
    numeric = kind == "measure"
    return Field(
        kind,
        draw(st.sampled_from(["integer", "number"])) if numeric else draw(st.sampled_from(["string", "integer"])),
        draw(st.sampled_from(["", "s"])) if numeric else "",
        tuple(draw(st.sets(words, max_size=3))) if kind == "dimension" else (),
        draw(st.booleans()),
    )


contracts = st.builds(
    Contract,
    st.just("visit"),
    st.integers(1, 9),
    st.dictionaries(words, fields(), min_size=1, max_size=4),
    granularity=st.sampled_from(TIER_NAMES),
)


@given(contracts)
def test_a_contract_may_replace_itself_under_any_later_number(old: Contract) -> None:
    assert compare(old, old) == []
    assert compare(old, replace(old, version=old.version + 1)) == []


@given(contracts, fields(), st.booleans())
def test_a_field_may_be_added_if_nobody_has_to_send_it(old: Contract, added: Field, dropped: bool) -> None:
    field = replace(added, kind="dropped") if dropped else replace(added, optional=True)
    new = replace(old, version=old.version + 1, fields={**old.fields, "extra": field})
    assert compatible(compare(old, new))
    required = replace(new, fields={**old.fields, "extra": replace(added, kind="unique", optional=False)})
    assert not compatible(compare(old, required))
    assert not compatible(compare(new, replace(old, version=new.version + 1)))


@given(contracts, contracts)
def test_whatever_is_compatible_keeps_every_field_what_it_was(old: Contract, new: Contract) -> None:
    later = replace(new, version=old.version + 1)
    if not compatible(compare(old, later)):
        return
    assert later.granularity == old.granularity
    for name, before in old.fields.items():
        after = later.fields[name]
        assert (after.kind, after.type, after.unit) == (before.kind, before.type, before.unit)
        assert after.optional or not before.optional
        assert set(before.values) <= set(after.values)
        assert bool(before.values) == bool(after.values)
    assert all(one.optional or one.kind == "dropped" for name, one in later.fields.items() if name not in old.fields)


@given(contracts, fields())
def test_the_same_version_with_another_content_is_refused_even_where_it_only_grows(old: Contract, added: Field) -> None:
    grown = replace(old, fields={**old.fields, "extra": replace(added, optional=True)})
    assert [one.place for one in compare(old, grown) if not one.compatible] == ["version"]
    assert not compatible(compare(old, replace(old, description="Explained.")))


@given(contracts, st.data())
def test_no_field_may_ever_show_more(old: Contract, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(old.fields)))
    kind = data.draw(st.sampled_from(FIELD_KINDS))
    assume(EXPOSURE[kind] > EXPOSURE[old.fields[name].kind])
    fields = {**old.fields, name: replace(old.fields[name], kind=kind)}
    (change,) = [
        one for one in compare(old, replace(old, version=10, fields=fields)) if one.place == f"fields.{name}.kind"
    ]
    assert not change.compatible
    assert "show more" in change.text


BASE = Contract(
    "visit",
    3,
    {
        "page": Field("dimension"),
        "plan": Field("dimension", values=("free", "pro")),
        "seconds": Field("measure", "number", "s"),
        "person": Field("unique", optional=True),
        "note": Field("dropped"),
    },
    retention="400d",
    time="at",
)


def with_head(**changes: object) -> Callable[[Contract], Contract]:
    """The contract with a head that says something else."""
    return lambda old: replace(old, **changes)  # type: ignore[arg-type]  # keys of Contract


def without(name: str) -> Callable[[Contract], Contract]:
    """The contract without a field."""
    return lambda old: replace(old, fields={key: one for key, one in old.fields.items() if key != name})


def with_field(name: str, **changes: object) -> Callable[[Contract], Contract]:
    """The contract with a field that says something else."""
    return lambda old: replace(old, fields={**old.fields, name: replace(old.fields[name], **changes)})  # type: ignore[arg-type]  # keys of Field


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (without("page"), "fields.page", "removed"),
        (with_field("seconds", type="integer"), "fields.seconds.type", "number becomes integer"),
        (with_field("seconds", unit="ms"), "fields.seconds.unit", "'s' becomes 'ms'"),
        (with_field("person", optional=False), "fields.person.optional", "required"),
        (with_field("plan", values=("free",)), "fields.plan.values", "'pro' is removed"),
        (with_field("plan", values=()), "fields.plan.values", "opened"),
        (with_field("page", values=("/a",)), "fields.page.values", "closed set"),
        (with_field("person", kind="dimension"), "fields.person.kind", "show more"),
        (with_field("note", kind="dimension"), "fields.note.kind", "show more"),
        (with_field("note", kind="unique"), "fields.note.kind", "show more"),
        (with_field("page", kind="unique"), "fields.page.kind", "ends"),
        (with_head(granularity="1m"), "granularity", "detail that is asked for ends"),
        (with_head(purpose="marketing"), "purpose", "serves another"),
        (with_head(retention="forever"), "retention", "'400d' becomes 'forever'"),
        (with_head(retention=""), "retention", "becomes nothing"),
        (with_head(time="seen_at"), "time", "'at' becomes 'seen_at'"),
        (with_head(name="visits"), "name", "two events"),
        (with_head(version=2), "version", "goes back"),
    ],
)
def test_each_refusal_says_where_and_why(change: Callable[[Contract], Contract], place: str, said: str) -> None:
    changed = change(BASE)
    new = changed if changed.version < BASE.version else replace(changed, version=4)
    (refused,) = [one for one in compare(BASE, new) if not one.compatible]
    assert refused.place == place
    assert said in refused.text


def test_what_only_explains_may_change() -> None:
    new = replace(BASE, version=4, owner="web", description="A page was seen.", examples={"pass": []}, retention="30d")
    new = with_field("page", description="path", column="url")(new)
    changes = compare(BASE, with_field("plan", values=("free", "pro", "team"))(with_field("page", optional=True)(new)))
    assert compatible(changes)
    assert {one.place for one in changes} == {
        "owner", "description", "examples", "retention", "fields.page.description", "fields.page.column",
        "fields.page.optional", "fields.plan.values",
    }  # fmt: skip


VISIT = Contract(
    "visit",
    1,
    {
        "page": Field("dimension", values=("a", "b")),
        "network": Field("dimension", generalise="ip_prefix"),
        "note": Field("dropped", optional=True),
        "person": Field("unique"),
        "device": Field("unique"),
    },
    purpose="analytics",
    legal_basis="consent",
    retention="30d",
    retention_tiers={"10s": "1d"},
    residency=("eu",),
    small_cells=SmallCells(5, "person"),
)


def loosened(name: str, **changes: Any) -> Contract:
    """The next version with another field."""
    return replace(VISIT, version=2, fields={**VISIT.fields, name: replace(VISIT.fields[name], **changes)})


@pytest.mark.parametrize(
    ("new", "place"),
    [
        (loosened("page", values=()), "fields.page"),
        (loosened("network", generalise=""), "fields.network"),
        (loosened("network", generalise="url"), "fields.network"),
        (loosened("note", kind="dimension"), "fields.note"),
        (replace(VISIT, version=2, purposes=("analytics", "sales")), "purpose"),
        (replace(VISIT, version=2, legal_basis="legitimate_interests"), "legal_basis"),
        (replace(VISIT, version=2, retention="400d"), "retention"),
        (replace(VISIT, version=2, retention_tiers={"10s": "2d"}), "retention_tiers.10s"),
        (replace(VISIT, version=2, retention_tiers={}), "retention_tiers.10s"),
        (replace(VISIT, version=2, residency=("eu", "us")), "residency"),
        (replace(VISIT, version=2, small_cells=None), "small_cells"),
        (replace(VISIT, version=2, small_cells=SmallCells(4, "person")), "small_cells"),
        (replace(VISIT, version=2, small_cells=SmallCells(5, "device")), "small_cells"),
        (replace(VISIT, version=2, small_cells=SmallCells(5, "person", "1h")), "small_cells"),
        (replace(VISIT, version=2, small_cells=SmallCells(5, "person", "1d", "47h")), "small_cells"),
        (replace(VISIT, version=2, store_events=True), "store_events"),
    ],
)
def test_showing_more_of_people_needs_a_statement(new: Contract, place: str) -> None:
    (refused,) = [one for one in compare(VISIT, new) if not one.compatible]
    assert f'"loosens": {{"{place}": ' in refused.text
    stated = replace(new, loosens={place: "Reviewed by the privacy officer on 3 May."})
    assert compatible(compare(VISIT, stated))
    assert any("Reviewed by the privacy officer" in one.text for one in compare(VISIT, stated))
    assert not compatible(compare(VISIT, replace(new, loosens={"fields.other": "Reviewed."})))


def test_a_statement_does_not_bring_back_what_somebody_reads() -> None:
    new = replace(loosened("person", kind="dimension"), loosens={"fields.person": "Reviewed."})
    assert not compatible(compare(VISIT, new))


@pytest.mark.parametrize(
    "new",
    [
        replace(VISIT, version=2, residency=("eu",), purposes=("analytics",)),
        replace(VISIT, version=2, retention="7d"),
        replace(VISIT, version=2, small_cells=SmallCells(6, "person", "1d", "3d")),
        replace(VISIT, version=2, retention_tiers={"10s": "6h", "1h": "7d", "events": "1d"}),
        replace(VISIT, version=2, retention="1d", retention_tiers={}),
        replace(
            VISIT, version=2, fields={**VISIT.fields, "seen": Field("dimension", optional=True, generalise="date")}
        ),
    ],
)
def test_showing_less_or_the_same_needs_none(new: Contract) -> None:
    assert compatible(compare(VISIT, new))


def test_hiding_small_groups_from_now_on_needs_none() -> None:
    (change,) = compare(replace(VISIT, small_cells=None), replace(VISIT, version=2))
    assert (change.place, change.compatible) == ("small_cells", True)


def test_keeping_no_more_single_events_needs_none() -> None:
    (change,) = compare(replace(VISIT, store_events=True), replace(VISIT, version=2))
    assert (change.place, change.compatible) == ("store_events", True)


def test_making_values_coarse_is_another_field() -> None:
    plain = replace(VISIT, fields={"page": Field("dimension")})
    assert not compatible(
        compare(plain, replace(plain, version=2, fields={"page": Field("dimension", generalise="url")}))
    )
