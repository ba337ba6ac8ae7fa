"""Rules: what becomes of each kind of slot, by how the two leaves were trained; and how exact that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.slots import Kind
from tiecli.ties import Tie

Policy = Literal["carry", "reset"]
"""What to do with optimizer state: carry it across, or begin it anew, counts included."""

Regime = Literal["replicas", "independent", "dead", "empty", "parameters", "counts", "reset"]
"""How alias and canonical leaf were trained, told by their state.

`replicas`: each has the state of the whole gradient, as copies that are kept equal have.
`independent`: each has that of its own. `dead`: the alias never received a gradient.
`empty`: neither has any yet. `parameters`: copies of the leaves themselves, such as averages.
`counts`: steps taken. `reset`: as was asked for.
"""

MERGED: frozenset[Regime] = frozenset({"independent", "reset"})
"""The regimes in which the canonical leaf's state gets new values."""


@dataclass(frozen=True, slots=True)
class CarriedSlot:
    """What becomes of one slot of an alias.

    Attributes:
        slot: Its name: `mu`, `exp_avg_sq`, ….
        kind: How it follows from the gradients.
        tie: How the alias's slot follows from the canonical leaf's from now on.
        regime: How the two were trained.
        rule: What is done, in a few words.
        exact: Whether training goes on as if the leaves had always been tied.
    """

    slot: str
    kind: Kind | Literal["count"]
    tie: Tie
    regime: Regime
    rule: str
    exact: bool

    @property
    def alias(self) -> KeyPath:
        """The alias's slot."""
        return self.tie.alias

    @property
    def canonical(self) -> str:
        """The canonical leaf's slot, as people see it."""
        return spell_leaves(self.tie.canonicals)

    @property
    def is_merged(self) -> bool:
        """Whether the canonical leaf's slot gets new values."""
        return self.regime in MERGED


def choose_rule(kind: Kind, regime: Regime, slot: str) -> tuple[str, bool] | None:
    """Says what is done with a slot, and whether that is exact; None where there is no valid rule.

    Args:
        kind: How it follows from the gradients.
        regime: How the two leaves were trained.
        slot: Its name.
    """
    settled: dict[Regime, tuple[str, bool]] = {
        "replicas": ("one of two equal states kept", True),
        "empty": ("one of two equal states kept", True),
        "parameters": ("tied as the leaves are", True),
        "dead": ("the canonical leaf's kept", True),
        "reset": ("set to zero", False),
    }
    if regime in settled:
        return settled[regime]
    if kind == "linear":
        return "summed", True
    if kind == "square":
        bounded = "max" in slot or "inf" in slot
        lacks = "which a maximum never exceeds" if bounded else "without the product of the two gradients"
        return f"squares summed, {lacks}", False
    return None
