"""Regions: a deployment of its own for a benchmark, with or without a store, that ends whatever was started in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from streamgauge.schemas.contracts import Contract
from tests.benchmarks.options import BenchmarkFailed
from tests.support.deployment import Deployment

PATIENT = "120s"
"""Session timeout of a part that is held still and must keep its partitions."""


@contextlib.contextmanager
def region(bootstrap: str, name: str, contracts: Sequence[Contract] = (), store: bool = False) -> Generator[Deployment]:
    """Region `name` with its topics; with `store`, also a store and its tables. Its directory is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="streamgauge-benchmark-") as directory:
        folder = Path(directory) / "contracts"
        folder.mkdir()
        for contract in contracts:
            (folder / f"{contract.name}.json").write_bytes(contract.dump())
        parts = Deployment(bootstrap, Path(directory), name, contracts=str(folder))
        try:
            if store:
                parts.start_store()
                command(parts, "migrate")
            command(parts, "topics")
            yield parts
        finally:
            # the store last: the others still use it while they end
            for part in sorted(parts.parts, key=lambda one: one == "store"):
                parts.end(part)


def command(parts: Deployment, *words: str) -> None:
    """Run a command to its end; BenchmarkFailed with what it said when it does not end well."""
    if (done := parts.run(*words)).returncode:
        raise BenchmarkFailed(
            f"streamgauge {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()[-500:]}"
        )
