"""Wholes: a tied model in float64, with the points at which a loss looks at it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.pytrees import Tree, build_tree, expand, read_leaf
from tiecli.ties import Tie, TieSet
from tiecli.transforms.arrays import forward
from tiecli.verification.devices import Device
from tiecli.verification.groups import TieGroup, group_ties
from tiecli.verification.wide import WideTie, measure_rounding, widen_leaf, widen_tie

Leaves = dict[str, Any]
"""Arrays by `str(path)`, which jax can sort."""

STEP = 1e-3
"""How far a perturbation moves a leaf, relative to its root mean square."""


@dataclass(frozen=True)
class Whole:
    """All leaves of a tied checkpoint, on a device, and its ties.

    Attributes:
        ties: All of them.
        wide: Those that can be differentiated through, in float64, by alias.
        canonicals: The stored leaves that these are made of.
        others: All other stored leaves.
        fixed: Aliases of integers and the like.
        rounding: What rounding on disk adds to an alias, where it does.
        departures: Leaves of the original that are not bit for bit what the tied checkpoint gives.
        device: Where they are; None for where jax puts them.
    """

    ties: TieSet
    wide: Mapping[str, WideTie]
    canonicals: Leaves
    others: Leaves
    fixed: Leaves
    rounding: Leaves
    departures: Leaves
    device: Device | None

    @cached_property
    def groups(self) -> tuple[TieGroup, ...]:
        """The ties that can be differentiated through, grouped by the leaves they share."""
        return group_ties(TieSet(tuple(tie.tie for tie in self.wide.values())))

    def with_aliases(self, canonicals: Leaves) -> Leaves:
        """Adds the aliases that can be differentiated with respect to, to leaves in float64."""
        made = self._make_compiled(canonicals, self.rounding)
        return canonicals | {name: place(alias, self.device) for name, alias in made.items()}

    @cached_property
    def _make_compiled(self) -> Any:
        import jax

        return jax.jit(self.make_aliases)

    def make_aliases(self, canonicals: Leaves, rounding: Leaves) -> Leaves:
        """Makes the aliases that can be differentiated with respect to; inside `jit`."""
        import jax.numpy as jnp

        return {name: self._make(tie, canonicals, rounding, jnp) for name, tie in self.wide.items()}

    def _make(self, tie: WideTie, canonicals: Leaves, rounding: Leaves, xp: ModuleType) -> Any:
        made = tie.make([canonicals[str(path)] for path in tie.tie.canonicals], xp)
        name = str(tie.tie.alias)
        return made + rounding[name] if name in rounding else made

    def full_tree(self, *parts: Leaves) -> Tree:
        """Builds the untied tree of all leaves given."""
        return build_tree(_by_path(parts))

    def tied_tree(self, *parts: Leaves) -> Tree:
        """Builds the tied tree of all leaves given, which has no aliases."""
        return build_tree(_by_path(parts), without=[tie.alias for tie in self.ties])

    def expand(self, tree: Tree, fixed: Leaves, rounding: Leaves) -> Tree:
        """Puts the aliases into a tied tree, carried out in float64."""
        import jax.numpy as jnp

        def make(tie: Tie, arrays: Sequence[Any]) -> Any:
            """Makes one alias."""
            name = str(tie.alias)
            if name in fixed:
                return fixed[name]
            canonicals = dict(zip(map(str, tie.canonicals), arrays, strict=True))
            return self._make(self.wide[name], canonicals, rounding, jnp)

        return expand(tree, self.ties, make)


@dataclass(frozen=True)
class Point:
    """One point at which losses are looked at.

    Attributes:
        name: `stored`, or `perturbed 1`, ….
        canonicals: The tied leaves of the tied model.
        varying: These and their aliases, as the untied model has them.
        others: All other leaves, as the untied model has them.
    """

    name: str
    canonicals: Leaves
    varying: Leaves
    others: Leaves


def stored_point(whole: Whole, groups: Iterable[TieGroup] | None = None) -> Point:
    """Gives the point that is stored: the untied model has the original's leaves.

    Args:
        whole: The model.
        groups: Only the leaves of these are the original's; None for all leaves.
    """
    chosen = None if groups is None else {str(path) for group in groups for path in _paths_of(group)}
    departures = {name: leaf for name, leaf in whole.departures.items() if chosen is None or name in chosen}
    varying = whole.with_aliases(whole.canonicals)
    return Point(
        "stored",
        whole.canonicals,
        {name: departures.get(name, leaf) for name, leaf in varying.items()},
        {name: departures.get(name, leaf) for name, leaf in (whole.others | whole.fixed).items()},
    )


def perturbed_point(whole: Whole, number: int, groups: Iterable[TieGroup] | None = None) -> Point:
    """Gives a point nearby: tied leaves are moved at random, and their aliases follow.

    Zeros are moved too, and symmetric leaves become asymmetric, so that here only one transform fits.

    Args:
        whole: The model.
        number: From 1; each gives another point.
        groups: Only the leaves of these are moved; None for all.
    """
    moving = {str(path) for group in whole.groups if groups is None or group in groups for path in group.canonicals}
    moved = {name: place(_move(whole.canonicals[name], name, number), whole.device) for name in sorted(moving)}
    canonicals = whole.canonicals | moved
    varying = whole.with_aliases(canonicals)
    return Point(f"perturbed {number}", canonicals, varying, whole.others | whole.fixed)


def load_whole(
    reader: CheckpointReader, original: CheckpointReader | None, ties: TieSet, device: Device | None
) -> Whole:
    """Reads all leaves of a tied checkpoint, those of the original that differ, and puts them on a device.

    Args:
        reader: The tied checkpoint.
        original: The checkpoint before it was tied.
        ties: Ties whose statements hold.
        device: Where they go, dealt out along an axis if there are several; None for where jax would put them.

    Raises:
        TransformMismatchError: A leaf's elements are smaller than a byte, or a transform does not fit.
        CheckpointError: A leaf cannot be read.
    """
    specs = reader.specs()
    found = {str(tie.alias): widen_tie(tie, [specs[path] for path in tie.canonicals]) for tie in ties}
    wide = {name: tie for name, tie in found.items() if tie is not None}
    tied = {str(path) for tie in wide.values() for path in tie.tie.canonicals}
    stored: Leaves = {}
    departures: Leaves = {}
    for path in specs:
        if path not in ties.by_alias:
            leaf = read_leaf(reader, path)
            stored[str(path)] = place(widen_leaf(leaf), device)
            departures |= _departure(original, path, leaf, device)
    canonicals = {name: leaf for name, leaf in stored.items() if name in tied}
    others = {name: leaf for name, leaf in stored.items() if name not in tied}
    whole = Whole(ties, wide, canonicals, others, {}, {}, departures, device)
    return _with_made_aliases(whole, reader, original)


def _with_made_aliases(whole: Whole, reader: CheckpointReader, original: CheckpointReader | None) -> Whole:
    """Adds what takes the aliases as they would be stored: which are fixed, rounded, or not the original's."""
    import jax.numpy as jnp

    fixed: Leaves = {}
    rounding: Leaves = {}
    departures = dict(whole.departures)
    sources: tuple[KeyPath, ...] = ()
    stored: list[NDArray[Any]] = []
    for tie in whole.ties:
        wide = whole.wide.get(str(tie.alias))
        if wide is not None and original is None and tie.transform.is_structural:
            continue
        if tie.canonicals != sources:
            sources, stored = tie.canonicals, [read_leaf(reader, path) for path in tie.canonicals]
        alias = np.asarray(forward(tie.transform, stored))
        departures |= _departure(original, tie.alias, alias, whole.device)
        if wide is None:
            fixed[str(tie.alias)] = place(widen_leaf(alias), whole.device)
        elif (found := measure_rounding(wide, stored, alias, jnp)) is not None:
            rounding[str(tie.alias)] = place(found, whole.device)
    return replace(whole, fixed=fixed, rounding=rounding, departures=departures)


def place(leaf: Any, device: Device | None) -> Any:
    """Puts an array on a device, or deals it out to several along the longest axis that they divide."""
    import jax
    from jax import sharding

    if device is None:
        return jax.numpy.asarray(leaf)
    count = len(device.devices)
    if count == 1:
        return jax.device_put(leaf, device.devices[0])
    dividing = [axis for axis, length in enumerate(leaf.shape) if length and length % count == 0]
    longest = max(dividing, key=leaf.shape.__getitem__, default=None)
    dealt = [device.mesh.axis_names[0] if axis == longest else None for axis in range(leaf.ndim)]
    spec: Any = sharding.PartitionSpec
    return jax.device_put(leaf, sharding.NamedSharding(device.mesh, spec(*dealt)))


def _departure(original: CheckpointReader | None, path: KeyPath, leaf: NDArray[Any], device: Device | None) -> Leaves:
    """Gives the original's leaf where it has one of the same kind with other bits."""
    spec = original.specs().get(path) if original is not None else None
    if original is None or spec is None or spec.shape != leaf.shape:
        return {}
    found = read_leaf(original, path)
    if found.dtype != leaf.dtype or bool((_bits(found) == _bits(leaf)).all()):
        return {}
    return {str(path): place(widen_leaf(found), device)}


def _bits(leaf: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)


def _by_path(parts: Iterable[Leaves]) -> dict[KeyPath, Any]:
    return {KeyPath.parse(name): leaf for part in parts for name, leaf in part.items()}


def _paths_of(group: TieGroup) -> tuple[KeyPath, ...]:
    return (*group.canonicals, *(tie.alias for tie in group.ties))


def _move(leaf: Any, name: str, number: int) -> NDArray[Any]:
    values = np.asarray(leaf)
    finite = values[np.isfinite(values)]
    size = float(np.sqrt(np.mean(np.abs(finite) ** 2))) if finite.size else 0.0
    rng = np.random.default_rng([zlib.crc32(name.encode("utf-8", "surrogatepass")), number])
    step = rng.standard_normal(values.shape)
    if np.iscomplexobj(values):
        step = step + 1j * rng.standard_normal(values.shape)
    moved: NDArray[Any] = values + STEP * (size or 1.0) * step
    return moved
