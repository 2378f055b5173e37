"""The event door: a posted body becomes events, or reasons. Whatever is wrong is told by event and field, never by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from streamgauge.console.gateway_account import Account, Refusal
from streamgauge.console.gateway_event_json import Posted, documents, posted
from streamgauge.console.gateway_events import EventIntake
from streamgauge.console.gateway_times import TimeBounds

EVENT = "event"
MAX_TOLD = 20


@dataclass(slots=True)
class Answer:
    """What became of the events of one request."""

    accepted: int = 0
    delivered: bool | None = None
    """Whether the broker has them; None where nobody asked."""
    refused: Counter[str] = field(default_factory=Counter[str])
    problems: list[dict[str, str | int]] = field(default_factory=list[dict[str, "str | int"]])

    @property
    def status(self) -> int:
        """202 when something was accepted, 200 when the broker has it; else what the first refusal says."""
        if self.accepted:
            return 200 if self.delivered else 202
        return 429 if "rate_limited" in self.refused else 503 if "buffer_full" in self.refused else 400

    def json(self) -> bytes:
        """The answer's body."""
        told = {} if self.delivered is None else {"delivered": self.delivered}
        body = {"accepted": self.accepted, **told, "refused": dict(self.refused), "problems": self.problems}
        return orjson.dumps(body)


class EventDoor:
    """Takes bodies. `allow` says whether so many more events may come in now."""

    def __init__(
        self, events: EventIntake, account: Account, times: TimeBounds, allow: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._events = events
        self._account = account
        self._times = times
        self._allow = allow

    def take(self, body: bytes, now_ms: int) -> Answer:
        """Take every event that can be taken. Raises Refusal for a body that holds no events at all."""
        found = documents(body)
        self._account.received[EVENT] += len(found)
        answer = Answer()
        if not self._allow(len(found)):
            self._refuse(answer, 0, "", Refusal("rate_limited", "more events a second than are allowed"), len(found))
            return answer
        for number, document in enumerate(found):
            name = ""
            try:
                event = posted(document)
                name = event.event
                self._add(event, now_ms)
                answer.accepted += 1
            except Refusal as refusal:
                self._refuse(answer, number, name, refusal)
        return answer

    def _add(self, event: Posted, now_ms: int) -> None:
        kind = self._events.kind(event.event, event.version)
        if kind is None:
            version = "" if event.version is None else f" version {event.version}"
            raise Refusal("unknown_contract", f"no contract of this name{version} is in force")
        at_ms = now_ms if event.at_ms is None else self._times.checked(event.at_ms, now_ms)
        if not self._events.theirs(kind, event.fields, event.context, at_ms, now_ms, event.consent):
            self._account.adjust(EVENT, "sender_overflow")

    def _refuse(self, answer: Answer, number: int, name: str, refusal: Refusal, count: int = 1) -> None:
        self._account.refuse(EVENT, refusal.reason, count)
        answer.refused[refusal.reason] += count
        if len(answer.problems) < MAX_TOLD:
            told: dict[str, str | int] = {"number": number, "reason": refusal.reason, "why": str(refusal)}
            if name:
                told["event"] = name[:200]
            answer.problems.append(told)
