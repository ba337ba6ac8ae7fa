"""For random trees, ties and losses, what is differentiated through `expand` gathers by the adjoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import Pipe, pipes
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.pytrees import Tree, build_tree, contract, expand, list_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, array_spec

jax = pytest.importorskip("jax", reason="jax is not installed")
F64 = [DTYPES["F64"]]
scales = st.sampled_from([-1.0, 2.0, 0.1, -3.7])


@dataclass(frozen=True)
class Tied:
    """A tree without its aliases, and the ties that make them."""

    tree: Tree
    ties: TieSet


def placed(stem: str, number: int, is_listed: bool) -> KeyPath:
    """A place in a tree of dicts, or in a list of them."""
    keys: tuple[Key, ...] = (stem, number, "w") if is_listed else (stem, str(number))
    return KeyPath(keys)


@st.composite
def tied_trees(draw: st.DrawFn) -> Tied:
    """Draws canonical leaves, several aliases of some of them, chains among these, and leaves that are free."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    leaves: dict[KeyPath, Any] = {KeyPath(("free",)): rng.normal(size=3)}
    ties: list[Tie] = []

    is_listed = draw(st.booleans())

    def tie(sources: tuple[KeyPath, ...], transform: Transform) -> KeyPath:
        alias = placed("alias", len(ties), is_listed)
        ties.append(Tie(alias, sources, transform))
        return alias

    for number in range(draw(st.integers(1, 3))):
        pipe: Pipe = draw(pipes(dtypes=F64, casts=F64, scales=scales))
        sources = tuple(placed("leaf", number * 100 + at, is_listed) for at in range(len(pipe.sources)))
        leaves |= {path: rng.normal(size=spec.shape) for path, spec in zip(sources, pipe.sources, strict=True)}
        transform = Transform(pipe.steps)
        alias = tie(sources, transform)
        for _ in range(draw(st.integers(0, 2))):  # more aliases of the same leaf
            tie(sources[:1], draw(transforms_of(pipe.sources[0])))
        if len(sources) == 1 and draw(st.booleans()):  # a chain
            tie((alias,), draw(transforms_of(transform.spec(pipe.sources))))
    return Tied(build_tree(leaves, without=[tie.alias for tie in ties]), TieSet(tuple(ties)))


def transforms_of(spec: LeafSpec) -> st.SearchStrategy[Transform]:
    """Transforms that any leaf of a shape admits."""
    texts = ["same", "neg", "scale(0.3)", "reshape(-1)" if spec.size else "same"]
    if spec.shape:
        texts += ["flip(0)", "pad(0,1,2)", "repeat(-1,2)", *(["[:1]"] if spec.shape[0] else [])]
    return st.sampled_from(texts).map(Transform.parse)


def probe(tree: Tree) -> Any:
    """A loss in which every element has a coefficient and a curvature of its own, and leaves meet."""
    total = 0.0
    for number, (_, leaf) in enumerate(sorted(list_leaves(tree).items(), key=lambda item: str(item[0]))):
        weights = np.random.default_rng(number).normal(size=(2, *leaf.shape))
        total += (weights[0] * jax.numpy.sin(weights[1] * leaf + 1)).sum()
    return total + jax.numpy.tanh(total) / 2


@given(tied_trees())
@settings(max_examples=15, deadline=None)
def test_tied_gradients_are_contracted_ones(tied: Tied) -> None:
    """`grad(loss ∘ expand)` is each leaf's own gradient, and what the adjoints bring from its aliases."""
    with jax.enable_x64(True):
        tree = jax.tree.map(jax.numpy.asarray, tied.tree)
        found, own, expected = jax.jit(lambda tree: differentiate(tree, tied.ties))(tree)

        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for path, leaf in list_leaves(found).items():
            wanted = list_leaves(expected)[path]
            bound = 1e-12 * max(np.abs(array).max(initial=0.0) for array in (wanted, list_leaves(own)[path]))
            assert np.abs(leaf - wanted).max(initial=0.0) <= bound


def differentiate(tree: Tree, ties: TieSet) -> tuple[Tree, Tree, Tree]:
    """The gradient of the tied loss, those of the untied one, and these gathered by hand."""
    own = jax.grad(probe)(expand(tree, ties))
    gradients = dict(list_leaves(own))
    for tie in ties:
        specs = [array_spec(gradients[path]) for path in tie.canonicals]
        for path, part in zip(
            tie.canonicals, adjoint(tie.transform, list_leaves(own)[tie.alias], specs, jax.numpy), strict=True
        ):
            gradients[path] = gradients[path] + part
    gathered = contract(build_tree(gradients), ties)
    return jax.grad(lambda tree: probe(expand(tree, ties)))(tree), own, gathered


@given(tied_trees())
@settings(max_examples=60, deadline=None)
def test_contracting_undoes_expanding(tied: Tied) -> None:
    """`contract(expand(tree)) == tree`, the very same arrays in the same structure."""
    back = contract(expand(tied.tree, tied.ties), tied.ties)

    assert jax.tree.structure(back) == jax.tree.structure(tied.tree)
    assert all(left is right for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(tied.tree), strict=True))
