"""Export look: whether messages of a rollups topic hold anything about a person. Counts by rule, never a value. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import orjson

from streamgauge.processors.cleaner import PERSONAL_NAME, Cleaner
from streamgauge.processors.pseudonyms import TOKEN
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SERIES_CONTEXT
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.packing import Json
from streamgauge.schemas.privacy import CLOSED, label_action
from streamgauge.schemas.rollups import DistinctRows, RollupMessage, RollupMetric, decode_rollups

DISTINCT, UNREADABLE, KEY, HEADER = "distinct", "unreadable", "message_key", "header"
UNDECLARED, UNKNOWN_PART, PSEUDONYM, OTHER_REGION = "undeclared", "unknown_part", "pseudonym", "other_region"
"""Rules beside those of the detectors."""
OF_EVENTS = frozenset({"event", "measure"})
_FRAME = frozenset({"v", "kind", "region", "mv", "raw", "n", "metrics", "labels"})
_COLUMNS = frozenset({"m", "series", "entry", "w", "hash", "count", "sum", "min", "max", "last", "last_t", "hist"})
_RAW = frozenset({"topic", "partition", "from", "to"})
_HEAD = frozenset({"name", "type", "family", "unit", "labels", "granularity"})
_LABELS = frozenset({"id", "family", "labels"})


class ExportLook:
    """Looks at one message after the other. `found` counts what may not leave the region, by rule."""

    def __init__(self, region: str, contracts: Iterable[Contract] = ()) -> None:
        self.messages = 0
        self.found: Counter[str] = Counter()
        self.unknown: set[str] = set()
        """Events whose contract is not known: whether their labels are declared could not be asked."""
        self._region = region
        self._scrubber = Scrubber()
        self._cleaner = Cleaner(self._scrubber)
        self._contracts: dict[str, list[Contract]] = {}
        for one in contracts:
            self._contracts.setdefault(one.name, []).append(one)

    def add(self, key: bytes | None, value: bytes | None, headers: int = 0) -> None:
        """One message; `headers` is how many it has."""
        self.messages += 1
        self._count(KEY, bool(key))
        self._count(HEADER, headers > 0)
        try:
            message = decode_rollups(value)
        except Refused:
            self._count(UNREADABLE, 1)
            return
        self._count(UNKNOWN_PART, sum(1 for _ in _unknown_parts(orjson.loads(value or b"{}"))))
        self._count(OTHER_REGION, message.region != self._region)
        hashes = isinstance(message.rows, DistinctRows) or any(one.type == "distinct" for one in message.metrics)
        self._count(DISTINCT, hashes)
        for one in message.metrics:
            self._look_at_metric(one)
        self._look_at_labels(message)

    def json(self) -> Json:
        """As a JSON object."""
        return {"messages": self.messages, "found": dict(self.found), "contracts_not_known": len(self.unknown)}

    def _count(self, rule: str, times: int) -> None:
        if times:
            self.found[rule] += times

    def _look_at_metric(self, one: RollupMetric) -> None:
        for name in (one.name, one.family, *one.labels):
            self._count(PERSONAL_NAME, self._cleaner.personal(name))
            self._count(PSEUDONYM, bool(TOKEN.search(name)))
        self.found.update(self._scrubber.value(one.unit)[1])
        if one.type in OF_EVENTS:
            known = self._contracts.get(one.family)
            if known is None:
                self.unknown.add(one.family)
            else:
                self._count(UNDECLARED, not any(self._declares(contract, one) for contract in known))

    def _declares(self, contract: Contract, one: RollupMetric) -> bool:
        measures = {one.family, *(f"{one.family}.{name}" for name in contract.of_kind("measure"))}
        return one.name in measures and set(one.labels) <= set(contract.of_kind("dimension"))

    def _look_at_labels(self, message: RollupMessage) -> None:
        declared: dict[str, set[str]] = {}
        events = {one.family for one in message.metrics if one.type in OF_EVENTS}
        for one in message.metrics:
            declared.setdefault(one.family, {*SERIES_CONTEXT, "instance"}).update(one.labels)
        for series in message.labels:
            for name, text in series.labels.items():
                self._count(UNDECLARED, name not in declared.get(series.family, ()))
                if TOKEN.search(text):
                    self._count(PSEUDONYM, 1)
                else:
                    self.found.update(self._rules(series.family, name, text, series.family in events))

    def _rules(self, family: str, name: str, text: str, of_event: bool) -> tuple[str, ...]:
        """By which rules a worker would still change a label's value."""
        fields = [(one, one.fields[name]) for one in self._contracts.get(family, ()) if of_event and name in one.fields]
        if not fields and (not of_event or name in SERIES_CONTEXT):
            clean, rules = self._cleaner.label(name, text)
            return () if clean == text else rules
        closed = {value for _, field in fields for value in field.values}
        if text in closed:
            return ()
        actions = [self._cleaner.policy(contract).action(name) for contract, _ in fields]
        for action in actions:
            if action.kind != CLOSED:
                clean, rules = self._cleaner.value(action, text)
                return () if clean == text else rules
        if actions:
            return (UNDECLARED,)
        # its contract is not known, and may have closed the set of its values
        clean, rules = self._scrubber.value(text, label_action(name).hint)
        return () if clean == text else rules


def _unknown_parts(body: Mapping[str, Any]) -> Iterator[str]:
    """Parts of a message that no reader of this version looks at: anything may stand there."""
    yield from body.keys() - _FRAME - _COLUMNS
    yield from body["raw"].keys() - _RAW
    for head in cast("list[Json]", body["metrics"]):
        yield from head.keys() - _HEAD
    yield from body.get("labels", {}).keys() - _LABELS
