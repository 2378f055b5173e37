"""StatsD intake: a line becomes what a series gains, or an event. Every line is on the account, whatever it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import cast

from streamgauge.console.gateway_account import Account, Refusal
from streamgauge.console.gateway_cells import Series
from streamgauge.console.gateway_events import EventIntake
from streamgauge.console.gateway_names import label_value, seconds_name, senders_name, shown_name
from streamgauge.console.gateway_places import Place, Places
from streamgauge.console.gateway_senders import Senders
from streamgauge.console.gateway_series import SeriesIndex
from streamgauge.console.gateway_times import TimeBounds
from streamgauge.console.statsd_lines import LineRefused, Sample, ServiceCheck, StatsdEvent, lines, parse
from streamgauge.console.statsd_tags import influx, read_tags

log = logging.getLogger("streamgauge.gateway")

METRICS, EVENTS, CHECKS, SETS = "statsd", "statsd_event", "statsd_check", "statsd_set"
KINDS = {"c": "counter", "m": "counter", "g": "gauge", "ms": "histogram", "h": "histogram", "d": "histogram"}
MAX_MEMBER = 4_096
SOURCES = 10_000


class StatsdIntake:
    """Takes packets. `signed` is `steps`, `values` or `auto`: what the sign of a gauge means. One thread only."""

    def __init__(
        self,
        index: SeriesIndex,
        senders: Senders,
        events: EventIntake,
        account: Account,
        times: TimeBounds,
        signed: str = "auto",
        allow: Callable[[], bool] | None = None,
    ) -> None:
        self._index = index
        self._senders = senders
        self._events = events
        self._account = account
        self._times = times
        self._signed = signed
        self._allow = allow
        self._sources: set[Hashable] = set()
        self._spoken = False
        self._places: Places[tuple[str, str, str]] = Places()

    def packet(self, packet: bytes, now_ms: int, datadog: bool = False, source: Hashable = None) -> None:
        """Take the lines of one packet. `datadog`: it came where only DogStatsD clients send; `source`: who sent it, where
        that is known, since one who ever spoke DogStatsD means it in plain lines too."""
        datadog = datadog or (source is not None and source in self._sources)
        self._spoken = False
        for line in lines(packet):
            self.line(line, now_ms, datadog)
        if self._spoken and source is not None and not datadog:
            if len(self._sources) >= SOURCES:
                self._sources.clear()
            self._sources.add(source)

    def line(self, line: bytes, now_ms: int, datadog: bool = False) -> None:
        """Take one line."""
        kind = EVENTS if line.startswith(b"_e{") else CHECKS if line.startswith(b"_sc|") else METRICS
        self._account.received[kind] += 1
        try:
            if self._allow is not None and not self._allow():
                raise Refusal("rate_limited")
            found = parse(line)
            if kind == METRICS:
                for sample in cast("Sequence[Sample]", found):
                    if sample.datadog:
                        self._spoken = True
                    self._sample(sample, now_ms, datadog or sample.datadog)
            elif isinstance(found, StatsdEvent):
                self._event(found, now_ms)
            elif isinstance(found, ServiceCheck):
                self._check(found, now_ms)
        except (LineRefused, Refusal) as error:
            self._account.refuse(kind, error.reason)
        except Exception as error:  # no line ends the service; its text may hold a value, so only the name is said
            log.error("a line was not taken: internal error %s", type(error).__name__)
            self._account.refuse(kind, "internal_error")

    def _sample(self, sample: Sample, now_ms: int, datadog: bool) -> None:
        at_ms = self._times.checked(sample.at_s * 1000, now_ms) if sample.at_s else now_ms
        if sample.unknown:
            self._account.adjust(METRICS, "unknown_section", sample.unknown)
        if sample.type == "s":
            self._member(sample, at_ms, now_ms)
            return
        key = (sample.name, sample.type, sample.tags)
        place = self._places.find(key)
        if place is None:
            place = self._places.keep(key, self._find(sample, now_ms), len(sample.name) + len(sample.tags))
        for reason in place.adjusted:
            self._account.adjust(METRICS, reason, len(sample.numbers))
        record(place.series, sample, at_ms, self._steps(datadog))

    def _find(self, sample: Sample, now_ms: int) -> Place:
        own, tagged = influx(sample.name)
        name = senders_name(own)
        tags = read_tags(sample.tags, tagged)
        sender, itself = self._senders.find(tags.sender, now_ms)
        unit = ""
        if sample.type == "ms":
            name, unit = seconds_name(name), "s"
        series, adjusted = self._index.find(sender, name, KINDS[sample.type], unit, tags.labels, now_ms)
        if tags.cut:
            adjusted = (*adjusted, "tag_shortened")
        return Place(series, adjusted if itself else (*adjusted, "sender_overflow"))

    def _steps(self, datadog: bool) -> bool:
        return self._signed == "steps" or (self._signed == "auto" and not datadog)

    def _member(self, sample: Sample, at_ms: int, now_ms: int) -> None:
        own, tagged = influx(sample.name)
        name = shown_name(own)
        if len(sample.texts[0]) > MAX_MEMBER:
            raise Refusal("too_long")
        tags = read_tags(sample.tags, tagged)
        if tags.labels:
            self._account.adjust(SETS, "tags_dropped")
        values = {"set_name": name, "member": sample.texts[0]}
        self._events.ours("statsd_set", values, tags.sender, at_ms, now_ms)

    def _event(self, event: StatsdEvent, now_ms: int) -> None:
        at_ms = self._times.checked(event.at_s * 1000, now_ms) if event.at_s else now_ms
        tags = read_tags(event.tags)
        self._note(EVENTS, event.unknown, bool(tags.labels))
        values = {
            "alert_type": event.alert_type,
            "priority": event.priority,
            "source": label_value(event.source) or None,
        }
        self._events.ours("statsd_event", values, tags.sender, at_ms, now_ms)

    def _check(self, check: ServiceCheck, now_ms: int) -> None:
        at_ms = self._times.checked(check.at_s * 1000, now_ms) if check.at_s else now_ms
        name = shown_name(check.name)
        tags = read_tags(check.tags)
        self._note(CHECKS, check.unknown, bool(tags.labels))
        values = {"check": name, "status": check.status}
        self._events.ours("statsd_service_check", values, tags.sender, at_ms, now_ms)

    def _note(self, kind: str, unknown: int, tagged: bool) -> None:
        if unknown:
            self._account.adjust(kind, "unknown_section", unknown)
        if tagged:
            self._account.adjust(kind, "tags_dropped")


def record(series: Series, sample: Sample, at_ms: int, steps: bool) -> None:
    """Add the values of a sample to its series. With `steps` a gauge's sign says that it moved; `+` always does."""
    kind = sample.type
    if kind in {"c", "m"}:
        for number in sample.numbers:
            series.add(number / sample.rate, series.calls(sample.rate), at_ms)
    elif kind == "g":
        for text, number in zip(sample.texts, sample.numbers, strict=True):
            if text[0] == "+" or (text[0] == "-" and steps):
                series.step(number, at_ms)
            else:
                series.set(number, at_ms)
    else:
        scale = 1000.0 if kind == "ms" else 1.0
        for number in sample.numbers:
            series.observe(number / scale, series.calls(sample.rate), at_ms)
