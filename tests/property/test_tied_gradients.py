"""For random trees, ties and losses, what is differentiated through `expand` gathers by the adjoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_trees import Tied, tied_trees
from tiecli.keypaths import KeyPath
from tiecli.pytrees import Tree, contract, expand, list_leaves
from tiecli.ties import TieSet
from tiecli.transforms.arrays import adjoint, array_spec

jax = pytest.importorskip("jax", reason="jax is not installed")


def coefficients(tree: Tree, seed: int) -> dict[KeyPath, tuple[Any, Any]]:
    """An amplitude and a frequency for every element, by place; another loss for each seed."""
    places = sorted(list_leaves(tree).items(), key=lambda item: str(item[0]))
    drawn = (
        np.random.default_rng((seed, number)).normal(size=(2, *leaf.shape)) for number, (_, leaf) in enumerate(places)
    )
    return {path: (weights[0], weights[1]) for (path, _), weights in zip(places, drawn, strict=True)}


def probe(tree: Tree, xp: ModuleType, seed: int) -> Any:
    """A loss in which every element has a curvature of its own, and all leaves meet."""
    leaves = list_leaves(tree)
    waves = [(a * xp.sin(b * leaves[path] + 1)).sum() for path, (a, b) in coefficients(tree, seed).items()]
    return xp.tanh(sum(waves)) + sum(waves) / 2


def probe_gradients(tree: Tree, seed: int) -> dict[KeyPath, Any]:
    """Its gradient at every leaf, by hand."""
    leaves, weights = list_leaves(tree), coefficients(tree, seed)
    total = sum((a * np.sin(b * leaves[path] + 1)).sum() for path, (a, b) in weights.items())
    slope = 1 / np.cosh(total) ** 2 + 0.5
    return {path: slope * a * b * np.cos(b * leaves[path] + 1) for path, (a, b) in weights.items()}


def tied_gradients(ties: TieSet, seed: int = 0) -> Any:
    return jax.grad(lambda tree: probe(expand(tree, ties), jax.numpy, seed))


def assert_gathered(found: Tree, tree: Tree, ties: TieSet, seed: int = 0) -> None:
    """Asserts that gradients are the untied ones at the expanded point, pulled back by our own adjoints.

    To 1e-12 of the largest that was added up.
    """
    own = probe_gradients(expand(tree, ties), seed)
    gathered, sizes = dict(own), {path: np.abs(leaf).max(initial=0.0) for path, leaf in own.items()}
    for tie in ties:
        specs = [array_spec(own[path]) for path in tie.canonicals]
        for path, part in zip(tie.canonicals, adjoint(tie.transform, own[tie.alias], specs), strict=True):
            gathered[path] = gathered[path] + part
            sizes[path] = max(sizes[path], np.abs(part).max(initial=0.0))
    gradients = list_leaves(found)
    assert gradients.keys() == gathered.keys() - ties.by_alias.keys()
    for path, leaf in gradients.items():
        assert np.abs(np.asarray(leaf) - gathered[path]).max(initial=0.0) <= 1e-12 * sizes[path]


@given(tied_trees(), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_tied_gradients_are_contracted_ones(tied: Tied, seed: int) -> None:
    """`grad(loss ∘ expand)` is each leaf's own gradient, and what the adjoints bring from its aliases."""
    with jax.enable_x64(True):
        tree = contract(tied.tree, tied.ties)
        found = jax.jit(tied_gradients(tied.ties, seed))(tree)

    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert_gathered(found, tree, tied.ties, seed)


@given(tied_trees())
@settings(max_examples=8, deadline=None)
def test_several_trees_at_once(tied: Tied) -> None:
    """Under `vmap` each tree has the gradients that it has alone."""
    with jax.enable_x64(True):
        tree = contract(tied.tree, tied.ties)
        trees = [jax.tree.map(lambda leaf, by=by: np.asarray(leaf * by), tree) for by in (1.0, -0.7)]
        batch = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        found = jax.jit(jax.vmap(tied_gradients(tied.ties)))(batch)

    for number, each in enumerate(trees):
        assert_gathered(jax.tree.map(lambda leaf, number=number: np.asarray(leaf)[number], found), each, tied.ties)


@given(tied_trees())
@settings(max_examples=60, deadline=None)
def test_contracting_and_expanding_undo_each_other(tied: Tied) -> None:
    """`contract(expand(tree)) == tree`, the very same arrays, and the other way round bit for bit."""
    contracted = contract(tied.tree, tied.ties)
    expanded = expand(contracted, tied.ties)
    back = contract(expanded, tied.ties)

    assert jax.tree.structure(back) == jax.tree.structure(contracted)
    assert all(left is right for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(contracted), strict=True))
    assert jax.tree.structure(expanded) == jax.tree.structure(tied.tree)
    for left, right in zip(jax.tree.leaves(expanded), jax.tree.leaves(tied.tree), strict=True):
        assert (left.shape, left.tobytes()) == (right.shape, right.tobytes())


def test_arrays_that_are_spread_over_devices() -> None:
    """Eight devices, three layouts: the gradients of one, in the layout of the leaves they are of."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_ENABLE_X64": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SPREAD], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "layouts"]


SPREAD = """
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from tests.property.test_tied_gradients import assert_gathered, tied_gradients
from tiecli.pytrees import contract, expand, tie_names

kinds = {"axis_types": (jax.sharding.AxisType.Auto,) * 2} if hasattr(jax.sharding, "AxisType") else {}
mesh = jax.make_mesh((4, 2), ("x", "y"), **kinds)
rng = np.random.default_rng(0)
tree = {"a": rng.normal(size=(8, 16)), "b": rng.normal(size=(8, 16)), "c": rng.normal(size=(16, 8, 4))}
made = {"t": "a | transpose", "s": "a | [2:6, ::2]", "j": "(a, b) | concat(1)", "k": "(b, a) | stack(0)",
        "r": "b | reshape(4,32) | flip(0)", "p": "c | transpose(2,0,1) | pad(0,1,1) | scale(-0.3)",
        "l": "a | reshape(1,8,16) | repeat(0,3)", "same": "b"}
shapes = {"t": (16, 8), "s": (4, 8), "j": (8, 32), "k": (2, 8, 16), "r": (4, 32), "p": (6, 16, 8), "l": (3, 8, 16),
          "same": (8, 16)}
ties = tie_names(tree | {name: np.zeros(shape) for name, shape in shapes.items()}, made)
layouts = [P("x", "y"), P(None, ("x", "y")), P("y")]
for layout in layouts:
    sharding = NamedSharding(mesh, layout)
    spread = jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)
    found = jax.jit(tied_gradients(ties))(spread)
    for name, leaf in found.items():
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), (name, leaf.sharding)
    assert_gathered(found, tree, ties)
    full = jax.jit(lambda tree: expand(tree, ties))(spread)
    assert contract(full, ties).keys() == tree.keys()
print(len(layouts), "layouts")
"""
