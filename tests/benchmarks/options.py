"""Options: what a person says about a run of the benchmarks, and what stands in a benchmark's way."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge.schemas.errors import StreamgaugeError


class BenchmarkFailed(StreamgaugeError):
    """The measured part ended, got stuck, or counted wrong: there is no figure to report. The text says which."""


@dataclass(frozen=True, slots=True)
class Options:
    """`quick` measures little data: good enough to see that a benchmark works. `profile` also says where time goes."""

    quick: bool = False
    profile: bool = False

    def sized(self, full: int, quick: int) -> int:
        """The size that this run asks for."""
        return quick if self.quick else full
