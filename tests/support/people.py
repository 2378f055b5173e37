"""People: single events of a person among those of many others, in a store of its own behind the door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streamgauge.console.cli import main
from streamgauge.processors.keyring import Keyring
from streamgauge.processors.keyring_file import create_ring
from streamgauge.processors.normal_forms import kind_of
from streamgauge.processors.pseudonyms import pseudonym
from streamgauge.schemas.settings import Secret
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.store import Store, StoreAddress
from tests.support.door import DoorProcess
from tests.support.tables import KEPT

REGION = "eu"
ANY = {"max_partitions_per_insert_block": 0, "insert_deduplicate": 0}
COLUMNS = ("materialization_version", "event", "contract", "policy", "at", "labels", "measures", "pseudonyms", "texts")


@dataclass
class People:
    """A migrated database, a ring in a file, and the commands over both."""

    door: DoorProcess
    database: str
    ring: Keyring
    keys: Path
    said: str = ""
    capsys: pytest.CaptureFixture[str] = field(init=False)
    address: str = field(init=False)
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.address = self.door.address
        create_ring(self.keys, self.ring, 0)
        self.store = Store(StoreAddress(self.door.address, "default", Secret(""), self.database))
        migrate(self.store, KEPT, self.database)
        self.client = self.door.client(database=self.database)

    def reset(self) -> None:
        """Nobody is in it, and the ring in its file is this one."""
        for name in ("events", "erasures", "erasure_tokens", "blocks"):
            self.client.command(f"TRUNCATE TABLE {name}")
        self.keys.unlink(missing_ok=True)
        create_ring(self.keys, self.ring, 0)
        self.address = self.door.address

    def token(self, event: str, name: str, value: str, at_ms: int, tenant: str = "") -> str:
        """As a worker makes it."""
        key = self.ring.at(at_ms)
        assert key is not None
        name = f"{event}.{name}"
        return pseudonym(kind_of(name), value, key, REGION, tenant, name)

    def row(
        self,
        event: str,
        at_ms: int,
        unique: dict[str, str],
        tenant: str = "",
        labels: dict[str, str] | None = None,
        texts: dict[str, str] | None = None,
        version: int = 1,
    ) -> list[Any]:
        """A row as the sink writes it."""
        tokens = {name: self.token(event, name, value, at_ms, tenant) for name, value in unique.items()}
        named = {"service": "shop", **({"tenant": tenant} if tenant else {}), **(labels or {})}
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        return [version, event, 1, "p1-test", at, named, {"amount": 1.5}, tokens, texts or {}]

    def insert(self, rows: Sequence[list[Any]]) -> None:
        self.client.insert("events", list(rows), list(COLUMNS), settings=ANY)

    def value(self, sql: str) -> Any:
        """The only value of a query."""
        return self.client.query(sql).result_rows[0][0]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql).result_rows]

    def __call__(self, *words: str, code: int = 0, keys: bool = True) -> str:
        """What a command prints to stdout; all it says is kept in `said`."""
        where = ["--region", REGION, "--store", self.address, "--database", self.database]
        found = main([words[0], *where, *(["--keys", str(self.keys)] if keys else []), *words[1:]])
        out, err = self.capsys.readouterr()
        self.said = out + err
        assert found == code, self.said
        return out
