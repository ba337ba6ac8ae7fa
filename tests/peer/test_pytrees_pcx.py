"""pcx's `shared` beside `tie_modules`: whole modules and parts of them, by class, by function and by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peer.trained_trees import assert_close, peer
from tiecli.pytrees import contract, expand, list_leaves, read_ties, save, tie_modules

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
jnp = jax.numpy
INPUT = jnp.arange(4.0)


@pytest.fixture
def pcx() -> Any:
    """pcx, or skip."""
    return peer("pcx", "requires jax below 0.5, and tiecli 0.5: `pip install --no-deps pcx` puts it beside a later jax")


def make_block(pcx: Any, share: Any) -> Any:
    """Two layers, the second of which `share` makes of the first."""
    import pcx.nn as pxnn

    class Block(pcx.Module):  # type: ignore[misc]  # a peer's class
        def __init__(self, first: Any, second: Any) -> None:
            super().__init__()
            self.first, self.second = first, second

        def __call__(self, x: Any) -> Any:
            return (self.second(jnp.tanh(self.first(x))) ** 2).sum()

    linear = pxnn.Linear(4, 4)
    return Block(linear, share(linear))


def differentiate(model: Any) -> Any:
    """What pcx's own transformation gives, which knows the Params that occur twice."""
    import pcx.functional as pxf  # type: ignore[import-untyped, unused-ignore]  # it has no types
    import pcx.nn as pxnn
    import pcx.utils as pxu

    mask = pxu.M(pxnn.LayerParam).to([False, True])
    return pxf.value_and_grad(mask)(lambda x, *, model: model(x))(INPUT, model=model)[1]["model"]


def is_matrix(node: Any) -> bool:
    import pcx.nn as pxnn

    return isinstance(node, pxnn.LayerParam) and node.ndim == 2


@pytest.mark.parametrize("filter_", ["all", "a class", "a function"])
@pytest.mark.parametrize("select", ["a class", "a function", "a pattern"])
def test_gradients_are_those_of_shared(filter_: str, select: str, pcx: Any) -> None:
    """The same filter says what is shared; nothing is given up, since the values are equal already."""
    import pcx.nn as pxnn

    leaves = {"all": None, "a class": pxnn.LayerParam, "a function": is_matrix}[filter_]
    model = make_block(pcx, lambda linear: pxnn.shared(linear) if leaves is None else pxnn.shared(linear, leaves))
    modules: Any = {
        "a class": pxnn.Linear,
        "a function": lambda node: isinstance(node, pxnn.Linear),
        "a pattern": "{first,second}",
    }
    ties = tie_modules(model, modules[select], leaves)

    ours = jax.grad(lambda tied: expand(tied, ties)(INPUT))(contract(model, ties))

    assert len(ties) == (1 if filter_ == "a function" else 2)
    assert_close(ours, differentiate(model), 1e-6)


def test_plain_jax_does_not_see_what_is_shared(pcx: Any) -> None:
    """A gradient for each of the two, which sum up to that of both."""
    import pcx.nn as pxnn

    model = make_block(pcx, pxnn.shared)
    assert model.first.nn.weight is model.second.nn.weight

    separate = {str(path): leaf for path, leaf in list_leaves(jax.grad(lambda model: model(INPUT))(model)).items()}
    both = {str(path): leaf for path, leaf in list_leaves(differentiate(model)).items()}

    assert {len(separate), len(both)} == {4, 2}
    for path, leaf in both.items():
        twin = separate[path.replace("first", "second")]
        assert np.abs(twin).max() > 1e-3
        assert_close([separate[path] + twin], [leaf], 1e-5)


def test_files(tmp_path: Path, pcx: Any) -> None:
    """Each stores what is shared once; of the other names theirs says nothing but that they are there."""
    import pcx.nn as pxnn
    import pcx.utils as pxu

    model = make_block(pcx, pxnn.shared)
    ties = tie_modules(model, pxnn.Linear)
    save(model, tmp_path / "ours.safetensors", ties, sync=False)
    pxu.save_params(model, str(tmp_path / "theirs"))

    assert set(read_ties(tmp_path / "ours.safetensors", like=model)) == set(ties)
    with np.load(tmp_path / "theirs.npz", allow_pickle=True) as stored:
        shapes = {name: stored[name].shape for name in stored.files}
        assert [stored[name].item() for name, shape in shapes.items() if not shape] == [None, None]
    assert sorted(shapes.values()) == [(), (), (4,), (4, 4)]
