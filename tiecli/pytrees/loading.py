"""Loading: a checkpoint as a tree of arrays, with its aliases or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import list_open_ties
from tiecli.errors import KeyPathSyntaxError, LeafNotFoundError, TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec, find_dtype
from tiecli.pytrees.nodes import Tree, list_nodes
from tiecli.pytrees.ties import expand
from tiecli.pytrees.trees import build_tree
from tiecli.ties import Tie, TieSet

Sharding = Any
"""A `jax.sharding.Sharding`."""

Fetch = Callable[[KeyPath, LeafSpec], Any]


def load(
    source: str | Path | CheckpointReader,
    ties: TieSet | None = None,
    *,
    expanded: bool = True,
    like: Tree = None,
    sharding: Sharding | Callable[[KeyPath, LeafSpec], Sharding] | None = None,
) -> Tree:
    """Reads a checkpoint into a tree of arrays.

    Without `like` the tree is of nested dicts and lists: `str` keys become dict keys, `int`
    keys list positions. A name in a safetensors file is taken apart at its dots, or read as
    the exact form of a key path where it has indices in brackets.

    Args:
        source: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or an open one.
        ties: Those of the checkpoint; None for what it states itself.
        expanded: Whether the aliases are in the tree, made from their canonical leaves.
        like: A tree of any containers, such as an Equinox module, whose arrays the
            checkpoint's take the place of; all else in it stays. Names may differ in how
            positions are spelled.
        sharding: Where the arrays go, or a function that says so for each leaf; JAX arrays
            then, of which each process reads its own part. None for numpy arrays.

    Raises:
        CheckpointError: It cannot be trusted or read.
        TransformMismatchError: A leaf's elements are smaller than a byte, or it is not of the
            shape and dtype that `like` has.
        LeafNotFoundError: `like` has a leaf that the checkpoint has not.
        TreeError: Its leaves do not make one tree.

    Example:
        >>> tree = load("fixtures/gpt2/model.safetensors")
        >>> tree["transformer"]["wte"]["weight"].shape
        (128, 16)
    """
    if isinstance(source, str | Path):
        with open_reader(Path(source)) as reader:
            return load(reader, ties, expanded=expanded, like=like, sharding=sharding)
    places = {path: _place(path) if source.format == "safetensors" else path for path in source.specs()}
    if ties is None:
        ties = list_open_ties(source)
        ties = _rename(ties) if source.format == "safetensors" else ties
    aliases = ties.by_alias.keys()
    stored = {place: path for path, place in places.items() if place not in aliases}

    def fetch(path: KeyPath, spec: LeafSpec) -> Any:
        """Reads one leaf to where it goes."""
        if sharding is None:
            return read_leaf(source, path)
        return _read_sharded(source, path, spec, sharding(path, spec) if callable(sharding) else sharding)

    specs = source.specs()
    if like is not None:
        tree, ties = _fill(like, {place: (path, specs[path]) for place, path in stored.items()}, ties, fetch)
    else:
        tree = build_tree({place: fetch(path, specs[path]) for place, path in stored.items()}, without=aliases)
    return expand(tree, ties) if expanded else tree


def read_leaf(reader: CheckpointReader, path: KeyPath) -> NDArray[Any]:
    """Reads a whole leaf.

    Raises:
        LeafNotFoundError: There is no such leaf.
        TransformMismatchError: Its elements are smaller than a byte.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    array: NDArray[np.generic] = reader.read_block(path, tuple((0, length) for length in reader.specs()[path].shape))
    return array


def _read_sharded(reader: CheckpointReader, path: KeyPath, spec: LeafSpec, sharding: Sharding) -> Any:
    """Reads a leaf onto devices, each part of it once."""
    import jax

    read: dict[Box, NDArray[Any]] = {}

    def part(index: Any) -> NDArray[Any]:
        """Reads what one device holds; several may hold the same."""
        bounds = (at.indices(length)[:2] for at, length in zip(index, spec.shape, strict=True))
        box: Box = tuple((start, stop) for start, stop in bounds)
        if box not in read:
            read[box] = reader.read_block(path, box)
        return read[box]

    return jax.make_array_from_callback(spec.shape, sharding, part)


def _place(path: KeyPath) -> KeyPath:
    """Reads a name of a safetensors file as a place: exact forms of key paths have indices in brackets."""
    name = path.spelling
    if "[" not in name:
        return path
    try:
        typed = KeyPath.parse(name)
    except KeyPathSyntaxError:
        return path
    return typed if str(typed) == name else path


def _rename(ties: TieSet) -> TieSet:
    return TieSet(tuple(Tie(_place(tie.alias), tuple(map(_place, tie.canonicals)), tie.transform) for tie in ties))


def _fill(
    like: Tree, stored: Mapping[KeyPath, tuple[KeyPath, LeafSpec]], ties: TieSet, fetch: Fetch
) -> tuple[Tree, TieSet]:
    """Puts stored leaves in the place of a tree's arrays, None in that of aliases; gives the ties in its names."""
    nodes, structure = list_nodes(like)
    names = {_spell(place): place for place in stored}
    follow = {_spell(alias): alias for alias in ties.by_alias}
    known: dict[KeyPath, KeyPath] = {}
    filled = []
    for place, node in nodes.items():
        name = _spell(place)
        if not (hasattr(node, "dtype") and hasattr(node, "shape")):
            filled.append(node)
        elif name in follow:
            known[follow[name]] = place
            filled.append(None)
        elif name in names:
            path, spec = stored[names[name]]
            known[names[name]] = place
            _check_spec(place, node, spec)
            filled.append(fetch(path, spec))
        else:
            raise LeafNotFoundError(f"the checkpoint has no leaf `{place.spelling}`", "`tiecli inspect` lists them.")
    renamed = (
        Tie(known[tie.alias], tuple(known[path] for path in tie.canonicals), tie.transform)
        for tie in ties
        if known.keys() >= {tie.alias, *tie.canonicals}
    )
    return structure.unflatten(filled), TieSet(tuple(renamed))


def _check_spec(place: KeyPath, node: Any, spec: LeafSpec) -> None:
    dtype = find_dtype(node.dtype.name)
    if tuple(node.shape) != spec.shape or dtype != spec.dtype:
        wanted = LeafSpec(tuple(node.shape), dtype) if dtype else node.dtype.name
        raise TransformMismatchError(f"`{place.spelling}` is stored as {spec}, and `like` has {wanted}")


def _spell(path: KeyPath) -> str:
    """Spells a place alike however positions are spelled."""
    return ".".join(map(str, path.keys))
