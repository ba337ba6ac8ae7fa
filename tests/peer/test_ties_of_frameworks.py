"""The same model tied by tiecli and by the frameworks that tie in code: the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tiecli
from tests.peer.tied_models import LAYERS, MODELS, TARGETS, TOKENS, Leaves, Model, X, Y, cross_entropy
from tiecli.pytrees import Tree, expand, list_leaves, load
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
jnp = jax.numpy
Gradients = dict[str, Any]


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def peer(name: str) -> ModuleType:
    module: ModuleType = pytest.importorskip(name, reason=f"{name} comes with the extra `peer`")
    return module


def tied_by_tiecli(model: Model, directory: Path) -> Gradients:
    """Ties the checkpoint, loads it contracted, and differentiates the untied loss through `expand`."""
    from safetensors.numpy import save_file

    full = dict(model.leaves)
    for canonical, alias, transform in model.ties:
        full[alias] = np.ascontiguousarray(forward(Transform.parse(transform), [full[canonical]]))
    save_file(full, directory / "full.safetensors")
    requests = [
        tiecli.TieRequest(canonical, alias, Transform.parse(transform)) for canonical, alias, transform in model.ties
    ]
    tiecli.tie(directory / "full.safetensors", requests, tiecli.Target(directory / "tied.safetensors"))
    with tiecli.open_reader(directory / "tied.safetensors") as reader:
        manifest = reader.manifest()
    assert manifest is not None
    tree = load(directory / "tied.safetensors", expanded=False)
    assert {path.spelling for path in list_leaves(tree)} == set(model.leaves)
    gradients = jax.jit(jax.grad(lambda tree: model.loss(expand(tree, manifest.ties))))(tree)
    return {path.spelling: leaf for path, leaf in list_leaves(gradients).items()}


def tied_by_equinox(name: str, leaves: Leaves) -> Gradients:
    """`nn.Shared` around stock layers."""
    eqx = peer("equinox")
    key = jax.random.key(0)

    def linear(weight: Any, bias: Any = None) -> Any:
        layer = eqx.nn.Linear(weight.shape[1], weight.shape[0], use_bias=bias is not None, key=key)
        layer = eqx.tree_at(lambda layer: layer.weight, layer, jnp.asarray(weight))
        return layer if bias is None else eqx.tree_at(lambda layer: layer.bias, layer, jnp.asarray(bias))

    match name:
        case "autoencoder":
            enc = linear(leaves["enc.weight"], leaves["enc.bias"])
            dec = linear(np.zeros_like(leaves["enc.weight"].T), leaves["dec.bias"])
            shared = eqx.nn.Shared((enc, dec), lambda pair: pair[1].weight, lambda pair: pair[0].weight.T)

            def loss(shared: Any) -> Any:
                enc, dec = shared()
                return jnp.mean((jax.vmap(lambda x: dec(jnp.tanh(enc(x))))(X) - Y) ** 2)

            (enc, dec) = eqx.filter_grad(loss)(shared).pytree
            return {"enc.weight": enc.weight, "enc.bias": enc.bias, "dec.bias": dec.bias}
        case "head" | "transposed head":
            embedding = eqx.nn.Embedding(weight=jnp.asarray(leaves["wte.weight"]))
            mix = linear(leaves["mix.weight"])
            turned = name == "transposed head"
            head = jnp.zeros_like(embedding.weight.T if turned else embedding.weight)
            shared = eqx.nn.Shared(
                (embedding, mix, head),
                lambda parts: parts[2],
                lambda parts: parts[0].weight.T if turned else parts[0].weight,
            )

            def loss(shared: Any) -> Any:
                embedding, mix, head = shared()
                hidden = jax.vmap(lambda token: jnp.tanh(mix(embedding(token))))(TOKENS)
                return cross_entropy(hidden @ (head if turned else head.T))

            (embedding, mix, _) = eqx.filter_grad(loss)(shared).pytree
            return {"wte.weight": embedding.weight, "mix.weight": mix.weight}
        case _:
            layers = [linear(leaves["layers.0.weight"], leaves["layers.0.bias"]) for _ in range(LAYERS)]

            def parts_of(chosen: list[Any]) -> list[Any]:
                return [part for layer in chosen for part in (layer.weight, layer.bias)]

            shared = eqx.nn.Shared(
                layers, lambda layers: parts_of(layers[1:]), lambda layers: parts_of(layers[:1] * (LAYERS - 1))
            )

            def loss(shared: Any) -> Any:
                hidden = X
                for layer in shared():
                    hidden = jnp.tanh(jax.vmap(layer)(hidden))
                return jnp.mean((hidden - Y) ** 2)

            first = eqx.filter_grad(loss)(shared).pytree[0]
            return {"layers.0.weight": first.weight, "layers.0.bias": first.bias}


def tied_by_sepes(name: str, leaves: Leaves) -> Gradients:
    """An assignment inside a method: the alias is a leaf of its own, of other values, and receives nothing."""
    sp = peer("sepes")

    @sp.autoinit
    class Tied(sp.TreeClass):  # type: ignore[misc, name-defined]  # a peer's class
        parts: dict[str, Any]

        def loss(self) -> Any:
            for canonical, alias, transform in MODELS[name].ties:
                self.parts[alias] = self.parts[canonical].T if transform == "transpose" else self.parts[canonical]
            tree: dict[str, Any] = {}
            for path, leaf in self.parts.items():
                *outer, last = path.split(".")
                node = tree
                for part in outer:
                    node = node.setdefault(part, {})
                node[last] = leaf
            return MODELS[name].loss(tree)

    stale = {alias: jnp.ones(1) for _, alias, _ in MODELS[name].ties}
    tied = Tied({path: jnp.asarray(leaf) for path, leaf in leaves.items()} | stale)
    found: Gradients = dict(jax.grad(lambda tied: sp.value_and_tree(type(tied).loss)(tied)[0])(tied).parts)
    for alias in stale:
        assert np.array_equal(found.pop(alias), [0.0])
    return found


def tied_by_nnx(name: str, leaves: Leaves) -> Gradients:
    """One `Variable` in two places; where an alias is transposed, by code at the place of use."""
    nnx = peer("flax.nnx")
    leaves = {path: jnp.asarray(leaf) for path, leaf in leaves.items()}
    match name:
        case "autoencoder":
            return nnx_autoencoder(nnx, leaves)
        case "layers":
            return nnx_layers(nnx, leaves)
        case _:
            return nnx_head(nnx, leaves, shares=name == "head")


def nnx_linear(nnx: Any, weight: Any, bias: Any = None) -> Any:
    """A stock layer of the given weights, which it holds transposed."""
    layer = nnx.Linear(*weight.T.shape, use_bias=bias is not None, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    layer.kernel[...] = weight.T
    if bias is not None:
        layer.bias[...] = bias
    return layer


def nnx_autoencoder(nnx: Any, leaves: Leaves) -> Gradients:
    parts = nnx.Dict(enc=nnx_linear(nnx, leaves["enc.weight"], leaves["enc.bias"]), bias=nnx.Param(leaves["dec.bias"]))

    def loss(parts: Any) -> Any:
        return jnp.mean((jnp.tanh(parts.enc(X)) @ parts.enc.kernel[...].T + parts.bias[...] - Y) ** 2)

    found = nnx.grad(loss)(parts)
    enc = found["enc"]
    return {"enc.weight": enc["kernel"][...].T, "enc.bias": enc["bias"][...], "dec.bias": found["bias"][...]}


def nnx_head(nnx: Any, leaves: Leaves, *, shares: bool) -> Gradients:
    table = nnx.Param(leaves["wte.weight"])
    parts = nnx.Dict(wte=table, mix=nnx_linear(nnx, leaves["mix.weight"]))
    if shares:
        parts.head = table

    def loss(parts: Any) -> Any:
        hidden = jnp.tanh(parts.mix(parts.wte[...][TOKENS]))
        return cross_entropy(hidden @ (parts.head if shares else parts.wte)[...].T)

    found = nnx.grad(loss)(parts)
    # The state has a shared Variable once, under the first of its names.
    assert ("head" in found) == shares
    assert ("wte" in found) != shares
    return {
        "wte.weight": found["head" if shares else "wte"][...],
        "mix.weight": found["mix"]["kernel"][...].T,
    }


def nnx_layers(nnx: Any, leaves: Leaves) -> Gradients:
    layers = nnx.List([nnx_linear(nnx, leaves["layers.0.weight"], leaves["layers.0.bias"]) for _ in range(LAYERS)])
    for layer in layers[1:]:
        layer.kernel, layer.bias = layers[0].kernel, layers[0].bias

    def loss(layers: Any) -> Any:
        hidden = jnp.asarray(X)
        for layer in layers:
            hidden = jnp.tanh(layer(hidden))
        return jnp.mean((hidden - Y) ** 2)

    (first,) = [layer for _, layer in sorted(nnx.to_pure_dict(nnx.grad(loss)(layers)).items()) if layer]
    return {"layers.0.weight": first["kernel"].T, "layers.0.bias": first["bias"]}


def tied_by_torch(name: str, leaves: Leaves) -> Gradients:
    """The same `Parameter` in two places; transposed at the place of use."""
    torch = peer("torch")
    functional = torch.nn.functional
    own = {path: torch.nn.Parameter(torch.tensor(leaf)) for path, leaf in leaves.items()}
    x, y, tokens, targets = map(torch.tensor, (X, Y, TOKENS, TARGETS))
    match name:
        case "autoencoder":
            hidden = torch.tanh(functional.linear(x, own["enc.weight"], own["enc.bias"]))
            loss = ((functional.linear(hidden, own["enc.weight"].t(), own["dec.bias"]) - y) ** 2).mean()
        case "layers":
            layers = [torch.nn.Linear(*leaves["layers.0.weight"].shape, dtype=torch.float64) for _ in range(LAYERS)]
            for layer in layers:
                layer.weight, layer.bias = own["layers.0.weight"], own["layers.0.bias"]
            hidden = x
            for layer in layers:
                hidden = torch.tanh(layer(hidden))
            loss = ((hidden - y) ** 2).mean()
        case _:
            embedding = torch.nn.Embedding(*leaves["wte.weight"].shape, dtype=torch.float64)
            head = torch.nn.Linear(*reversed(leaves["wte.weight"].shape), bias=False, dtype=torch.float64)
            embedding.weight = head.weight = own["wte.weight"]
            hidden = torch.tanh(functional.linear(embedding(tokens), own["mix.weight"]))
            logits = head(hidden) if name == "head" else hidden @ own["wte.weight"].t()
            loss = functional.cross_entropy(logits, targets)
    loss.backward()
    return {path: parameter.grad.numpy() for path, parameter in own.items()}


Tied = Callable[[str, Leaves], Gradients]


@pytest.mark.parametrize("tied", [tied_by_equinox, tied_by_sepes, tied_by_nnx, tied_by_torch])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_other_frameworks(name: str, tied: Tied, tmp_path: Path) -> None:
    """Every gradient agrees to float64's rounding, the canonical leaf's sum among them."""
    model = MODELS[name]
    expected = tied(name, model.leaves)
    found = tied_by_tiecli(model, tmp_path)

    assert found.keys() == expected.keys() == model.leaves.keys()
    for path, leaf in found.items():
        assert leaf.shape == expected[path].shape
        size = np.abs(expected[path]).max()
        assert size > 1e-3
        assert np.abs(np.asarray(leaf) - np.asarray(expected[path])).max() <= 1e-13 * size


@pytest.mark.parametrize("name", MODELS)
def test_the_models_can_tell_a_tie_from_none(name: str) -> None:
    """An alias's own gradient is neither nothing nor its canonical leaf's, so that no wrong rule passes."""
    model = MODELS[name]
    full = dict(model.leaves)
    for canonical, alias, transform in model.ties:
        full[alias] = forward(Transform.parse(transform), [full[canonical]])
    own = list_leaves(jax.grad(model.loss)(nested(full)))
    gradients = {path.spelling: np.asarray(leaf) for path, leaf in own.items()}
    for canonical, alias, transform in model.ties:
        back = gradients[alias].T if transform == "transpose" else gradients[alias]
        assert np.abs(back).max() > 1e-4
        assert np.abs(back - gradients[canonical]).max() > 0.1 * np.abs(back).max()


def nested(leaves: Leaves) -> Tree:
    from tiecli.keypaths import KeyPath
    from tiecli.pytrees import build_tree

    return build_tree({KeyPath.from_name(name): jnp.asarray(leaf) for name, leaf in leaves.items()})


REFERENCES = {
    "equinox": """
import equinox as eqx

def reference(tree, key):
    parts = (tree["enc"]["weight"], tree["enc"]["weight"])
    shared = eqx.nn.Shared(parts, lambda parts: parts[1], lambda parts: parts[0].T)
    enc, dec = shared()
    return reconstruct({"enc": tree["enc"] | {"weight": enc}, "dec": tree["dec"] | {"weight": dec}})
""",
    "flax": """
from flax import nnx
import jax.numpy as jnp
from tests.peer.tied_models import X, Y

def reference(tree, key):
    table = nnx.Param(tree["enc"]["weight"])
    parts = nnx.Dict(enc=table, dec=table)
    hidden = jnp.tanh(X @ parts.enc[...].T + tree["enc"]["bias"])
    return jnp.mean((hidden @ parts.dec[...] + tree["dec"]["bias"] - Y) ** 2)
""",
}


@pytest.mark.parametrize("framework", REFERENCES)
@pytest.mark.parametrize(("transform", "verdict"), [("transpose", "PASS"), ("same", "FAIL")])
def test_a_model_that_ties_by_itself_settles_a_tie(
    framework: str, transform: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symmetric leaf fits both transforms by its bytes; `nn.Shared`, or a Variable used twice, knows which it is."""
    from safetensors.numpy import save_file

    from tiecli.ties import Tie, TieSet
    from tiecli.verification.losses import check_losses, conclude_losses

    peer(framework)
    module = f"{framework}_reference_{transform}"
    (tmp_path / f"{module}.py").write_text(
        "from tests.peer.tied_models import reconstruct\n"
        "def loss(tree, key):\n    return reconstruct(tree)\n" + REFERENCES[framework]
    )
    monkeypatch.chdir(tmp_path)
    square = MODELS["layers"].leaves["layers.0.weight"]
    leaves = {"enc.weight": square + square.T, "enc.bias": square[0], "dec.bias": square[1]}
    save_file(leaves, "tied.safetensors")
    enc, dec = (tiecli.KeyPath.from_name(f"{part}.weight") for part in ("enc", "dec"))
    ties = TieSet((Tie(dec, (enc,), Transform.parse(transform)),))

    with tiecli.open_reader("tied.safetensors") as reader:
        checks = check_losses(f"{module}:loss", f"{module}:reference", reader, None, ties)

    found = conclude_losses(checks, "dec.weight", "reference")
    assert found is not None
    assert found.verdict == verdict
