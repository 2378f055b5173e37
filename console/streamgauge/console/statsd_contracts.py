"""Contracts of what StatsD clients send beside metrics: events, service checks and sets. Declared here, since no client can.

Free text never travels: titles, messages and host names are left behind where a line is read.
"""

from __future__ import annotations

from typing import Literal

from streamgauge.schemas.events import Dimension, Event, Unique


class StatsdEventSeen(Event, name="statsd_event", version=1, owner="streamgauge", purpose="operations"):
    """A DogStatsD event. Its title, text, host and aggregation key are not kept."""

    alert_type: Dimension[Literal["error", "warning", "info", "success"]]
    priority: Dimension[Literal["normal", "low"]]
    source: Dimension[str | None]


class StatsdServiceCheck(Event, name="statsd_service_check", version=1, owner="streamgauge", purpose="operations"):
    """A DogStatsD service check. Its message and host are not kept."""

    check: Dimension[str]
    status: Dimension[Literal["ok", "warning", "critical", "unknown"]]


class StatsdSetMember(Event, name="statsd_set", version=1, owner="streamgauge", purpose="operations"):
    """One member of a StatsD set: counted distinct by name of the set, through a keyed pseudonym. Tags are not kept."""

    set_name: Dimension[str]
    member: Unique[str]


ALL: tuple[type[Event], ...] = (StatsdEventSeen, StatsdServiceCheck, StatsdSetMember)
