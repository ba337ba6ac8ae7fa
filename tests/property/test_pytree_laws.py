"""Laws of live trees: what a function does is the transform that is read from it; what is saved is what is read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import Pipe, pipes, small_integers
from tests.property.strategies_trees import Tied, tied_trees
from tiecli.leaves import DTYPES
from tiecli.pytrees import Tree, contract, list_leaves, load, read_ties, save, tie_nodes
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward

jax = pytest.importorskip("jax", reason="jax is not installed")
NARROW = [DTYPES[name] for name in ("F32", "BF16", "F16", "C64")]
CASTS = NARROW[:3]
# The factors are such that float16 holds them and what is made of small numbers.
FACTORS = st.sampled_from([-1.0, 2.0, 0.5, -0.25, 0.1])


@given(pipes(NARROW, casts=CASTS, scales=FACTORS), st.data())
@settings(max_examples=100, deadline=None)
def test_a_function_is_read_as_what_it_does(pipe: Pipe, data: st.DataObject) -> None:
    """Any transform, carried out with JAX inside `get`, is read as one that gives the same bits."""
    transform = Transform(pipe.steps)
    tree: dict[str, Any] = {str(at): data.draw(small_integers(spec)) for at, spec in enumerate(pipe.sources)}
    expected = forward(transform, list(tree.values()))
    tree["alias"] = expected

    def get(tree: Tree) -> Any:
        return forward(transform, [tree[str(at)] for at in range(len(pipe.sources))], jax.numpy)

    (tie,) = tie_nodes(tree, lambda tree: tree["alias"], get)

    found = forward(tie.transform, [tree[path.spelling] for path in tie.canonicals])
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    # On the way into a narrower type NaN is no issue here, and a negative zero is kept.
    assert np.array_equal(found, expected, equal_nan=found.dtype.kind in "fc")


@given(tied_trees(), st.sampled_from(["x.safetensors", "shards", "orbax"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_is_saved_is_what_is_read(tied: Tied, form: str, is_contracted: bool) -> None:
    """Any tree, in either format, expanded or contracted, comes back bit for bit, and so do its ties."""
    tree = contract(tied.tree, tied.ties) if is_contracted else tied.tree
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / form
        save(tree, path, tied.ties, shard_nbytes=512 if form == "shards" else None, sync=False)
        ties = read_ties(path, like=tied.tree)
        back, stored = load(path, like=tied.tree), load(path, like=tied.tree, expanded=False)

    assert set(ties) == set(tied.ties)
    for left, right in ((back, tied.tree), (stored, contract(tied.tree, tied.ties))):
        assert jax.tree.structure(left) == jax.tree.structure(right)
        for place, leaf in list_leaves(left).items():
            assert leaf.tobytes() == list_leaves(right)[place].tobytes()
