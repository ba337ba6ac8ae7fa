"""Rules: what becomes of each kind of slot, by how the two leaves were trained; and how exact that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.slots import Kind
from tiecli.ties import Tie
from tiecli.transforms import Transform

Blocks = Callable[[], Iterator[memoryview]]
"""Gives the bytes of a leaf, as often as it is asked."""

Policy = Literal["carry", "reset"]
"""What to do with optimizer state: carry it across, or begin it anew, counts included."""

Regime = Literal["replicas", "independent", "dead", "empty", "parameters", "counts", "reset"]
"""How alias and canonical leaf were trained, told by their state.

`replicas`: each has the state of the whole gradient, as copies that are kept equal have.
`independent`: each has that of its own. `dead`: the alias never received a gradient.
`empty`: neither has any yet. `parameters`: copies of the leaves themselves, such as averages.
`counts`: steps taken. `reset`: as was asked for.
"""


class Rule(NamedTuple):
    """What is done with a slot.

    Attributes:
        text: That, in a few words.
        exact: Whether training goes on as if the leaves had always been tied.
    """

    text: str
    exact: bool = True


@dataclass(frozen=True, slots=True)
class CarriedSlot:
    """What becomes of one slot of an alias.

    Attributes:
        owner: The alias that it is kept for.
        slot: Its name: `mu`, `exp_avg_sq`, ….
        kind: How it follows from the gradients; `other` of what has no known name.
        tie: How the alias's slot follows from the canonical leaf's from now on.
        regime: How the two were trained.
        rule: What is done.
    """

    owner: KeyPath
    slot: str
    kind: Kind | Literal["count", "other"]
    tie: Tie
    regime: Regime
    rule: Rule

    @property
    def alias(self) -> KeyPath:
        """The alias's slot."""
        return self.tie.alias

    @property
    def canonical(self) -> str:
        """The canonical leaf's slot, as people see it."""
        return spell_leaves(self.tie.canonicals)


@dataclass(frozen=True, slots=True)
class StatePlan:
    """What becomes of the state of an optimizer.

    Attributes:
        slots: Every slot of every new alias.
        rewritten: Leaves that get new values, each with what gives them as often as asked.
        bare: New aliases that nothing is kept for, though something is for their canonical leaves.
        zeroed: Of a reset, the names of the slots and counts that begin at zero again.
    """

    slots: tuple[CarriedSlot, ...] = ()
    rewritten: Mapping[KeyPath, Blocks] = field(default_factory=dict)
    bare: tuple[KeyPath, ...] = ()
    zeroed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What comes back with aliases.

    Attributes:
        along: Slots that the manifest records, which come back as it says.
        copied: Slots that it does not, which become copies.
        unknown: What is kept for canonical leaves alone, and has no known counterpart.
    """

    along: frozenset[KeyPath] = frozenset()
    copied: tuple[CarriedSlot, ...] = ()
    unknown: tuple[KeyPath, ...] = ()


KEPT = Rule("one of two equal states kept")
_COPIED = "copied from the leaf it followed from"

_SETTLED: dict[Regime, Rule] = {
    "replicas": KEPT,
    "empty": KEPT,
    "parameters": Rule("tied as the leaves are"),
    "dead": Rule("the canonical leaf's kept"),
    "counts": Rule("one of two equal counts kept"),
    "reset": Rule("set to zero", exact=False),
}
_SUMS: dict[Kind, Rule] = {
    "linear": Rule("summed"),
    "square": Rule("squares summed, without the product of the two gradients", exact=False),
    "size": Rule("summed, which the largest of the sum never exceeds", exact=False),
}
_MAXIMUM = Rule("largest squares summed, without the product of the two gradients", exact=False)
_LOOSE = Rule("summed, though of steps that were normalised already", exact=False)
_ADAPTED = Rule("summed, though scaled by what was learnt from all gradients", exact=False)

# Source: torch.optim.Adam and optax.amsgrad keep the largest of all squares so far.
_LARGEST = frozenset({"max_exp_avg_sq", "nu_max"})
# Source: torch.optim.RMSprop and optax.rmsprop gather these after they divided by the root of squares.
_AFTER = frozenset({"trace", "momentum_buffer", "momentum"})


def choose_rule(kind: Kind, regime: Regime) -> Rule | None:
    """Says what is done with a slot; None where there is no valid rule.

    Args:
        kind: How it follows from the gradients.
        regime: How the two leaves were trained.

    Example:
        >>> choose_rule("linear", "independent"), choose_rule("factor", "independent")
        (Rule(text='summed', exact=True), None)
    """
    return _SETTLED[regime] if regime in _SETTLED else _SUMS.get(kind)


def choose_copy(transform: Transform, *, differed: bool = False) -> Rule:
    """Says what a leaf that is stored again gets of a state that nobody kept for it.

    Args:
        transform: How it follows; steps of a leaf that has a factor are of another size from now on.
        differed: Whether it had another state before it was tied.
    """
    text = f"{_COPIED}; what it was is not kept" if differed else _COPIED
    return Rule(text, exact=transform.magnitude == 1.0)


def qualify_rule(rule: Rule, slot: str, beside: frozenset[Kind], *, adapts: bool) -> Rule:
    """Says of a sum what speaks against its being exact.

    Args:
        rule: As `choose_rule` gives it.
        slot: The name of the slot.
        beside: The kinds of slots that the optimizer keeps for the same leaf.
        adapts: Whether the optimizer scales by numbers that it learns from all leaves together.
    """
    if rule == _SUMS["square"] and slot in _LARGEST:
        return _MAXIMUM
    if rule != _SUMS["linear"]:
        return rule
    if slot in _AFTER and beside & {"square", "size", "factor"}:
        return _LOOSE
    return _ADAPTED if adapts else rule
