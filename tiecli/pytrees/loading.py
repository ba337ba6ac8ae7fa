"""Loading: a checkpoint as a tree of arrays, with its aliases or without, and the ties of such a tree."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.pytrees.matching import Held, list_held, match_leaves
from tiecli.pytrees.nodes import Tree, describe_array, is_none, list_nodes
from tiecli.pytrees.ties import expand, make_alias
from tiecli.pytrees.trees import build_tree, without_leaves
from tiecli.ties import TieSet

Sharding = Any
"""A `jax.sharding.Sharding`."""

Fetch = Callable[[KeyPath, KeyPath], Any]
"""Reads a leaf, by its path in the checkpoint, to where a place in the tree says."""


def load(
    source: str | Path | CheckpointReader,
    *,
    expanded: bool = True,
    like: Tree = None,
    sharding: Sharding | Callable[[KeyPath, LeafSpec], Sharding] | None = None,
) -> Tree:
    """Reads a checkpoint into a tree of arrays.

    Without `like` the tree is of nested dicts and lists: `str` keys become dict keys, `int`
    keys list positions. A name in a safetensors file is taken apart at its dots, or read as
    the exact form of a key path where it has brackets or quotes.

    Args:
        source: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or an open one.
        expanded: Whether the aliases are in the tree, made from their canonical leaves.
        like: A tree of any containers, such as an Equinox module, whose arrays the
            checkpoint's take the place of; all else in it stays, and leaves that it has not
            are not read. Names may differ in how positions are spelled. An alias whose
            canonical leaf `like` has not is made all the same.
        sharding: Where the arrays go, or a function that says so for each place in the tree;
            JAX arrays then, of which each process reads its own parts. None for numpy arrays.

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
    with _open(source) as reader:
        held = list_held(reader)

        def fetch(path: KeyPath, place: KeyPath) -> Any:
            """Reads one leaf to where it goes."""
            if sharding is None:
                return read_leaf(reader, path)
            return _read_sharded(
                reader, path, sharding(place, reader.specs()[path]) if callable(sharding) else sharding
            )

        if like is not None:
            return _fill(like, held, reader, fetch, expanded=expanded)
        leaves = {place: fetch(path, place) for place, path in held.stored.items()}
        tree = build_tree(leaves, without=held.ties.by_alias)
        return expand(tree, held.ties) if expanded else tree


def read_ties(source: str | Path | CheckpointReader, like: Tree = None) -> TieSet:
    """Reads which leaves of the tree that `load` gives follow from which: what `contract` and `expand` take.

    Args:
        source: As for `load`.
        like: As for `load`; ties between its own leaves only.

    Raises:
        CheckpointError: It cannot be trusted or read.

    Example:
        >>> print(*read_ties("fixtures/gpt2"))
        lm_head.weight = transformer.wte.weight
    """
    with _open(source) as reader:
        held = list_held(reader)
    return held.ties if like is None else match_leaves(like, held).ties


def _open(source: str | Path | CheckpointReader) -> AbstractContextManager[CheckpointReader]:
    return open_reader(Path(source)) if isinstance(source, str | Path) else nullcontext(source)


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


def _read_sharded(reader: CheckpointReader, path: KeyPath, sharding: Sharding) -> Any:
    """Reads a leaf onto devices, each part of it once."""
    import jax

    spec = reader.specs()[path]
    read: dict[Box, NDArray[Any]] = {}

    def part(index: Any) -> NDArray[Any]:
        """Reads what one device holds; several may hold the same."""
        bounds = (at.indices(length)[:2] for at, length in zip(index, spec.shape, strict=True))
        box: Box = tuple((start, stop) for start, stop in bounds)
        if box not in read:
            read[box] = reader.read_block(path, box)
        return read[box]

    return jax.make_array_from_callback(spec.shape, sharding, part)


def _fill(like: Tree, held: Held, reader: CheckpointReader, fetch: Fetch, *, expanded: bool) -> Tree:
    """Puts a checkpoint's leaves in the place of a tree's."""
    matched = match_leaves(like, held)
    nodes, structure = list_nodes(like, is_none)
    filled = dict(nodes)
    specs = {place: reader.specs()[path] for place, path in held.stored.items()}
    for place, found in matched.leaves.items():
        node, tie = nodes[place], held.ties.by_alias.get(found)
        spec = specs[found] if tie is None else tie.transform.spec([specs[path] for path in tie.canonicals])
        if node is not None and describe_array(place, node) != spec:
            wanted = describe_array(place, node)
            raise TransformMismatchError(f"`{place.spelling}` is {spec} in the checkpoint, and {wanted} in `like`")
        if tie is None:
            filled[place] = fetch(held.stored[found], place)
        elif place in matched.foreign and (expanded or node is not None):
            filled[place] = make_alias(tie, [fetch(held.stored[path], path) for path in tie.canonicals])
    tree = structure.unflatten(filled.values())
    tree = without_leaves(tree, [tie.alias for tie in matched.ties if nodes[tie.alias] is not None])
    return expand(tree, matched.ties) if expanded else tree
