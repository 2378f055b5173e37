"""Settings of a producer: who sends, where to, and within which bounds. Without any of them a laptop works.

`STREAMGAUGE_*` variables win over OpenTelemetry's `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`; without brokers
the address that `streamgauge dev` leaves in `.streamgauge/dev.json` is used, else 127.0.0.1:9092.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

import orjson

from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import Context
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret, duration_ms, flag, load, pairs, setting, size_bytes, text, variable

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_BROKERS = "127.0.0.1:9092"
DEFAULT_REGION = "local"
DEFAULT_ENVIRONMENT = "development"
DEV_FILE = ".streamgauge/dev.json"
TRUSTING = frozenset({"development", "dev", "local", "test", "testing"})
"""Environments in which programming errors raise unless `strict` says otherwise."""
MAX_CONTEXT_VALUE = 256
MAX_INSTANCE = 100


def _positive(value: str) -> int:
    number = int(value)
    if number <= 0:
        raise ValueError("must be 1 or more")
    return number


def _span_ms(value: str) -> int:
    span = duration_ms(value)
    if span <= 0:
        raise ValueError("must be longer than nothing, for instance 250ms or 2s")
    return span


def _size(value: str) -> int:
    size = size_bytes(value)
    if size <= 0:
        raise ValueError("must be 1 byte or more")
    return size


def _region(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", value.strip()):
        raise ValueError("a region is part of topic names: letters, digits, _ and - only")
    return value.strip()


def _secret(value: str) -> Secret:
    return Secret(value)


def _properties(value: str) -> tuple[tuple[str, str], ...]:
    found = pairs(value)
    if hidden := [name for name, _ in found if "password" in name]:
        raise ValueError(f"{', '.join(hidden)} would be shown here; use {variable('kafka_password')}")
    return found


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """How one producer behaves. Times are in milliseconds, sizes in bytes."""

    brokers: str = setting("", "Kafka brokers, host:port, comma-separated")
    region: str = setting(DEFAULT_REGION, "deployment region: part of the topic names", _region)
    service: str = setting("unknown_service", "name of the service")
    environment: str = setting(DEFAULT_ENVIRONMENT, "deployment environment")
    version: str = setting("", "version of the service")
    instance: str = setting("", "id of this instance; a random suffix is added per process")
    cloud_region: str = setting("", "region that the data names, if not the deployment's; workers refuse other regions")
    tenant: str = setting("", "tenant that the data belongs to")
    country: str = setting("", "country that the service runs for")
    flush_interval: int = setting(2_000, "how often metrics are sent", _span_ms)
    flush_events_interval: int = setting(250, "how long an event waits at most before it is sent", _span_ms)
    exit_timeout: int = setting(2_000, "how long the end of the process waits for delivery", _span_ms)
    max_batch: int = setting(2_000, "events or points in one batch at most", _positive)
    max_batch_bytes: int = setting(512 << 10, "size of one batch at most", size_bytes)
    event_buffer: int = setting(10_000, "events that may wait to be batched", _positive)
    event_buffer_bytes: int = setting(16 << 20, "size of the events that may wait to be batched", size_bytes)
    outbox_bytes: int = setting(32 << 20, "size of the batches that may wait for the broker", size_bytes)
    backlog_bytes: int = setting(
        32 << 20, "memory for metrics beyond that; when it is full, windows become coarser", size_bytes
    )
    spool: str = setting("", "directory for what no broker takes; without one it waits in memory only")
    spool_bytes: int = setting(64 << 20, "size of the spool of one process at most", size_bytes)
    spool_pace: int = setting(1 << 20, "bytes a second that are sent again from the spool", _size)
    series_budget: int = setting(
        2_000, "series of one metric in use; further ones share the overflow series", _positive
    )
    strict: bool | None = setting(None, "raise on programming errors (default: in development and tests)", flag)
    publish_contracts: bool = setting(
        False, "send each event's contract before its first event (default: with `streamgauge dev`)", flag
    )
    kafka: tuple[tuple[str, str], ...] = setting((), "further librdkafka properties, name=value", _properties)
    kafka_password: Secret = setting(Secret(""), "SASL password", _secret)

    @property
    def raises(self) -> bool:
        """Whether programming errors raise, instead of being counted as drops."""
        return self.environment.lower() in TRUSTING if self.strict is None else self.strict

    def context(self, instance: str) -> Context:
        """What every batch says of its sender, in canonical names, without what is not known."""
        known = {
            "service": self.service,
            "environment": self.environment,
            "version": self.version,
            "instance": instance,
            "region": self.cloud_region or self.region,
            "tenant": self.tenant,
            "country": self.country,
        }
        return {key: unicode(value)[:MAX_CONTEXT_VALUE] for key, value in known.items() if value}


OTEL_ATTRIBUTES = {
    "service.name": "service",
    "service.version": "version",
    "service.instance.id": "instance",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
    "cloud.region": "cloud_region",
    "tenant": "tenant",
    "tenant.id": "tenant",
    "country": "country",
}
"""Resource attributes and the setting each one fills, the preferred spelling first."""


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # few need it, and everybody pays for imports

    return unquote(text)


def otel_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings that OpenTelemetry's variables say. A pair that is not `key=value` is skipped, as its rules ask."""
    attributes = {
        key.strip(): _decoded(value.strip())
        for key, equals, value in (
            part.partition("=") for part in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
        )
        if equals
    }
    found: dict[str, str] = {}
    for attribute, name in OTEL_ATTRIBUTES.items():
        if value := attributes.get(attribute):
            found.setdefault(name, value)
    if service := environ.get("OTEL_SERVICE_NAME"):
        found["service"] = service
    return found


def dev_values(directory: Path) -> dict[str, str]:
    """`brokers` and `region` of the nearest `.streamgauge/dev.json`, in `directory` or above it; empty without one."""
    for folder in (directory, *directory.parents):
        try:
            found: Any = orjson.loads((folder / DEV_FILE).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, orjson.JSONDecodeError) as error:
            raise SettingsError(
                [f"{folder / DEV_FILE}: {error}; delete it, `streamgauge dev` writes it anew"]
            ) from error
        values = cast("dict[str, object]", found) if isinstance(found, dict) else {}
        return {key: str(values[key]) for key in ("brokers", "region", "embedded") if key in values}
    return {}


def producer_settings(
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    known: Iterable[str] | None = None,
) -> ProducerSettings:
    """Settings of this process: flags > STREAMGAUGE_* > OTEL_* > the development file > defaults.

    `known` names settings of other parts that may stand in the environment; unless it is given any name may, because
    an application shares its environment with others. Raises SettingsError with every problem.
    """
    environ = os.environ if environ is None else environ
    prefix = variable("")
    names = [key[len(prefix) :].lower() for key in environ if key.startswith(prefix)] if known is None else known
    chosen = load(ProducerSettings, flags, environ, otel_values(environ), names)
    if chosen.brokers:
        return chosen
    from pathlib import Path  # with urllib in its wake: whoever names brokers never loads it

    found = dev_values(directory or Path.cwd())
    says_region = variable("region") in environ or "region" in (flags or {})
    return replace(
        chosen,
        brokers=text(found.get("brokers", "")) or DEFAULT_BROKERS,
        region=chosen.region if says_region else found.get("region", chosen.region),
        # where nobody reviews contracts, the class is all there is
        publish_contracts=chosen.publish_contracts or found.get("embedded") == "True",
    )


def usable_settings(environ: Mapping[str, str]) -> tuple[ProducerSettings, list[str]]:
    """What can be used of the environment, and what is wrong with the rest. For a process that must start anyway."""
    problems: list[str] = []
    good = {key: value for key, value in environ.items() if not key.startswith(variable(""))}
    for name in (one.name for one in fields(ProducerSettings)):
        if (key := variable(name)) not in environ:
            continue
        try:
            load(ProducerSettings, environ={key: environ[key]})
        except SettingsError as error:
            problems += error.problems
        else:
            good[key] = environ[key]
    try:
        return producer_settings(good), problems
    except SettingsError as error:
        return replace(load(ProducerSettings, environ=good, file=otel_values(good)), brokers=DEFAULT_BROKERS), [
            *problems,
            *error.problems,
        ]
