"""Samples: tied leaves small enough to train on, with a loss that every element of them matters to."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.pytrees import Tree, list_leaves
from tiecli.ties import TieSet
from tiecli.transforms.arrays import array_spec, forward
from tiecli.verification.devices import Device
from tiecli.verification.groups import TieGroup, group_ties
from tiecli.verification.wholes import Leaves, Whole, place
from tiecli.verification.wide import measure_rounding, widen_leaf, widen_tie

BUDGET = 1 << 22
"""Elements of canonical leaves and aliases together; each takes some 20 float64 in training."""

Specs = dict[KeyPath, LeafSpec]


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
    cuts: dict[KeyPath, LeafSpec] = {}
    chosen: list[TieGroup] = []
    notes: list[str] = []
    for number, group in enumerate(groups):
        found = _cut(group, specs, left // (len(groups) - number))
        if found is None:
            count = _size_of(group, specs)
            notes.append(f"left out, since its transform takes all of it: `{group.ties[0]}`, {count:,} elements")
            continue
        cuts |= found
        chosen.append(group)
        left -= _size_of(group, found)
        notes += [_word_corner(path, spec, specs[path]) for path, spec in found.items() if spec != specs[path]]
    return _load(reader, chosen, cuts, device), tuple(notes)


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


def _cut(group: TieGroup, specs: Mapping[KeyPath, LeafSpec], share: int) -> Specs | None:
    """Cuts the canonical leaves of a group until it is small enough; None if its transforms do not allow it.

    A transform of a smaller leaf is another tie than the one that is stated, by the same steps.
    """
    cut: Specs = {path: specs[path] for path in group.canonicals}
    while _size_of(group, cut) > share:
        axes = range(max(len(spec.shape) for spec in cut.values()))
        shorter = (found for axis in axes if (found := _halve(group, cut, axis)) is not None)
        # Of what fits, that which leaves the leaves most alike in length.
        best = min(shorter, key=lambda found: max(max(spec.shape) for spec in found.values()), default=None)
        if best is None:
            return None
        cut = best
    return cut


def _halve(group: TieGroup, specs: Specs, axis: int) -> Specs | None:
    """Halves an axis of all canonical leaves of a group; None if that leaves no ties, or nothing smaller."""
    cut: Specs = {}
    for path, spec in specs.items():
        shape = [-(-length // 2) if at == axis else length for at, length in enumerate(spec.shape)]
        cut[path] = LeafSpec(tuple(shape), spec.dtype)
    try:
        return cut if 0 < _size_of(group, cut) < _size_of(group, specs) else None
    except TransformMismatchError:
        return None


def _load(
    reader: CheckpointReader, groups: list[TieGroup], cuts: Mapping[KeyPath, LeafSpec], device: Device | None
) -> Whole:
    import jax.numpy as jnp

    ties = TieSet(tuple(tie for group in groups for tie in group.ties))
    canonicals: Leaves = {}
    rounding: Leaves = {}
    wide = {}
    for group in groups:
        stored = {
            path: reader.read_block(path, tuple((0, length) for length in cuts[path].shape))
            for path in group.canonicals
        }
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


def _word_corner(path: KeyPath, taken: LeafSpec, spec: LeafSpec) -> str:
    lengths, shape = ("×".join(map(str, found.shape)) for found in (taken, spec))
    return f"of `{path.spelling}`, a corner of {lengths} of {shape}"
