"""Kafka client configuration: the one place that turns settings into librdkafka properties."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamgauge.schemas.settings import Secret


def client_config(
    brokers: Iterable[str], properties: Iterable[tuple[str, str]] = (), password: Secret | None = None
) -> dict[str, Any]:
    """What every client starts from. Holds the password: never log it."""
    # metrics about this client are nobody's business unless the cluster's operator asks in `properties`
    config: dict[str, Any] = {"bootstrap.servers": ",".join(brokers), "enable.metrics.push": False, "log_level": 3}
    config |= dict(properties)
    if password:
        config["sasl.password"] = password.reveal()
    return config
