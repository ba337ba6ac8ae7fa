"""Samples: tied leaves small enough to train on, with a loss that every element of them matters to."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.pytrees import Tree, list_leaves
from tiecli.ties import TieSet
from tiecli.transforms.arrays import array_spec, forward
from tiecli.transforms.steps import Cast, Conjugate, Flip, Negate, Permute, Scale
from tiecli.verification.devices import Device
from tiecli.verification.groups import TieGroup, group_ties
from tiecli.verification.wholes import Leaves, Whole, place
from tiecli.verification.wide import measure_rounding, widen_leaf, widen_tie

BUDGET = 1 << 22
"""Elements of canonical leaves and aliases together; each takes some 20 float64 in training."""

# What commutes with cutting a corner out of a leaf.
_CORNERWISE = Permute | Flip | Scale | Negate | Cast | Conjugate


def sample_ties(reader: CheckpointReader, ties: TieSet, device: Device | None) -> tuple[Whole, tuple[str, ...]]:
    """Takes as much of the tied leaves as can be trained on at no great cost.

    Args:
        reader: The tied checkpoint.
        ties: Ties whose statements hold.
        device: Where the leaves go.

    Returns:
        The leaves, in units of the largest element, and what was cut or left out, one line each.

    Raises:
        TransformMismatchError: A transform does not fit its leaves.
        CheckpointError: A leaf cannot be read.
    """
    specs = reader.specs()
    varying = [tie for tie in ties if widen_tie(tie, [specs[path] for path in tie.canonicals]) is not None]
    groups = sorted(group_ties(TieSet(tuple(varying))), key=lambda group: _size_of(group, specs))
    left = BUDGET
    boxes: dict[KeyPath, Box] = {}
    chosen: list[TieGroup] = []
    notes: list[str] = []
    for number, group in enumerate(groups):
        found = _cut(group, specs, left // (len(groups) - number))
        if found is None:
            count = _size_of(group, specs)
            notes.append(f"left out, since a corner of it is no tie: `{group.ties[0]}`, {count:,} elements")
            continue
        boxes |= found
        chosen.append(group)
        left -= sum(_volume(box) for box in found.values()) * (1 + len(group.ties))
        notes += [_word_corner(path, box, specs[path]) for path, box in found.items() if box != _whole(specs[path])]
    return _load(reader, chosen, boxes, device), tuple(notes)


def probe_loss(tree: Tree, key: Any) -> Any:  # noqa: ARG001  # losses of the user's own are called so
    """A bounded loss, of slope other than zero at zero, with coefficients of its own for each path and element."""
    import jax.numpy as jnp

    total: Any = 0.0
    for path, leaf in list_leaves(tree).items():
        parts = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
        for number, part in enumerate(parts):
            seed = zlib.crc32(f"{number} {path}".encode("utf-8", "surrogatepass")) / 2**32
            amplitudes, frequencies = (_scatter(leaf.shape, seed, step) for step in _STEPS)
            total += jnp.sum(amplitudes * jnp.sin(frequencies * part + 1))
    return total + jnp.tanh(total / 10) / 2


# Multiples of these are spread evenly, and no two are near in both.
_STEPS = (0.7548776662466927, 0.5698402909980532)


def _scatter(shape: tuple[int, ...], seed: float, step: float) -> Any:
    """Gives numbers between a half and one, in no order to speak of."""
    import jax.numpy as jnp

    spread = jnp.arange(int(np.prod(shape)), dtype=jnp.float64).reshape(shape) * step + seed
    return 0.5 + (spread - jnp.floor(spread)) / 2


def _cut(group: TieGroup, specs: Mapping[KeyPath, LeafSpec], share: int) -> dict[KeyPath, Box] | None:
    """Decides what is taken of each canonical leaf of a group; None if it cannot be made small enough."""
    if _size_of(group, specs) <= share:
        return {path: _whole(specs[path]) for path in group.canonicals}
    if not all(isinstance(step, _CORNERWISE) for tie in group.ties for step in tie.transform.steps):
        return None
    # Without joins, all aliases of a group follow from one leaf.
    (path,) = group.canonicals
    sides = list(specs[path].shape)
    while (volume := int(np.prod(sides))) * (1 + len(group.ties)) > max(share, 1 + len(group.ties)):
        axis = int(np.argmax(sides))
        rest = volume // sides[axis]
        sides[axis] = max(sides[axis] // 2, min(sides[axis] - 1, share // (rest * (1 + len(group.ties)))), 1)
    return {path: tuple((0, side) for side in sides)}


def _load(
    reader: CheckpointReader, groups: list[TieGroup], boxes: Mapping[KeyPath, Box], device: Device | None
) -> Whole:
    import jax.numpy as jnp

    ties = TieSet(tuple(tie for group in groups for tie in group.ties))
    canonicals: Leaves = {}
    rounding: Leaves = {}
    wide = {}
    for group in groups:
        stored = {path: reader.read_block(path, boxes[path]) for path in group.canonicals}
        unit = max((_unit(leaf) for leaf in stored.values()), default=1.0)
        for path, leaf in stored.items():
            canonicals[str(path)] = place(_finite(leaf) / unit, device)
        for tie in group.ties:
            name, arrays = str(tie.alias), [stored[path] for path in tie.canonicals]
            found = widen_tie(tie, [array_spec(array) for array in arrays])
            assert found is not None
            wide[name] = found
            added = measure_rounding(found, arrays, np.asarray(forward(tie.transform, arrays)), jnp)
            if added is not None:
                rounding[name] = place(jnp.where(jnp.isfinite(added), added / unit, 0.0), device)
    return Whole(ties, wide, canonicals, {}, {}, rounding, {}, device)


def _finite(leaf: NDArray[Any]) -> NDArray[Any]:
    wide = widen_leaf(leaf)
    return np.where(np.isfinite(wide), wide, 0)


def _unit(leaf: NDArray[Any]) -> float:
    """A power of two near the largest element."""
    return 2.0 ** frexp(float(np.abs(_finite(leaf)).max(initial=0.0)))[1]


def _size_of(group: TieGroup, specs: Mapping[KeyPath, LeafSpec]) -> int:
    aliases = sum(tie.transform.spec([specs[path] for path in tie.canonicals]).size for tie in group.ties)
    return aliases + sum(specs[path].size for path in group.canonicals)


def _whole(spec: LeafSpec) -> Box:
    return tuple((0, length) for length in spec.shape)


def _volume(box: Box) -> int:
    return int(np.prod([stop - start for start, stop in box], dtype=np.int64))


def _word_corner(path: KeyPath, box: Box, spec: LeafSpec) -> str:
    taken, shape = ("×".join(map(str, lengths)) for lengths in ([stop for _, stop in box], spec.shape))
    return f"of `{path.spelling}`, a corner of {taken} of {shape}"
