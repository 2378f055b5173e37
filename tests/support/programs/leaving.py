"""Ends while the flusher is in the middle of encoding and sending."""

from streamgauge.producers import Counter, Event, Unique, emit

CALLS = Counter("calls", "", ["who"])


class Clicked(Event, owner="tests", purpose="tests"):
    """Somebody clicked."""

    visitor: Unique[str]


for number in range(6_000):
    CALLS.labels("main").inc()
    emit(Clicked(visitor=str(number)))
