"""Slot ties: how what is kept for an alias follows from what is kept for its canonical leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tiecli.keypaths import KeyPath
from tiecli.leaves import DType, LeafSpec
from tiecli.slots import Keys, Kind, Leaf, SlotTree
from tiecli.ties import Tie
from tiecli.transforms import SAME, Transform
from tiecli.transforms.pulling import find_slot_transform
from tiecli.transforms.steps import Permute

_OF: Mapping[Kind, Literal["gradients", "squares", "sizes"]] = {"square": "squares", "size": "sizes"}
# Source: optax 0.2 and t5x, whose `v_row` is the shorter of the two, however the matrix is turned.
_BY_LENGTH = frozenset({"v_row", "v_col"})
_TURNED = Transform((Permute((1, 0)),))


def find_slot_tie(
    trees: Sequence[SlotTree], tree: SlotTree, tie: Tie, parameters: Mapping[Keys, Leaf], alias: KeyPath, dtype: DType
) -> Tie:
    """Finds the tie of one slot.

    Args:
        trees: All slots.
        tree: Those of one name, which the canonical leaves have.
        tie: How the parameter follows.
        parameters: All parameters.
        alias: Where the alias's slot stands.
        dtype: Of the alias's slot.
    """
    own = [tree.held[path.keys] for path in tie.canonicals]
    if tree.kind == "factor":
        source, transform = _follow_factor(trees, tree, tie)
        return Tie(alias, (KeyPath(source.keys),), transform)
    canonicals = tuple(KeyPath(source.keys) for source in own)
    if not is_whole(own, [parameters[path.keys].spec for path in tie.canonicals]):
        # One number for a leaf, a place that is left empty, or a matrix of the optimizer's own making.
        return Tie(alias, canonicals[:1], SAME)
    if tree.kind == "copy":
        return Tie(alias, canonicals, tie.transform)
    dtypes = own[0].spec.dtype, dtype
    return Tie(alias, canonicals, find_slot_transform(tie.transform, dtypes, _OF.get(tree.kind, "gradients")))


def is_whole(slots: Sequence[Leaf], parameters: Sequence[LeafSpec]) -> bool:
    """Whether slots have one element for each of their parameters'."""
    return all(slot.spec.shape == spec.shape for slot, spec in zip(slots, parameters, strict=True))


def guess_ties(tie: Tie, alias: KeyPath, canonicals: tuple[KeyPath, ...], dtypes: tuple[DType, DType]) -> list[Tie]:
    """Lists how a leaf of unknown meaning may follow: as gradients do, as their squares do, or as it is.

    Args:
        tie: How the parameter follows.
        alias: What is kept for the alias.
        canonicals: The like of its canonical leaves.
        dtypes: Of the first of those, and of the alias's.
    """
    guesses = [
        Tie(alias, canonicals, find_slot_transform(tie.transform, dtypes, of)) for of in ("gradients", "squares")
    ]
    return [*guesses, Tie(alias, canonicals[:1], SAME)]


def _follow_factor(trees: Sequence[SlotTree], tree: SlotTree, tie: Tie) -> tuple[Leaf, Transform]:
    """Finds the rows or columns that those of an alias follow from, and how.

    Of a matrix that is turned they change places, unless the shorter side goes by one name
    and the longer by the other.
    """
    path = tie.canonicals[0].keys
    own = tree.held[path]
    other = next((twin.held.get(path, own) for twin in trees if _is_twin(twin, tree)), own)
    axes = find_slot_transform(tie.transform, (own.spec.dtype, own.spec.dtype)).permutation(2)
    if axes != (1, 0) or own.spec.size == 1:
        return own, SAME
    if tree.name in _BY_LENGTH and own.spec.shape != other.spec.shape:
        return own, SAME
    return other, _TURNED if len(other.spec.shape) == 2 else SAME


def _is_twin(tree: SlotTree, other: SlotTree) -> bool:
    name = other.name.replace("row", "*").replace("col", "row").replace("*", "col")
    return tree.above == other.above and tree.name == name
