"""Programs of the tutorial: each run as a process of its own, with a transport that keeps what it sends."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from streamgauge.schemas.batches import MetricHead
from tests.support.documents import ROOT

TUTORIAL = ROOT / "docs" / "tutorial"
TIMING, PROMETHEUS, OPENTELEMETRY = (
    TUTORIAL / f"{name}.py" for name in ("timing", "prometheus_program", "opentelemetry_program")
)
NEEDS = {PROMETHEUS: "streamgauge.producers.prometheus", OPENTELEMETRY: "opentelemetry.sdk"}


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it was sent."""

    topic: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program sent and printed."""

    delivered: tuple[Sent, ...]
    output: str

    def heads(self) -> list[MetricHead]:
        """What its metrics declare."""
        found: dict[MetricHead, None] = {}
        for message in self.delivered:
            body: dict[str, Any] = json.loads(message.value)
            for one in cast("list[dict[str, Any]]", body.get("metrics", [])):
                labels = tuple(one["labels"])
                found[MetricHead(one["name"], one["type"], one["unit"], labels, one["granularity"])] = None
        return list(found)


def missing(program: Path) -> str | None:
    """The module that a program needs and that is not here, or None."""
    needed = NEEDS.get(program, "streamgauge.producers")
    try:
        return None if importlib.util.find_spec(needed) else needed
    except ModuleNotFoundError:
        return needed


@cache
def ran(program: Path, *words: str) -> Ran:
    """Run a program once. Fails with what it printed when it fails."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        output = Path(folder) / "sent"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.support.program_driver", str(output), str(program), *words],
            cwd=ROOT,
            env={**os.environ, "STREAMGAUGE_ENVIRONMENT": "production"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise AssertionError(f"{program.name} failed:\n{done.stdout}{done.stderr}")
        lines = output.read_text().splitlines() if output.exists() else []
    sent = [json.loads(line) for line in lines]
    return Ran(tuple(Sent(one["topic"], one["value"].encode()) for one in sent), done.stdout + done.stderr)
