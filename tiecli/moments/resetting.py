"""Resetting: the state of an optimizer begun anew, with the counts that its corrections go by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import list_shared
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.moments.companions import find_companions, find_globals, list_counts
from tiecli.moments.surveying import StateSurvey
from tiecli.moments.values import zero_blocks

_HINT = "Save the parameters without optimizer state, tie those, and let the program make a new one."


class Reset(NamedTuple):
    """What begins anew.

    Attributes:
        zeros: The leaves that get zeros, each with what gives them.
        names: The slots and counts that those are.
    """

    zeros: Mapping[KeyPath, Callable[[], Iterator[memoryview]]]
    names: tuple[str, ...]


def reset_state(reader: CheckpointReader, survey: StateSurvey) -> Reset:
    """Sets everything that optimizers gathered to zero, for all parameters, and their counts.

    Moments of zero at a high count would make the first steps too long, and a count is shared
    by all leaves; so nothing less can be reset. Learning rates and their schedules stay.

    Raises:
        StateConflictError: Something is kept that does not begin at zero.
    """
    counts = tuple(list_counts(survey))
    trees = [tree for tree in survey.report.trees if tree.kind != "copy"]
    gathered = [leaf for tree in trees for leaf in (*tree.held.values(), *tree.orphans.values())]
    _check_beginnings(survey, counts)
    coded = [leaf for leaf in gathered if leaf.spec.dtype.kind not in ("float", "complex")]
    if coded:
        name = KeyPath(coded[0].keys).spelling
        raise StateConflictError(f"`{name}` is {coded[0].spec}, and which code stands for zero is not known", _HINT)
    second = list_shared(reader)
    paths = (*(KeyPath(leaf.keys) for leaf in gathered), *counts)
    stored = reader.specs()
    zeros = {path: _give_zeros(stored[path]) for path in paths if path in stored and path not in second}
    names = dict.fromkeys((*(tree.name for tree in trees), *(str(path.keys[-1]) for path in counts)))
    return Reset(zeros, tuple(names))


def _check_beginnings(survey: StateSurvey, counts: Collection[KeyPath]) -> None:
    """Refuses state that holds what nobody knows the beginning of."""
    unknown = [one.path for kept in find_companions(survey).values() for one in kept if one.path not in counts]
    unknown += find_globals(survey).values()
    if unknown:
        raise StateConflictError(
            f"`{unknown[0].spelling}` belongs to the optimizer's state, and what it begins at is not known", _HINT
        )


def _give_zeros(spec: LeafSpec) -> Callable[[], Iterator[memoryview]]:
    return lambda: zero_blocks(spec)
