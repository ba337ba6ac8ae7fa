"""Effects: what no rewriting of an optimizer's state can carry across, in words: rates, decay, clipping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tiecli.checkpoints.wording import list_names
from tiecli.keypaths import KeyPath
from tiecli.moments import Policy, StatePlan
from tiecli.slots import read_paths, tells_of_state
from tiecli.ties import Tie

_ONCE = {
    "independent": (
        "decay that is added to the gradients is in the sums once for each leaf, and counts once from now on; a clip "
        "of the global norm saw their gradients apart, and sees the sum"
    ),
    "replicas": (
        "a clip of the global norm, and decay that is part of the loss, counted the leaf once for each copy, and "
        "count it once from now on"
    ),
}
"""By regime. Decay that the optimizer takes off the leaf itself is what it was."""


def word_effects(state: StatePlan, ties: Sequence[Tie], policy: Policy) -> Iterator[str]:
    """Words what becomes different for a program that trains on from a tied checkpoint.

    Args:
        state: What becomes of the slots.
        ties: The new ties between parameters.
        policy: Whether the state was carried across, or reset.
    """
    if state.bare:
        yield (
            f"no optimizer state is kept for {list_names([path.spelling for path in state.bare])}, as for a leaf that "
            "is frozen or gets no gradient; that of its canonical leaf stays as it is"
        )
    if policy == "reset":
        yield _word_reset(state)
    if not state.slots:
        return
    for factor, names in _find_factors(ties).items():
        yield (
            f"{names}: a factor of {factor:g} stands between leaf and alias, so a step of SGD through the leaf moves "
            f"the alias {factor * factor:g} times as far as one of its own did, one of Adam {factor:g} times"
        )
    regimes = {slot.regime for slot in state.slots}
    yield from (said for regime, said in _ONCE.items() if regime in regimes)
    if "dead" in regimes:
        yield "the aliases' state is zero: they never received a gradient, whatever the model's code suggests"


def word_unmatched(leaves: Iterable[KeyPath], ties: Sequence[Tie]) -> Iterator[str]:
    """Words that there is optimizer state here of which none is the aliases', as far as names tell.

    Args:
        leaves: Every leaf of the checkpoint.
        ties: The new ties between parameters, for which no state was found.
    """
    paths = [path.keys for path in leaves]
    if tells_of_state(paths) and read_paths(paths):
        names = list_names([tie.alias.spelling for tie in ties])
        yield (
            f"there is optimizer state here, and none of it goes by the name of {names}: it stays as it is; state by "
            "number, as torch has it, is carried across once it goes by the names of parameters"
        )


def word_parted(ties: Sequence[Tie]) -> Iterator[str]:
    """Words what becomes different for a program that trains on with leaves that were tied.

    Args:
        ties: The ties between parameters that end, whose slots are stored again.
    """
    for factor, names in _find_factors(ties).items():
        yield (
            f"{names}: a factor of {factor:g} is folded in now, so to move as before takes {factor * factor:g} times "
            f"the learning rate under SGD, {factor:g} times under Adam"
        )
    yield (
        "the leaves stay equal only if each gets the gradient of all from now on; a clip of the global norm, and "
        "decay that is part of the loss, then count it once for each"
    )


def _find_factors(ties: Sequence[Tie]) -> dict[float, str]:
    """Finds aliases that are multiples of their leaves, by the factor, and lists their names."""
    found: dict[float, list[str]] = {}
    for tie in ties:
        if tie.transform.magnitude != 1.0:
            found.setdefault(tie.transform.magnitude, []).append(tie.alias.spelling)
    return {factor: list_names(names) for factor, names in found.items()}


def _word_reset(state: StatePlan) -> str:
    if not state.slots:
        return "there is no optimizer state of the aliases here, so none was reset"
    names = ", ".join(f"`{name}`" for name in state.zeroed) or "none"
    return (
        f"optimizer state begins at zero again, of all parameters and with its counts: {names}; "
        "learning rates, their schedules and averages of parameters stay"
    )
