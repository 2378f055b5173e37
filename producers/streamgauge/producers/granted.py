"""Granted: the consent that holds around a call, so that one place of an application reads it from the request."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from streamgauge.schemas.consent import Consent

_current: ContextVar[Consent | None] = ContextVar("streamgauge_consent", default=None)


@contextmanager
def granted(consent: Consent | None) -> Generator[None, None, None]:
    """Events emitted in this block, and in tasks begun in it, carry this consent unless they are given another one.

    None: nothing is granted in it. Threads begun in it know nothing of it (contextvars.copy_context tells them).
    """
    token = _current.set(consent)
    try:
        yield
    finally:
        _current.reset(token)


def current_consent() -> Consent | None:
    """The consent of the innermost block around this call."""
    return _current.get()
