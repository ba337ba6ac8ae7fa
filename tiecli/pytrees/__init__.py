"""Pytrees: the ties of a checkpoint on a live tree of arrays, `jit` and `grad` included."""

from __future__ import annotations

from tiecli.pytrees.choosing import tie_modules, tie_names, tie_nodes
from tiecli.pytrees.loading import load, read_leaf, read_ties
from tiecli.pytrees.nodes import Tree
from tiecli.pytrees.saving import save
from tiecli.pytrees.ties import contract, expand
from tiecli.pytrees.trees import build_tree, list_leaves

__all__ = [
    "Tree",
    "build_tree",
    "contract",
    "expand",
    "list_leaves",
    "load",
    "read_leaf",
    "read_ties",
    "save",
    "tie_modules",
    "tie_names",
    "tie_nodes",
]
