"""Flask: measures an application's HTTP exchanges by the rule of its URL (`/users/<int:id>`).

    app = Flask(__name__)
    instrument(app)

What it measures: `http_server`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.http_server import ROUTE_KEY
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.bridges.wsgi import MetricsMiddleware

if TYPE_CHECKING:
    from flask import Flask

    from streamgauge.producers.producer import Producer

_flask: Any = need("flask", "flask")


def instrument(app: Flask, *, producer: Producer | None = None, sizes: bool = True) -> None:
    """Measure every request of `app` from now on. A second call changes nothing."""
    if isinstance(app.wsgi_app, MetricsMiddleware):
        return
    # a signal, not before_request: other functions there may answer first
    _flask.request_started.connect(_name_route, app, weak=False)
    app.wsgi_app = MetricsMiddleware(app.wsgi_app, producer=producer, sizes=sizes)  # type: ignore[method-assign]  # as Flask's own documentation does


def _name_route(sender: object, **_: Any) -> None:
    if (rule := _flask.request.url_rule) is not None:
        _flask.request.environ[ROUTE_KEY] = rule.rule
