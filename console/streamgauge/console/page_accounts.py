"""Accounts: the same points counted in independent places: where they are emitted, rolled up, stored and refused.

While points are on their way the counts differ. Only a final account, taken when everything stands still, can say that
something is missing; what is certain before (a gap in the ledger, something added twice) shows at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from streamgauge.console.page_ledger import LedgerCount, StoreCount
from streamgauge.producers import Stats
from streamgauge.schemas.ledger import has_letter

DECLARED: Final = frozenset({"pseudonym", "dropped"})
"""Rules that a declaration asks for. The others found something in text."""
EVERY_TIER: Final = "1d"
"""The coarsest tier holds every point, wherever it entered."""


@dataclass(frozen=True, slots=True)
class Emission:
    """The books of one sending process, in points; `planted` counts personal data that it sent on purpose, by rule."""

    emitted: int
    acknowledged: int
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    planted: Mapping[str, int] = field(default_factory=dict[str, int])
    final: bool = False


def emission_of_line(line: Mapping[str, Any]) -> Emission:
    """Of a line that a shop prints."""
    return Emission(
        int(line["emitted"]),
        int(line["acknowledged"]),
        dict(cast("Mapping[str, int]", line.get("dropped", {}))),
        dict(cast("Mapping[str, int]", line.get("planted", {}))),
        bool(line.get("final", False)),
    )


def emission_of_stats(stats: Stats, final: bool = False) -> Emission:
    """Of a producer of this process."""
    dropped: Counter[str] = Counter()
    for (_, reason), points in stats.dropped.items():
        dropped[reason] += points
    return Emission(sum(stats.emitted.values()), sum(stats.acknowledged.values()), dict(dropped), {}, final)


@dataclass(frozen=True, slots=True)
class Accounts:
    """One account. Points, but for `scrubbed` (values by rule) and the lags (seconds, None: nothing measured yet).

    `emitted` is None where the senders are not known. `dead` are the refused points that are listed as dead letters.
    """

    emitted: int | None
    rolled_up: int
    in_store: int
    refused: int
    scrubbed: Mapping[str, int]
    dead: int
    lost: int
    doubled: int
    lag_p50_s: float | None = None
    lag_p99_s: float | None = None
    acknowledged: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    planted: Mapping[str, int] = field(default_factory=dict[str, int])
    refused_by_reason: Mapping[str, int] = field(default_factory=dict[str, int])
    tiers: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """What each tier must hold, and what it does."""
    blocks: int = 0
    """Points of the blocks that were inserted, as the inserts themselves wrote it down."""
    final: bool = False

    @property
    def found(self) -> int:
        """Values in which personal data was found and replaced."""
        return sum(count for rule, count in self.scrubbed.items() if rule not in DECLARED)

    @property
    def lettered(self) -> int:
        """Refused points that dead letters tell of."""
        return sum(points for reason, points in self.refused_by_reason.items() if has_letter(reason))

    @property
    def balanced(self) -> bool:
        """Whether this is final and every count agrees with every other one."""
        return self.final and not self.differences()

    def differences(self) -> list[str]:
        """Where counts disagree, in words. Means something only when nothing is on its way any more."""
        dropped = sum(self.dropped.values())
        pairs = [
            ("rolled up", self.rolled_up, "in store", self.in_store),
            ("rolled up", self.rolled_up, "in blocks", self.blocks),
            ("refused with a letter", self.lettered, "dead", self.dead),
        ]
        if self.emitted is not None:
            handled = self.rolled_up + self.refused + dropped
            pairs.append(("emitted", self.emitted, "rolled up, refused or dropped", handled))
        pairs += [(f"due in {tier}", due, f"in {tier}", held) for tier, (due, held) in self.tiers.items()]
        pairs += [
            (f"{rule} sent", sent, f"{rule} scrubbed", self.scrubbed.get(rule, 0))
            for rule, sent in self.planted.items()
        ]
        found = [f"{left} {a:,}, {right} {b:,}" for left, a, right, b in pairs if a != b]
        return found + [f"{name} {n:,}" for name, n in (("lost", self.lost), ("doubled", self.doubled)) if n]

    def json(self) -> dict[str, Any]:
        """For `--json` and for the page."""
        return {
            "emitted": self.emitted,
            "rolled_up": self.rolled_up,
            "in_store": self.in_store,
            "refused": self.refused,
            "scrubbed": dict(self.scrubbed),
            "dead": self.dead,
            "lost": self.lost,
            "doubled": self.doubled,
            "lag_p50_s": self.lag_p50_s,
            "lag_p99_s": self.lag_p99_s,
            "acknowledged": self.acknowledged,
            "dropped": dict(self.dropped),
            "planted": dict(self.planted),
            "found": self.found,
            "refused_by_reason": dict(self.refused_by_reason),
            "blocks": self.blocks,
            "tiers": {tier: {"due": due, "held": held} for tier, (due, held) in self.tiers.items()},
            "final": self.final,
            "balanced": self.balanced,
        }


def settle(
    emissions: Iterable[Emission] | None,
    ledger: LedgerCount,
    store: StoreCount,
    lag: tuple[float | None, float | None] = (None, None),
    *,
    final: bool = False,
) -> Accounts:
    """Put the counts side by side. `emissions` is None where the senders are not known.

    `final` says that nothing is on its way any more: the senders are closed, worker and sink have caught up.
    """
    senders = None if emissions is None else list(emissions)
    refused = sum(ledger.refused.values())
    handled = ledger.points + refused
    tiers = {tier: (due, store.tiers.get(tier, 0)) for tier, due in ledger.tiers.items()}
    # a gap is counted in messages, each of which held at least one point
    lost, doubled = ledger.gaps, ledger.repeated
    emitted = acknowledged = None
    dropped: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    if senders is not None:
        emitted, acknowledged = sum(one.emitted for one in senders), sum(one.acknowledged for one in senders)
        for one in senders:
            dropped.update(one.dropped)
            planted.update(one.planted)
    if final:
        if emitted is not None and acknowledged is not None:
            lost = max(lost, acknowledged - handled)
            doubled = max(doubled, handled - emitted)
        lost += max([0, *(due - held for due, held in tiers.values())])
        doubled += max([0, *(held - due for due, held in tiers.values())])
    return Accounts(
        emitted=emitted,
        rolled_up=ledger.points,
        in_store=store.tiers.get(EVERY_TIER, 0),
        refused=refused,
        scrubbed=ledger.scrubbed,
        dead=store.dead,
        lost=lost,
        doubled=doubled,
        lag_p50_s=lag[0],
        lag_p99_s=lag[1],
        acknowledged=acknowledged,
        dropped=dict(dropped),
        planted=dict(planted),
        refused_by_reason=ledger.refused,
        tiers=tiers,
        blocks=store.blocks,
        final=final,
    )


def balance_json(accounts: Accounts) -> dict[str, Any]:
    """The account as a JSON object."""
    return accounts.json()


def status_line(elapsed_s: float, accounts: Accounts) -> str:
    """The account on one line, for a terminal."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    emitted = "–" if accounts.emitted is None else f"{accounts.emitted:,}"
    lag = "–" if accounts.lag_p50_s is None else f"{accounts.lag_p50_s:.1f} s"
    said = [
        f"{minutes:02}:{seconds:02}",
        f"emitted {emitted}",
        f"rolled up {accounts.rolled_up:,}",
        f"in store {accounts.in_store:,}",
        f"lag {lag}",
        f"scrubbed {accounts.found:,}",
        f"dead {accounts.dead:,}",
        f"lost {accounts.lost:,}",
        f"doubled {accounts.doubled:,}",
    ]
    if gone := sum(accounts.dropped.values()):
        said.append(f"dropped {gone:,}")
    return "  ".join(said)
