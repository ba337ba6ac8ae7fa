"""Dead leaves: an optimizer gathered nothing for them, since the model makes them of others and never reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tiecli.detect.hits import Hit
from tiecli.detect.survey import Survey
from tiecli.keypaths import KeyPath
from tiecli.slots import Keys, Leaf, tells_of_state

if TYPE_CHECKING:
    from tiecli.slots.idle import Slot

# A look at so few elements tells most slots that hold something, however small a square it is.
_FIRST = 64
_LEAST = 1e-29


def find_dead(survey: Survey, are_tied: Callable[[KeyPath, KeyPath], bool]) -> Iterator[Hit]:
    """Yields leaves whose state is zero, where one other leaf alone can be what the model makes them of.

    Args:
        survey: The checkpoint.
        are_tied: Whether two leaves follow from each other as it is.
    """
    specs = survey.reader.specs()
    if not tells_of_state(path.keys for path in specs):
        return
    # Start-up time: most checkpoints hold no state of an optimizer.
    from tiecli.slots import find_slots
    from tiecli.slots.idle import find_stand_in, list_gathered

    empty = [path.keys for path, _ in survey.reader.other_nodes]
    report = find_slots([Leaf("", "", path.keys, spec) for path, spec in specs.items()], empty)
    idle: list[Keys] = []
    trained: list[Keys] = []
    for keys, slots in list_gathered(report).items():
        is_dead = all(_is_idle(survey, slot) for slot in slots)
        (idle if is_dead else trained).append(keys)
    for keys in idle:
        found = find_stand_in(report, keys, trained)
        if found is not None and not are_tied(KeyPath(found[0]), KeyPath(keys)):
            yield Hit("dead", KeyPath(found[0]), KeyPath(keys), found[1], (), report.parameters[keys].spec)


def _is_idle(survey: Survey, slot: Slot) -> bool:
    """Whether nothing was gathered; what was is mostly told by the first elements."""
    from tiecli.moments.regimes import is_idle

    path = KeyPath(slot.leaf.keys)
    shape = slot.leaf.spec.shape
    first = tuple((0, min(length, _FIRST if axis == len(shape) - 1 else 1)) for axis, length in enumerate(shape))
    block = survey.reader.read_block(path, first)
    survey.samples.count(block.nbytes)
    if (abs(block.astype(float)) > _LEAST).any():
        return False
    return is_idle(survey.reader, slot.kind, path)
