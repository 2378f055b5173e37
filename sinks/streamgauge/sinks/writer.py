"""Writer: a block as inserts by table, each of which answers with what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.rollups import RollupMessage
from streamgauge.schemas.scrubbed_events import ScrubbedEvents
from streamgauge.sinks.blocks import labels_of, metrics_of, rollup_insert
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.driver import Inserts
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.insertion import Outcome
from streamgauge.sinks.partition import Decoded
from streamgauge.sinks.ranges import Range
from streamgauge.sinks.store import Store, error_text, outcome_of

log = logging.getLogger("streamgauge.sinks")


class Writer:
    """Builds and carries out the inserts of blocks. Safe from several threads."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def prepare(self, block: Range, messages: Sequence[Decoded]) -> Inserts:
        """The inserts of a block by table, in their order: names before points, so that no point is nameless."""
        rollups = [one for one in messages if isinstance(one, RollupMessage)]
        events = [one for one in messages if isinstance(one, ScrubbedEvents)]
        ledger = [one for one in messages if isinstance(one, LedgerEntry)]
        dead = [one for one in messages if isinstance(one, DeadLetter)]
        inserts: dict[str, Callable[[str], None]] = {}
        if rollups:
            labels, metrics, insert = labels_of(rollups), metrics_of(rollups), rollup_insert(rollups, block)
            inserts["series"] = lambda _: self._catalog.add_series(labels)
            inserts["metrics"] = lambda _: self._catalog.add_metrics(metrics)
            if insert.rows:
                inserts[insert.table] = partial(self._store.insert_block, insert)
        if events and (rows := event_insert(events, block)).rows:
            inserts[rows.table] = partial(self._store.insert_block, rows)
        if ledger:
            inserts["ledger"] = lambda token: self._store.insert_ledger(ledger, token, block.place.incarnation)
        if dead:
            inserts["dead"] = lambda token: self._store.insert_dead(dead, token, block.place.incarnation)
        return {table: partial(self.insert, table, insert) for table, insert in inserts.items()}

    def insert(self, table: str, insert: Callable[[str], None], token: str) -> Outcome:
        """Carry out one insert. A failed one is not known to be out: the same block is tried again."""
        try:
            insert(token)
        except Exception as error:
            outcome = outcome_of(error)
            level = logging.ERROR if outcome is Outcome.REFUSED else logging.WARNING
            log.log(level, "insert into %s is %s, trying again: %s", table, outcome.value, error_text(error))
            return outcome
        return Outcome.DONE
