"""Kafka client configuration: the one place that turns settings into librdkafka properties."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from streamgauge.schemas.settings import Secret

log = logging.getLogger("streamgauge.kafka")

SAY_EVERY_S = 60.0


class Complaints:
    """Says what a client complains about once, and again after a minute: librdkafka repeats it twenty times a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, error: Any) -> None:
        """librdkafka's `error_cb`."""
        name, now = str(error.name()), self._clock()
        if now - self._said.get(name, -SAY_EVERY_S) >= SAY_EVERY_S:
            self._said[name] = now
            log.warning("Kafka: %s; trying again", error.str())


def client_config(
    brokers: Iterable[str], properties: Iterable[tuple[str, str]] = (), password: Secret | None = None
) -> dict[str, Any]:
    """What every client starts from. Holds the password: never log it."""
    config: dict[str, Any] = {
        "bootstrap.servers": ",".join(brokers),
        # metrics about this client are nobody's business unless the cluster's operator asks for them in `properties`
        "enable.metrics.push": False,
        "log_level": 0,
        "error_cb": Complaints(),
        "reconnect.backoff.max.ms": 2_000,
    }
    config |= dict(properties)
    if password:
        config["sasl.password"] = password.reveal()
    return config
