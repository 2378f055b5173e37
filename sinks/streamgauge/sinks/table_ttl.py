"""Table TTLs: the rule that a table forgets by, from the deployment's settings and the contracts, against the one it has.

A contract shortens what the tier keeps, for the rows of its own event; it never lengthens it. Its newest version decides.
What a table forgets for an event of which nobody here knows the contract stays as it is: somebody else declared it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.keeping import SINGLE_EVENTS, kept_ms, metrics_of, newest, shorter
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES, tier_index
from streamgauge.sinks.ddl import StoreSchemaError, literals, table
from streamgauge.sinks.retention import MAX_YEARS, Retention, Rule

TIER_OF: Final[Mapping[str, str]] = MappingProxyType(
    {f"{kind}_{tier}": tier for kind in ("rollups", "distinct") for tier in TIER_NAMES} | {"events": SINGLE_EVENTS}
)
"""Tables with rows of events, and the tier that each belongs to where contracts speak of it."""

ROWS_GO = "ttl_only_drop_parts = 0, merge_with_ttl_timeout = 86400"
"""A table of whole parts never rewrites one that nobody inserts into, so rows of one event would stay (measured)."""
PARTS_GO = "ttl_only_drop_parts = 1, merge_with_ttl_timeout = 14400"
LONGEST: Final = 250_000
"""Bytes of a statement; servers refuse to parse more than 262,144 unless they are told otherwise."""

NEVER: Final = "greatest({instant}, toDateTime(4291747200))"
"""2105-12-31, the rule for all rows of a table that forgets only some of them. Without one the store judges a part by its
conditional times alone, and once the table gets a time for all rows, it drops parts whose condition has passed, with all
that is in them, unless every part was looked through before (seen with 26.9)."""

_NEVER = re.compile(r"greatest\((window|toDateTime\(\w+\)), toDateTime\(4291747200\)\)(?:, |$)")
_PART = re.compile(
    r"(window|toDateTime\(\w+\)) \+ toIntervalSecond\((\d+)\)(?: WHERE (?:metric|event) IN \(((?:'(?:[^'\\]|\\.)*'(?:, )?)+)\))?"
)
_NAME = re.compile(r"'((?:[^'\\]|\\.)*)'")


@dataclass(frozen=True, slots=True)
class Ttl:
    """What a table forgets by: `whole` seconds for every row (None: for ever), and shorter ones by metric or event."""

    column: str
    instant: str
    whole: int | None = None
    names: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def clause(self) -> str:
        """In the words that the store gives it back in; empty for ever. Names with equal times stand together."""
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for name, seconds in self.names.items():
            groups[seconds].append(name)
        never = [NEVER.format(instant=self.instant)] if groups else []
        parts = never if self.whole is None else [self._after(self.whole)]
        parts += [f"{self._after(s)} WHERE {self.column} IN {literals(sorted(groups[s]))}" for s in sorted(groups)]
        return ", ".join(parts)

    def _after(self, seconds: int) -> str:
        return f"{self.instant} + toIntervalSecond({seconds})"

    def shown(self) -> str:
        """For people: short, however many names there are."""
        if not self.names:
            return self.clause or "no rule"
        spans = sorted(set(self.names.values()))
        after = ", ".join(
            f"{_some([n for n, s in self.names.items() if s == span])} after {_span(span)}" for span in spans
        )
        return f"{self._after(self.whole) if self.whole is not None else 'no rule for all'}; {after}"

    def statement(self, database: str, name: str) -> str:
        """The statement that makes a table forget by this. Raises StoreSchemaError when no server would parse it."""
        clause = self.clause.replace(" WHERE ", " DELETE WHERE ")
        sql = f"ALTER TABLE {table(database, name)} " + (f"MODIFY TTL {clause}" if clause else "REMOVE TTL")
        if len(sql.encode()) > LONGEST:
            raise StoreSchemaError(
                f"{name}: the rule for {len(self.names):,} metrics of contracts is longer than the store parses.\n"
                "  Give events with equal needs no retention of their own, and the tier a shorter one."
            )
        return sql


@dataclass(frozen=True, slots=True)
class TtlDrift:
    """A table that forgets otherwise than it must: which names too late, which too early, and the statement for it."""

    table: str
    finding: str
    statement: str


def live_ttl(engine_full: str) -> Ttl | None:
    """What a table forgets by now, from its `engine_full`; None where the rule is not one of ours."""
    text = clause_of(engine_full)
    whole: int | None = None
    names: dict[str, int] = {}
    never = _NEVER.match(text)
    instant, at = (never[1], never.end()) if never else ("", 0)
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (instant and part[1] != instant) or (part[3] is None and whole is not None):
            return None
        instant = part[1]
        if part[3] is None:
            whole = int(part[2])
        else:
            names |= {re.sub(r"\\(.)", r"\1", name): int(part[2]) for name in _NAME.findall(part[3])}
        at = part.end() + 2
    return Ttl("event" if instant.endswith("(at)") else "metric", instant, whole, names)


def clause_of(engine_full: str) -> str:
    """The TTL clause of a table; empty without one."""
    found = re.search(r"\bTTL (.+?)(?: SETTINGS |$)", engine_full)
    return found[1] if found else ""


def expected_ttl(rule: Rule, contracts: Iterable[Contract], live: Ttl | None) -> Ttl:
    """What a table must forget by: the setting's rule, shortened for the events of contracts."""
    seconds = None if rule.ms == FOR_EVER else -(-rule.ms // 1_000)
    ttl = Ttl("event" if rule.table == "events" else "metric", rule.instant, seconds)
    tier = TIER_OF.get(rule.table)
    if tier is None:
        return ttl
    versions: defaultdict[str, list[Contract]] = defaultdict(list)
    for one in contracts:
        versions[one.name].append(one)
    # of events that are not known here, what somebody declared stays
    names = {name: s for name, s in _names(live).items() if name.partition(".")[0] not in versions}
    for event, contract in newest(one for of in versions.values() for one in of).items():
        kept = kept_ms(contract, tier)
        if kept != FOR_EVER and kept <= MAX_YEARS * 365 * DAY_MS and _has_rows(versions[event], tier):
            names |= dict.fromkeys(rows_of(rule.table, versions[event]), -(-kept // 1_000))
    return replace(ttl, names={name: s for name, s in names.items() if seconds is None or s < seconds})


def _has_rows(versions: Iterable[Contract], tier: str) -> bool:
    if tier == SINGLE_EVENTS:
        return any(one.store_events for one in versions)
    return any(tier_index(one.granularity) <= tier_index(tier) for one in versions)


def rows_of(table_name: str, versions: Iterable[Contract]) -> list[str]:
    """What the rows of one event are called in a table: metrics of its measures, of its distinct counts, or itself."""
    versions = list(versions)
    if table_name == "events":
        return sorted({one.name for one in versions})
    distinct = {f"{one.name}.{name}" for one in versions for name in one.of_kind("unique")}
    if table_name.startswith("distinct"):
        return sorted(distinct)
    return [name for name in metrics_of(versions) if name not in distinct]


def ttl_drift(
    rules: Iterable[Rule], engines: Mapping[str, str], contracts: Iterable[Contract], database: str
) -> Iterator[TtlDrift]:
    """Every table (`engines`: engine_full by name) that does not forget by its rule."""
    known = list(contracts)
    for rule in rules:
        if rule.table not in engines:
            continue
        engine = engines[rule.table]
        live = live_ttl(engine)
        wanted = expected_ttl(rule, known, live)
        if clause_of(engine) != wanted.clause:
            yield TtlDrift(rule.table, _difference(engine, live, wanted), wanted.statement(database, rule.table))
        if rule.table in TIER_OF:
            yield from _granularity(rule.table, engine, bool(wanted.names), database)


def own_rules(retention: Retention, engines: Mapping[str, str]) -> Iterator[Rule]:
    """The rules of tables with rows of events, each with the time for all rows that the table has now.

    Tables whose rule is not one of ours are left out. For whoever knows contracts and not the settings of `migrate`.
    """
    for rule in retention.rules():
        live = live_ttl(engines.get(rule.table, ""))
        if rule.table in TIER_OF and rule.table in engines and live is not None:
            yield replace(rule, ms=FOR_EVER if live.whole is None else 1_000 * live.whole)


def longer_than_kept(retention: Retention, contracts: Iterable[Contract]) -> Iterator[str]:
    """What contracts declare longer than the deployment keeps it, in words: that is not lengthened."""
    kept = {TIER_OF[rule.table]: rule.ms for rule in retention.rules() if rule.table in TIER_OF}
    for name, one in sorted(newest(contracts).items()):
        for tier in one.retention_tiers:
            declared = kept_ms(one, tier)
            if tier in kept and shorter(declared, kept[tier]) != declared:
                yield f"{name} declares {_ms(declared)} for tier {tier}, which keeps {_ms(kept[tier])} only"


def undeclared(engines: Mapping[str, str], contracts: Iterable[Contract], database: str) -> Iterator[TtlDrift]:
    """Tables that forget rows early of events that no contract here declares, and the statement that ends it."""
    known = {one.name for one in contracts}
    for name in TIER_OF:
        live = live_ttl(engines.get(name, ""))
        foreign = {n: s for n, s in _names(live).items() if n.partition(".")[0] not in known}
        if live is not None and foreign:
            rest = replace(live, names={n: s for n, s in live.names.items() if n not in foreign})
            finding = f"forgets {_some(list(foreign))} after {_span(min(foreign.values()))}, and no contract given here says so"
            yield TtlDrift(name, finding, rest.statement(database, name))


def shortest_kept(engines: Mapping[str, str], contracts: Iterable[Contract]) -> dict[str, int]:
    """For each tier of rollups the milliseconds after which some of its rows may be gone although others stay.

    By any version of a contract, for what an earlier one let go does not come back, and by the rules that the tables have.
    Tiers in which nothing is forgotten early are left out.
    """
    found: dict[str, int] = {}
    known = list(contracts)
    for tier in TIER_NAMES:
        spans = [kept_ms(one, tier) for one in known if _has_rows([one], tier)]
        live = live_ttl(engines.get(f"rollups_{tier}", ""))
        spans += [1_000 * seconds for seconds in _names(live).values()]
        if spans := [span for span in spans if span != FOR_EVER]:
            found[tier] = min(spans)
    return found


def _difference(engine: str, live: Ttl | None, wanted: Ttl) -> str:
    if live is None:
        return f"forgets by {clause_of(engine)!r}, not by {wanted.shown()!r}"
    if live.whole != wanted.whole or not (live.names or wanted.names):
        return f"forgets by {live.shown()!r}, not by {wanted.shown()!r}"
    late = {n: s for n, s in wanted.names.items() if live.names.get(n, s + 1) > s}
    early = {n: s for n, s in live.names.items() if wanted.names.get(n, s + 1) > s}
    said = [f"keeps {_some(list(late))} longer than declared ({_span(min(late.values()))})"] if late else []
    said += [f"forgets {_some(list(early))} after {_span(min(early.values()))}, earlier than declared"] if early else []
    return "; ".join(said) or f"forgets by {live.shown()!r}, not by {wanted.shown()!r}"


def _names(live: Ttl | None) -> Mapping[str, int]:
    return live.names if live is not None else dict[str, int]()


def _granularity(name: str, engine: str, rows: bool, database: str) -> Iterator[TtlDrift]:
    found = re.search(r"\bttl_only_drop_parts = (\d)", engine)
    only_parts = found[1] == "1" if found else None  # None: as the server will have it, which is by rows
    change = f"ALTER TABLE {table(database, name)} MODIFY SETTING "
    if rows and only_parts:
        finding = "drops whole parts only: rows that a contract lets go earlier would stay"
        yield TtlDrift(name, finding, change + ROWS_GO)
    elif not rows and only_parts is False:
        yield TtlDrift(name, "rewrites parts to forget rows, and no contract asks for that", change + PARTS_GO)


def _some(names: list[str], shown: int = 3) -> str:
    rest = len(names) - shown
    return ", ".join(sorted(names)[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def _span(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _ms(span: int) -> str:
    return "for ever" if span == FOR_EVER else _span(-(-span // 1_000))
