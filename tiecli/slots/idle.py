"""Idle leaves: parameters for which an optimizer gathered nothing, and the leaves that they may be made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from tiecli.slots.finding import Leaf, SlotReport
from tiecli.slots.names import Keys, Kind
from tiecli.transforms import Transform, permutations_that_fit


class Slot(NamedTuple):
    """What is kept for one parameter.

    Attributes:
        kind: How it follows from the gradients.
        leaf: The leaf.
    """

    kind: Kind
    leaf: Leaf


def list_gathered(report: SlotReport) -> Mapping[Keys, tuple[Slot, ...]]:
    """Lists the slots that hold sums of gradients, or of their squares, by parameter."""
    found: dict[Keys, tuple[Slot, ...]] = {}
    for tree in report.trees:
        if tree.kind in ("linear", "square"):
            for keys, leaf in tree.held.items():
                found[keys] = (*found.get(keys, ()), Slot(tree.kind, leaf))
    return found


def find_stand_in(report: SlotReport, idle: Keys, trained: Collection[Keys]) -> tuple[Keys, Transform] | None:
    """Finds the one leaf that a model may make an idle one of: it is trained, and fits in one way only.

    A model that assigns one layer's weight to another inside a method leaves the other's own
    in its checkpoints, with the values of its initialisation and a state of zeros.

    Args:
        report: The slots.
        idle: A matrix for which nothing was gathered.
        trained: Parameters for which something was.
    """
    spec = report.parameters[idle].spec
    if len(spec.shape) < 2 or spec.dtype.kind != "float":
        return None
    fitting = [(keys, permutations_that_fit(report.parameters[keys].spec, spec)) for keys in trained]
    fitting = [(keys, fits) for keys, fits in fitting if fits]
    if len(fitting) != 1 or len(fitting[0][1]) != 1:
        return None
    keys, (transform,) = fitting[0]
    return keys, transform
