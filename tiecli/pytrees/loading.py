"""Loading: a checkpoint as a tree of arrays, with its aliases or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import list_open_ties
from tiecli.keypaths import KeyPath
from tiecli.pytrees.ties import expand
from tiecli.pytrees.trees import Tree, build_tree
from tiecli.ties import TieSet


def load(source: str | Path | CheckpointReader, ties: TieSet | None = None, *, expanded: bool = True) -> Tree:
    """Reads a checkpoint into nested dicts and lists of numpy arrays.

    `str` keys become dict keys, `int` keys list positions; a name in a safetensors file is
    taken apart at its dots. `jax.numpy` takes the arrays as they are.

    Args:
        source: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or an open one.
        ties: Those of the checkpoint; None for what it states itself.
        expanded: Whether the aliases are in the tree, made from their canonical leaves.

    Raises:
        CheckpointError: It cannot be trusted or read.
        TransformMismatchError: A leaf's elements are smaller than a byte.
        TreeError: Its leaves do not make one tree.

    Example:
        >>> tree = load("fixtures/gpt2/model.safetensors")
        >>> tree["transformer"]["wte"]["weight"].shape
        (128, 16)
    """
    if isinstance(source, str | Path):
        with open_reader(Path(source)) as reader:
            return load(reader, ties, expanded=expanded)
    ties = list_open_ties(source) if ties is None else ties
    aliases = ties.by_alias.keys()
    leaves = {path: read_leaf(source, path) for path in source.specs() if path not in aliases}
    tree = build_tree(leaves, without=aliases)
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
