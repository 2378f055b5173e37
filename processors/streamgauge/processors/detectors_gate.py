"""The gate: which rules might find something, asked of all of them at once, in time that grows with the text's length only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

from streamgauge.schemas.errors import StreamgaugeError

MEMORY = 32 << 20


class _Set(Protocol):
    def Add(self, pattern: bytes) -> int: ...  # noqa: N802
    def Compile(self) -> None: ...  # noqa: N802
    def Match(self, text: bytes) -> list[int] | None: ...  # noqa: N802


class GateFailed(StreamgaugeError):
    """The gate gave no answer at all. What was asked about must not go on."""


class Gate:
    """Holds the patterns of every rule, and asks them all at once: `rules(match(text))`."""

    def __init__(self, rules: Sequence[Sequence[str]]) -> None:
        re2 = import_module("re2")  # the library carries no types
        options = re2.Options()
        options.max_mem = MEMORY
        options.log_errors = False
        built = cast("_Set", re2.Set.SearchSet(options))
        # matches everything: without it, an automaton that ran out of memory looks like one that found nothing
        built.Add(b"^")
        self._rule_of = [-1]
        for number, patterns in enumerate(rules):
            for pattern in patterns:
                built.Add(pattern.encode())
                self._rule_of.append(number)
        built.Compile()
        # the wrapper only encodes, which callers do themselves
        self.match = cast("Callable[[bytes], list[int]]", getattr(built, "_set", built).Match)
        """Numbers of patterns. One alone says that no rule might find anything; none, that the gate failed."""

    def rules(self, found: list[int]) -> tuple[int, ...]:
        """Numbers of the rules that these patterns belong to, in order. Raises GateFailed."""
        if not found:
            raise GateFailed("the automaton of the detectors ran out of memory")
        rule_of = self._rule_of
        return tuple(sorted({rule_of[number] for number in found if number}))
