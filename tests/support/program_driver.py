"""Runs a program as it stands, but what it sends goes to a file: python -m tests.support.program_driver FILE PROGRAM [WORDS]."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

from streamgauge.producers import default
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import CapturedTransport


class Telling(CapturedTransport):
    """Writes what was delivered down when its producer closes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def close(self, seconds: float) -> None:
        """Answer what is open, and tell."""
        super().close(seconds)
        lines = [json.dumps({"topic": one.topic, "value": one.value.decode()}) + "\n" for one in self.delivered]
        with self._path.open("a") as file:
            file.write("".join(lines))


def main(output: str, program: str, *words: str) -> None:
    """Let every producer that the program makes tell."""

    def telling(settings: ProducerSettings) -> Producer:
        return Producer(settings, Telling(Path(output)))

    setattr(default, "Producer", telling)  # noqa: B010  # mypy refuses the assignment
    if importlib.util.find_spec("opentelemetry.sdk"):
        from streamgauge.producers.bridges import opentelemetry

        setattr(opentelemetry, "Producer", telling)  # noqa: B010
    sys.argv = [program, *words]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
