"""Noticing: which keys of a batch there is something new to tell of. Done when the batch is cleaned, so that what is told
never changes what anything becomes: an example costs validations that no other value needs any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from streamgauge.processors.admission import Admitted
from streamgauge.processors.cleaner import PERSONAL_NAME, Cleaned, Cleaner
from streamgauge.processors.inbox import Notices, Seen
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch
from streamgauge.schemas.key_notes import DECLARED, UNDECLARED
from streamgauge.schemas.stock_classes import GENERALISE

Plan = Sequence[tuple[str, int, Callable[[str], Cleaned]]]
"""As from `Cleaner.plan`."""


def notice_event(
    notices: Notices,
    cleaner: Cleaner,
    batch: EventBatch,
    contract: Contract,
    admitted: Admitted,
    context: Mapping[str, tuple[str, tuple[str, ...]]],
    keep: Array | None,
    day: int,
) -> None:
    """Undeclared fields, and where detectors found something. `context` has the changed labels of the context: value and
    rules. Of rows that are not kept (None: all are) nothing is told."""
    if keep is not None and not keep.any():
        return
    family, policy = contract.name, cleaner.policy(contract)
    for name, rules in admitted.found:
        expected = policy.action(name).rule if policy.action(name).kind == GENERALISE else ""
        for rule in rules:
            if rule != expected and not notices.known(family, name, rule, day):
                notices.note(
                    family, name, rule, day, _changed(batch.fields[name], admitted.dimensions[name], rule, keep)
                )
    for name, (value, rules) in context.items():
        for rule in rules:
            notices.note(family, name, rule, day, value)
    for name in filter(None, admitted.unknown):
        if not notices.known(family, name, UNDECLARED, day) and notices.new(family, name, UNDECLARED, day):
            example = _first(batch.fields[name], keep)
            more = cleaner.label(name, example)[1] if example else ()
            notices.note(family, name, UNDECLARED, day, example, ",".join(more))
    mark = (family, contract.version)
    if not notices.marked(mark, day) and all(notices.note(family, name, DECLARED, day) for name in contract.fields):
        notices.mark(mark, day)


def _changed(column: Strings | Numbers, cleaned: tuple[Sequence[str], Array], rule: str, keep: Array | None) -> str:
    """A kept value in whose place the token of a rule stands now."""
    if not isinstance(column, Strings):
        return ""
    rows = cleaned[1] if keep is None else cleaned[1][keep]
    token = f"[{rule}]"
    positions: list[int] = np.unique(rows).tolist()
    for position in positions:
        raw = column.dictionary[position] or ""
        if token in cleaned[0][position] and raw != cleaned[0][position]:
            return raw
    return ""


def _first(column: Strings | Numbers, keep: Array | None) -> str:
    """A kept value of a column as a text."""
    if isinstance(column, Strings):
        rows = column.index if keep is None else column.index[keep]
        positions: list[int] = np.unique(rows).tolist()
        return next((value for one in positions if (value := column.dictionary[one])), "")
    rows = np.arange(len(column.values)) if keep is None else np.flatnonzero(keep)
    rows = rows if column.missing is None else np.setdiff1d(rows, column.missing)
    if not len(rows):
        return ""
    number = float(column.values[rows[0]])
    return str(int(number)) if number.is_integer() else repr(number)


def notice_metrics(
    notices: Notices,
    batch: MetricBatch,
    fresh: Sequence[int],
    plans: Sequence[Plan],
    hits: Mapping[Seen, str],
    used: Array,
    day: int,
) -> None:
    """Labels of metrics that were not told of today (`fresh`, by position), and values that were changed (`hits`, with one of
    them). `used` counts the points of each series: of what is refused nothing is told."""
    if notices.full:  # at once: where thousands of metrics are new, they must not be looked at with every batch
        notices.dropped += len(hits) + len(fresh)
        return
    for (family, name, rule), value in hits.items():
        notices.note(family, name, rule, day, value)
    if not fresh:
        return
    first: dict[int, Sequence[object]] = {}
    for position in np.flatnonzero(used).tolist():
        first.setdefault(int(batch.series[position][0]), batch.series[position])
        if len(first) == len(batch.metrics):
            break
    for which in fresh:
        if which in first and _notice_labels(notices, batch, which, plans[which], first[which], day):
            notices.mark((batch.metrics[which].name, batch.metrics[which].labels), day)


def _notice_labels(
    notices: Notices, batch: MetricBatch, which: int, plan: Plan, series: Sequence[object], day: int
) -> bool:
    """Whether all labels of a metric are told of."""
    head, told = batch.metrics[which], True
    kept = {place: clean for _, place, clean in plan}
    for place, name in enumerate(head.labels, 1):
        value = str(series[place])
        if place not in kept:
            told &= notices.note(head.name, name, PERSONAL_NAME, day, value)
        elif not kept[place](value)[1]:
            told &= notices.note(head.name, name, "", day, value)
    return told
