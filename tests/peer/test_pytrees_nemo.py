"""`tie_weights_with`, `get_weights` and `set_weights` of NeMo, whose methods are here, beside ties and copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tests.peer.trained_trees import TARGETS, TOKENS, assert_close, cross_entropy, train
from tiecli.cli.entry import main
from tiecli.keypaths import KeyPath
from tiecli.pytrees import build_tree, contract, expand, list_leaves, load, tie_names

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `test`")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("float64")
OPTIMIZERS: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "sgd": (lambda torch, own: torch.optim.SGD(own, lr=0.1), lambda: optax.sgd(0.1)),
    "adam": (lambda torch, own: torch.optim.Adam(own, lr=0.1, eps=1e-8), lambda: optax.adam(0.1, eps=1e-8)),
}


@pytest.fixture
def model(torch: Any) -> Any:
    """An embedding, a layer and a projection that nothing ties yet."""
    torch.manual_seed(0)
    modules = {
        "embedding": torch.nn.Embedding(11, 4),
        "mix": torch.nn.Linear(4, 4, bias=False),
        "projection": torch.nn.Linear(4, 11, bias=False),
    }
    return torch.nn.ModuleDict(modules).double()


def train_in_torch(torch: Any, model: Any, optimizer: Any) -> dict[str, Any]:
    for _ in range(5):
        optimizer.zero_grad()
        hidden = torch.tanh(model["mix"](model["embedding"](torch.tensor(TOKENS))))
        torch.nn.functional.cross_entropy(model["projection"](hidden), torch.tensor(TARGETS)).backward()
        optimizer.step()
    return {name: leaf.detach().numpy() for name, leaf in model.state_dict().items()}


def list_arrays(model: Any) -> dict[str, Any]:
    return {name: leaf.detach().numpy().copy() for name, leaf in model.state_dict().items()}


def train_ours(leaves: dict[str, Any], name2name: dict[str, tuple[str, str]], optimizer: Any) -> dict[str, Any]:
    """Ties by the same map of names and transforms; a head that is turned is used turned."""
    tree = build_tree({KeyPath.from_name(name): leaf for name, leaf in leaves.items()})
    ties = tie_names(tree, {name: f"{source} | {how.lower()}" for name, (source, how) in name2name.items()})
    turned = ("embedding.weight", "TRANSPOSE") in name2name.values()

    def loss(tied: Any) -> Any:
        full = expand(tied, ties)
        head = full["projection"]["weight"] if turned else full["projection"]["weight"].T
        return cross_entropy(jnp.tanh(full["embedding"]["weight"][TOKENS] @ full["mix"]["weight"].T) @ head)

    params, _ = train(optimizer, contract(tree, ties, keep="src"), loss, steps=5)
    assert "projection" not in params
    full = list_leaves(expand(params, ties))
    return {path.spelling: np.asarray(leaf) for path, leaf in full.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("transform", ["SAME", "TRANSPOSE"])
def test_name_maps(transform: str, name: str, torch: Any, model: Any) -> None:
    """SAME trains as one Parameter in two places, as NeMo 0.9 ties; TRANSPOSE, which NeMo refuses, does too."""
    theirs, ours = OPTIMIZERS[name]
    leaves = list_arrays(model)
    if transform == "TRANSPOSE":
        leaves["projection.weight"] = leaves["projection.weight"].T
    found = train_ours(leaves, {"projection.weight": ("embedding.weight", transform)}, ours())

    model["projection"].weight = model["embedding"].weight
    expected = train_in_torch(torch, model, theirs(torch, model.parameters()))

    if transform == "TRANSPOSE":
        found["projection.weight"] = found["projection.weight"].T
    assert_close(found, expected, 1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_storage_is_no_tie(name: str, torch: Any, model: Any) -> None:
    """NeMo 0.10 wraps the weight in a Parameter of its own: plain descent adds up both steps, Adam goes elsewhere."""
    theirs, ours = OPTIMIZERS[name]
    leaves = list_arrays(model)
    found = train_ours(leaves, {"projection.weight": ("embedding.weight", "SAME")}, ours())

    model["projection"].weight = torch.nn.Parameter(model["embedding"].weight)
    assert len(list(model.parameters())) == 3
    shared = train_in_torch(torch, model, theirs(torch, model.parameters()))

    assert np.array_equal(shared["projection.weight"], shared["embedding.weight"])
    apart = np.abs(found["embedding.weight"] - shared["embedding.weight"]).max()
    assert apart < 1e-10 if name == "sgd" else apart > 0.05


def get_weights(module: Any) -> dict[str, Any]:
    """As NeMo has it."""
    return {name: (leaf, leaf.requires_grad) for name, leaf in module.named_parameters()}


def set_weights(module: Any, name2weight: dict[str, Any]) -> None:
    """As NeMo has it; its map of names and transforms it ignored, and later refused."""
    module.load_state_dict({name: leaf for name, (leaf, _) in name2weight.items()})


def test_copies_are_those_of_get_and_set_weights(tmp_path: Path, torch: Any, model: Any) -> None:
    """`tiecli copy` gives the other checkpoint the same values, and no tie."""
    from safetensors.torch import save_file

    other = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4, bias=False).double() for name in ("mix", "out")})
    save_file(model["mix"].state_dict(), tmp_path / "first.safetensors")
    save_file(other.state_dict(), tmp_path / "second.safetensors")

    set_weights(other["mix"], get_weights(model["mix"]))
    copy = ["copy", str(tmp_path / "first.safetensors"), str(tmp_path / "second.safetensors")]
    assert main([*copy, "--map", "mix.weight = weight", "-o", str(tmp_path / "out.safetensors")]) == 0

    found = load(tmp_path / "out.safetensors")
    assert_close(found, build_tree({KeyPath.from_name(name): leaf for name, leaf in list_arrays(other).items()}), 0)
    assert not np.array_equal(found["mix"]["weight"], load(tmp_path / "second.safetensors")["mix"]["weight"])
    with tiecli.open_reader(tmp_path / "out.safetensors") as reader:
        assert reader.manifest() is None


def test_copies_train_apart(tmp_path: Path, torch: Any, model: Any) -> None:
    """After `set_weights`, as after `copy`, both have a gradient of their own; and copying takes a transform."""
    from safetensors.torch import save_file

    names = list_arrays(model)
    names["projection.weight"] = names["projection.weight"].T
    save_file({name: torch.tensor(leaf).contiguous() for name, leaf in names.items()}, tmp_path / "in.safetensors")
    within = ["copy", str(tmp_path / "in.safetensors"), str(tmp_path / "in.safetensors")]
    mapping = ["--map", "projection.weight = embedding.weight | transpose"]
    assert main([*within, *mapping, "-o", str(tmp_path / "out.safetensors")]) == 0
    found = load(tmp_path / "out.safetensors")
    assert np.array_equal(found["projection"]["weight"], found["embedding"]["weight"].T)

    set_weights(model["projection"], get_weights(model["embedding"]))
    trained = train_in_torch(torch, model, torch.optim.SGD(model.parameters(), lr=0.1))

    def loss(tree: Any) -> Any:
        hidden = jnp.tanh(tree["embedding"]["weight"][TOKENS] @ tree["mix"]["weight"].T)
        return cross_entropy(hidden @ tree["projection"]["weight"])

    ours, _ = train(optax.sgd(0.1), found, loss, steps=5)
    assert_close(ours["projection"]["weight"], trained["projection.weight"].T, 1e-10)
    assert_close(ours["embedding"]["weight"], trained["embedding.weight"], 1e-10)
    assert np.abs(ours["projection"]["weight"] - ours["embedding"]["weight"].T).max() > 1e-2
