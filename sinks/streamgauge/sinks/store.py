"""The store: a thin adapter over clickhouse-connect. Every insert states its settings; every failure has one of two kinds."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client as ConnectClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from streamgauge.schemas.errors import StoreUnavailable
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.rollups import RollupMetric, SeriesLabels
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.windows import tier_index
from streamgauge.sinks.blocks import Insert
from streamgauge.sinks.ddl import INSERT_SETTINGS, table
from streamgauge.sinks.insertion import Outcome

MISSING = frozenset({16, 47, 60, 81, 218})
"""ClickHouse error codes for a column, a table or a database that is not there."""

NO_ACCESS = frozenset({192, 193, 194, 195, 497, 516})
"""ClickHouse error codes for an unknown user, a wrong password, a missing right."""

REFUSALS = MISSING | NO_ACCESS | {36, 43, 53, 62, 115, 117, 251}
"""ClickHouse error codes that trying again does not heal: these, and wrong types, settings or statements."""

StoreError = ClickHouseError
"""What the methods of `Store` raise."""

LARGEST = (1 << 64) - 1
NO_SUMS = (0.0, math.inf)
"""Of an entry that was written without them: nothing can be compared."""


def store_url(value: str) -> str:
    """The address of a ClickHouse server: `http://host:8123` or `https://host:8443`. Raises ValueError with advice."""
    parts = urlsplit(value.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.path.strip("/"):
        raise ValueError("say http://host:8123 or https://host:8443; user and password are settings of their own")
    _ = parts.port  # raises ValueError for a number that is no port
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is, and as whom. `url` as from `store_url`."""

    url: str
    user: str
    password: Secret
    database: str

    def __str__(self) -> str:
        return self.url


class Store:
    """One client per thread, made on first use. Implements `ddl.Client`; errors are clickhouse-connect's."""

    def __init__(self, address: StoreAddress, timeout_s: float = 60.0) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._local = threading.local()

    def _client(self) -> ConnectClient:
        client: ConnectClient | None = getattr(self._local, "client", None)
        if client is None:
            address = self.address
            parts = urlsplit(address.url)
            secure = parts.scheme == "https"
            client = clickhouse_connect.get_client(
                host=parts.hostname or "",
                port=parts.port or (8443 if secure else 8123),
                username=address.user,
                password=address.password.reveal(),
                interface="https" if secure else "http",
                send_receive_timeout=int(self._timeout_s),
                connect_timeout=5,
                query_retries=0,
                autogenerate_session_id=False,
            )
            self._local.client = client
        return client

    def check(self) -> None:
        """Raises StoreUnavailable, saying what to do, when the store does not answer."""
        try:
            self._client().command("SELECT 1")
        except ClickHouseError as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """An error of this store as one that ends the process, with advice."""
        if code_of(error) is None:
            return StoreUnavailable(
                f"no ClickHouse answers at {self.address} ({error_text(error)}); start one (`streamgauge dev` brings its own), "
                "or set STREAMGAUGE_STORE"
            )
        return StoreUnavailable(f"ClickHouse at {self.address} refuses: {error_text(error)}")

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        """See ddl.Client."""
        return self._client().command(sql, parameters=dict(params) if params else None)

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """See ddl.Client."""
        return self._client().query(sql, parameters=dict(params) if params else None).result_rows

    def insert_block(self, one: Insert, token: str) -> None:
        """Insert a block under its token."""
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        name = table(self.address.database, one.table)
        self._client().raw_insert(name, list(one.columns), one.data, settings=settings, fmt="Native")

    def insert_series(self, labels: Sequence[SeriesLabels]) -> None:
        """Insert labels of series; a repeat is harmless."""
        rows = [[one.family, one.series_id, dict(one.labels)] for one in labels]
        self._rows("series", rows, ["family", "series_id", "labels"])

    def insert_metrics(self, metrics: Sequence[RollupMetric]) -> None:
        """Insert declarations; a repeat is harmless."""
        kinds = {"event": "event", "measure": "event", "distinct": "distinct"}
        rows = [
            [m.name, m.family, m.type, m.unit, list(m.labels), tier_index(m.granularity), kinds.get(m.type, "metric")]
            for m in metrics
        ]
        self._rows("metrics", rows, ["metric", "family", "type", "unit", "labels", "entry", "kind"])

    def insert_ledger(self, entries: Sequence[LedgerEntry], token: str, incarnation: str = "") -> None:
        """Insert ledger entries; a repeat is harmless: the key is (region, topic, incarnation, partition, from).

        `incarnation` is stored of those that do not name the life of their raw topic.
        """
        rows = [
            [
                e.region, e.topic, e.incarnation or incarnation, e.partition, e.start, e.end, e.messages, e.batches,
                min(e.total, LARGEST),
                min(sum(e.refused.values()), LARGEST),
                [tier for tier, _ in e.points], [_day(day) for _, day in e.points], list(e.points.values()),
                dict(e.refused), dict(e.scrubbed), dict(e.skipped), _instant(e.min_window), _instant(e.max_window),
                _instant(e.committed_ms / 1000), e.sequence_gaps, e.sequence_repeats,
                [e.sums.get(key, NO_SUMS)[0] for key in e.points], [e.sums.get(key, NO_SUMS)[1] for key in e.points],
                list(e.policies), e.events,
            ]
            for e in entries
        ]  # fmt: skip
        names = (
            "region topic incarnation partition offset_from offset_to messages batches points refused_points tiers days "
            "day_points refused scrubbed skipped min_window max_window committed_at sequence_gaps sequence_repeats "
            "day_sums day_magnitudes policies events"
        )
        self._rows("ledger", rows, names.split(), token)

    def insert_dead(self, letters: Sequence[DeadLetter], token: str, incarnation: str = "") -> None:
        """Insert dead letters; a repeat is harmless. `incarnation` as in `insert_ledger`."""
        rows = [
            [
                d.region, d.topic, d.incarnation or incarnation, d.partition, d.offset, d.reason, d.rows, d.event, d.detail,
                _instant(d.at_ms / 1000), d.contract, d.service, d.size, d.hash, d.which_text(), d.sample_text(), d.again,
            ]
            for d in letters
        ]  # fmt: skip
        names = "region topic incarnation partition offset reason rows event detail at contract service size hash which sample"
        self._rows("dead", rows, [*names.split(), "again"], token)

    def _rows(self, name: str, rows: list[list[Any]], names: Sequence[str], token: str = "") -> None:
        if rows:
            # rows of any age may stand in one message, and have nowhere else to go
            settings: dict[str, Any] = {**INSERT_SETTINGS, "max_partitions_per_insert_block": 0}
            if token:
                settings["insert_deduplication_token"] = token
            self._client().insert(name, rows, list(names), database=self.address.database, settings=settings)


def code_of(error: Exception) -> int | None:
    """The server's code of an error; None when the server gave none, or did not answer."""
    code: object = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def outcome_of(error: Exception) -> Outcome:
    """Whether trying again soon makes sense. Everything that is not surely a refusal is unknown."""
    return Outcome.REFUSED if code_of(error) in REFUSALS else Outcome.UNKNOWN


def error_text(error: Exception) -> str:
    """An error for logs: its kind, its code, what to do. Not the server's words: these can hold data."""
    code = code_of(error)
    if code is None:
        return type(error).__name__
    if code in MISSING:
        advice = ": a database, table or column is missing; run `streamgauge migrate`"
    elif code in NO_ACCESS:
        advice = ": no access; check STREAMGAUGE_STORE_USER, STREAMGAUGE_STORE_PASSWORD and the rights of this user"
    else:
        advice = ""
    return f"{type(error).__name__}, code {code}{advice}"


def _day(days: int) -> Any:
    return datetime.fromtimestamp(days * 86_400, UTC).date()


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
