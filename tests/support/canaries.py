"""Canaries: marks that must be nowhere behind the worker, in a message for each place where a sender can put something."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import orjson

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.packing import pack, pack_strings
from tests.unit.processors.raw import ASKED, NOW, Sample, events, metrics

PERSONAL = ("canary@example.com", "4111111111111111", "203.0.113.77", "2001:db8::77")
SECRET = "canary-7f3a"
"""Nothing that a detector could know: it must not pass because of where it stands."""
HEAD = MetricHead("requests", "counter", "1", ("route",))
EVENT: dict[str, Any] = {"country": "AU", "segment": "free", "amount": 1.5, "customer": "c", "note": "n"}


def event(**changes: Any) -> dict[str, Any]:
    """A decoded batch of one good event, with other envelope keys."""
    body: dict[str, Any] = orjson.loads(events([EVENT]))
    return body | changes


def single(context: dict[str, str] | None = None, **columns: Any) -> dict[str, Any]:
    """A decoded batch of one event that is kept by itself."""
    row = {"topic": "bill", "minutes": 1.5, "customer": "c", "remark": "where is it?"}
    body: dict[str, Any] = orjson.loads(events([row], ASKED, context, **columns))
    return body


def metric(**changes: Any) -> dict[str, Any]:
    """A decoded batch of one good point, with other envelope keys."""
    body: dict[str, Any] = orjson.loads(metrics([Sample(HEAD, ("/a",), NOW)]))
    return body | changes


def everything(canary: str) -> dict[str, Any]:
    """A message for each place where a sender can put something."""
    context = {"service": "shop"}
    return {
        "open dimension": event(fields={"country": pack_strings([canary])}),
        "context value": event(context={"service": canary, "country": f"x {canary}"}),
        "context value of a metric": metric(context={"service": canary, "instance": canary}),
        "context value of a gauge": orjson.loads(
            metrics([Sample(MetricHead("depth", "gauge"), (), NOW)], {"instance": f"i {canary}"})
        ),
        "label value": metric(series=[[0, canary]]),
        "label value in a sentence": metric(series=[[0, f"login of {canary} failed"]]),
        "context of a single event": single({"service": canary, "tenant": f"x {canary}"}),
        "dimension of a single event": single(topic=pack_strings([canary])),
        "free text": single(remark=pack_strings([f"call {canary} now"])),
        "free text where it is cut": single(remark=pack_strings(["a " * 500 + canary + " b" * 900])),
        "unit": metric(metrics=[HEAD.json() | {"unit": canary}]),
        "envelope key": event(**{canary: canary}),
        "contract": event(contract=int(canary)) if canary.isdigit() else event(contract=canary),
        "contract version of an event that is not known": event(event="unknown", contract=4111111111111111),
        "kind": event(kind=canary),
        "context that is too large": event(context=context | {f"{canary}{n}": canary for n in range(40)}),
        "wrong context": event(context={"service": [canary]}),
        **anywhere(canary),
    }


def anywhere(canary: str) -> dict[str, Any]:
    """Places from which nothing at all may pass."""
    context = {"service": "shop"}
    return {
        "closed dimension": event(fields={"segment": pack_strings([canary])}),
        "unique field": event(fields={"customer": pack_strings([canary, "c"]) | {"i": pack("u1", [0])}}),
        "dropped field": event(fields={"note": pack_strings([canary])}),
        "unknown field": event(fields={"shoe_size": pack_strings([canary])}),
        "name of an unknown field": event(fields={canary: pack_strings(["x"])}),
        "context key": event(context=context | {canary: "x"}),
        "context key of a metric": metric(context=context | {canary: "x"}),
        "value of an unknown context key": event(context=context | {"shoe_size": canary}),
        "unique field of a single event": single(customer=pack_strings([canary])),
        "dropped field of a single event": single(note=pack_strings([canary])),
        "unknown field of a single event": single(shoe_size=pack_strings([canary])),
        "unused entry of free texts": single(remark=pack_strings(["x", canary]) | {"i": pack("u1", [0])}),
        "tenant": event(context=context, fields={"customer": pack_strings([canary])}),
        "stream": event(stream=canary),
        "wrong type": event(fields={"amount": pack_strings([canary])}),
        "not a column": event(fields={"country": canary}),
        "bad base64": event(fields={"country": {"d": ["x"], "i": canary}}),
        "unused entry of a dictionary": event(fields={"country": {"d": ["x", canary], "i": pack("u1", [0])}}),
    }


NAMES: dict[str, Callable[[str], dict[str, Any]]] = {
    "metric name": lambda name: metric(metrics=[HEAD.json() | {"name": name}]),
    "label name": lambda name: metric(metrics=[HEAD.json() | {"labels": [name]}]),
    "event name": lambda name: event(event=name),
    "metric type": lambda name: metric(metrics=[HEAD.json() | {"type": name}]),
    "granularity": lambda name: metric(metrics=[HEAD.json() | {"granularity": name}]),
}


def traces(canary: str) -> tuple[bytes, ...]:
    """Byte sequences that give the canary away: as it is, as JSON or a URL writes it, and inside base64 wherever it begins."""
    plain = canary.encode()
    packed = [b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)]
    return (
        plain,
        orjson.dumps(canary)[1:-1],
        canary.replace("@", "%40").encode(),
        *(one for one in packed if len(one) >= 8),
    )
