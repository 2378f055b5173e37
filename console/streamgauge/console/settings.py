"""Connection settings of the console: where Kafka and ClickHouse are, and where a running `streamgauge dev` says so."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.kafka_config import client_config
from streamgauge.schemas.settings import Secret, country, flag, names, pairs, paths, setting, variable

DEV_FILE = Path(".streamgauge") / "dev.json"
"""Written by `streamgauge dev`: `{"brokers", "region", "store", "database", "page", "embedded", "process_group"}`."""

RING_FILE = "keys.json"
"""Beside the dev file: the key ring of pseudonyms, for the owner's eyes only."""

OF_BROKERS = ("brokers", "region", "process_group", "embedded", "keys")
OF_KEYS = ("keys", "pseudonym_key")


def region_name(value: str) -> str:
    """A region's name, which is part of its topics' names."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", value.strip()):
        raise ValueError("a region is part of topic names: letters, digits, _ and - only")
    return value.strip()


def store_url(value: str) -> str:
    """The address of ClickHouse's HTTP interface. A user or a password in it would be shown, so neither is taken."""
    parts = urlsplit(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("say http://host:8123 or https://host:8443")
    if parts.username or parts.password:
        raise ValueError(f"give the user as {variable('store_user')} and the password as {variable('store_password')}")
    return value.strip().rstrip("/")


def properties(value: str) -> tuple[tuple[str, str], ...]:
    """librdkafka properties without passwords."""
    found = pairs(value)
    if hidden := [name for name, _ in found if "password" in name]:
        raise ValueError(f"{', '.join(hidden)} would be shown here; use {variable('kafka_password')}")
    return found


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """How to reach one region."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:9092",), "Kafka brokers, host:port, comma-separated", names)
    region: str = setting("local", "region whose topics and tables are meant", region_name)
    environment: str = setting("development", "deployment environment that loaded rows belong to")
    store: str = setting("http://127.0.0.1:8123", "ClickHouse over HTTP", store_url)
    store_user: str = setting("default", "ClickHouse user")
    store_password: Secret = setting(Secret(""), "ClickHouse password", Secret)
    database: str = setting("streamgauge", "ClickHouse database")
    contracts: tuple[Path, ...] = setting((), "contract files or directories, comma-separated", paths)
    kafka: tuple[tuple[str, str], ...] = setting((), "librdkafka properties name=value, comma-separated", properties)
    kafka_password: Secret = setting(Secret(""), "SASL password of Kafka", Secret)
    process_group: str = setting("", "consumer group of the processors")
    keys: str = setting("", "key ring of pseudonyms, for `tail`, `dead`, `forget` and `export-subject`")
    pseudonym_key: Secret = setting(Secret(""), "instead of a key ring, one key for ever", Secret)
    phone_region: str = setting("", "country (`DE`) of phone numbers without +, as workers have it", country)
    embedded: bool = setting(False, "whether the broker keeps its log in memory only (true or false)", flag)

    def kafka_config(self) -> dict[str, Any]:
        """What every Kafka client of the console starts from, silent. Holds the password: never log it."""
        return {"log_level": 0} | client_config(self.brokers, self.kafka, self.kafka_password)

    @property
    def has_keys(self) -> bool:
        """Whether keys of pseudonyms are named."""
        return bool(self.keys or self.pseudonym_key)

    @property
    def address(self) -> str:
        """The brokers as one text."""
        return ",".join(self.brokers)


def find_dev_file(start: Path) -> Path | None:
    """The dev file of `start` or of the nearest parent that has one."""
    found = (place / DEV_FILE for place in (start, *start.parents))
    return next((path for path in found if path.is_file()), None)


def read_dev_file(path: Path) -> dict[str, str]:
    """The dev file's values as text. Raises SettingsError when it cannot be read."""
    try:
        body: Any = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError([f"{path}: {error}; remove it, or start `streamgauge dev` again"]) from error
    if not isinstance(body, dict):
        raise SettingsError([f"{path}: not a JSON object; remove it, or start `streamgauge dev` again"])
    found = {str(key): str(value) for key, value in cast("dict[Any, Any]", body).items()}
    ring = path.parent / RING_FILE
    if os.access(ring, os.R_OK):  # its owner only
        found["keys"] = str(ring)
    return found


def dev_layer(dev: Mapping[str, str], given: frozenset[str]) -> dict[str, str]:
    """What the dev file adds below the settings that were `given`.

    A connection is taken as a whole or not at all: brokers given elsewhere never meet the dev file's region.
    """
    layer: dict[str, str] = {}
    if "brokers" not in given:
        layer |= {key: dev[key] for key in OF_BROKERS if key in dev}
    if given.intersection(OF_KEYS):  # there is one source of keys
        layer.pop("keys", None)
    if "store" not in given:
        layer |= {key: dev[key] for key in ("store", "database") if key in dev}
    return layer


def split_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names from an option that may be repeated and may hold commas, in order."""
    return tuple(name for value in values for name in names(value))
