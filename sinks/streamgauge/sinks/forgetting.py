"""Forgetting: a running sink makes tables forget what the contracts that it learns of no longer let them keep.

How long a tier keeps everything else is the word of `streamgauge migrate`, and is not touched here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from streamgauge.schemas.contracts import Contract
from streamgauge.sinks.catalog import Contracts, Later
from streamgauge.sinks.ddl import StoreSchemaError
from streamgauge.sinks.migrations import engines_of
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.store import Store, StoreError, error_text
from streamgauge.sinks.table_ttl import own_rules, ttl_drift

log = logging.getLogger("streamgauge.sinks")

NONE: Mapping[tuple[str, int], Contract] = {}


class Forgetting:
    """Changes rules of tables by `later`, one after the other; a rule that is as it must be costs no statement.

    Contracts mostly come several at once, so it waits until none has come for `settle_s` seconds. What fails is said, and
    tried again after `retry_s`. Nothing is raised, and no insert waits.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        contracts: Callable[[], Contracts],
        later: Later,
        settle_s: float = 2.0,
        retry_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._retention = retention
        self._contracts = contracts
        self._later = later
        self._settle_s = settle_s
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._followed: Contracts = NONE
        self._due_at: float | None = None

    def follow(self) -> None:
        """Have the rules changed if contracts came since. Cheap when none did, and returns at once: call it often."""
        contracts = self._contracts()
        if contracts is not self._followed:
            self._followed = contracts
            self._due_at = self._monotonic() + self._settle_s if contracts else None
        if self._due_at is not None and self._due_at <= self._monotonic():
            self._due_at = None
            self._later(lambda: self._apply(contracts))

    def _apply(self, contracts: Contracts) -> None:
        database = self._store.address.database
        try:
            engines = engines_of(self._store, database)
            rules = own_rules(self._retention, engines)
            for drift in ttl_drift(rules, engines, contracts.values(), database):
                self._store.command(drift.statement)
                log.info("%s: %s; changed", drift.table, drift.finding)
        except (StoreSchemaError, StoreError) as error:
            said = str(error) if isinstance(error, StoreSchemaError) else error_text(error)
            log.error("contracts' retention is not in force yet, trying again: %s", said)
            self._due_at = self._monotonic() + self._retry_s
