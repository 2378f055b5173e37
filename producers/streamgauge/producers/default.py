"""Default: the producer that metrics and `emit` use unless they are given one. It is made when it is first needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from streamgauge.producers import native
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import usable_settings
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.consent import Consent
from streamgauge.schemas.errors import DeclarationError, SettingsError
from streamgauge.schemas.events import Event

log = logging.getLogger(__name__)


class Bound(Protocol):
    """A metric that was declared without a producer."""

    def unbind(self) -> None:
        """Look for the default producer again at the next call."""
        ...


class _Default:
    """The one default of a process, and the metrics that follow it."""

    def __init__(self) -> None:
        self._locks: dict[int, native.Lock] = {}
        self.producer: Producer | None = None
        self.followers: WeakSet[Bound] = WeakSet()
        self.heads: dict[str, MetricHead] = {}

    @property
    def lock(self) -> native.Lock:
        """This process's lock: in a forked child a thread that is not there any more may hold the inherited one."""
        return self._locks.get(os.getpid()) or self._locks.setdefault(os.getpid(), native.rlock())


_default = _Default()


def get_default() -> Producer:
    """The default producer, made from the environment's settings at the first call.

    Settings that cannot be used raise SettingsError in development; elsewhere they are logged and left at their default,
    because telemetry must not keep a service from starting.
    """
    with _default.lock:
        if _default.producer is None:
            settings, problems = usable_settings(os.environ)
            if problems and settings.raises:
                raise SettingsError(problems)
            for problem in problems:
                log.error("%s; this setting is ignored", problem)
            _default.producer = Producer(settings)
        return _default.producer


def set_default(producer: Producer | None) -> None:
    """Let metrics declared without a producer, and `emit`, use this one from now on; None: a new one when needed.

    Handles that were kept before stay with the producer they came from. The former default is not closed.
    """
    with _default.lock:
        _default.producer = producer
        followers = list(_default.followers)
    for one in followers:
        one.unbind()


@contextmanager
def replaced_default(producer: Producer) -> Generator[None, None, None]:
    """Use this producer as the default for a while, then the former one again."""
    former = _default.producer
    set_default(producer)
    try:
        yield
    finally:
        set_default(former)


def follow(metric: Bound, head: MetricHead) -> None:
    """Let a metric use the default producer. Raises DeclarationError when its name is declared otherwise already."""
    with _default.lock:
        known = _default.heads.setdefault(head.name, head)
        if known != head:
            raise DeclarationError(
                f"metric {head.name!r} is declared twice: as {known.type} with labels {known.labels}, unit {known.unit!r} "
                f"and as {head.type} with labels {head.labels}, unit {head.unit!r}. Share one declaration, or rename one."
            )
        _default.followers.add(metric)


def is_made() -> bool:
    """Whether there is a default producer already."""
    return _default.producer is not None


def tell(one: Bound) -> None:
    """Call its `unbind` whenever the default producer becomes another one."""
    with _default.lock:
        _default.followers.add(one)


def emit(event: Event, *, at_ms: int | None = None, consent: Consent | None = None) -> None:
    """Send an event through the default producer; see `Producer.emit`."""
    (_default.producer or get_default()).emit(event, at_ms=at_ms, consent=consent)
