"""Cases of the OPT rules: states of optax in Orbax items, and the slots of torch and MLX in safetensors files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from tests.lint.building import Case, Leaf, llama, llama_config, write_file, write_json, write_llama
from tests.lint.orbax_items import Shapes, write_item, write_items
from tiecli import Target, TieRequest, tie

Build = Callable[[Path], Path]
FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
PARAMS: Shapes = {
    "embed.embedding": (32, 8),
    **{f"layers.{layer}.mlp.{part}.kernel": (8, 8) for layer in range(4) for part in ("up", "down")},
    **{f"layers.{layer}.norm.{part}": (8,) for layer in range(4) for part in ("scale", "bias")},
    "norm.scale": (8,),
    "head.kernel": (8, 32),
}
ADAM = ("mu", "nu")
TORCH = ("exp_avg", "exp_avg_sq")


def below(place: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Puts leaves below a place of the tree."""
    return {f"{place}.{name}": shape for name, shape in shapes.items()}


def adam(
    params: Shapes = PARAMS, at: str = "opt_state[1][0]", slots: Collection[str] = ADAM, root: str = ""
) -> dict[str, tuple[int, ...]]:
    """Lists what Adam keeps."""
    found: dict[str, tuple[int, ...]] = {f"{at}.count": ()}
    for slot in slots:
        found |= below(f"{at}.{slot}{root}", params)
    return found


def without(leaves: Shapes, *ends: str) -> dict[str, tuple[int, ...]]:
    """Leaves out what ends in one of some ways."""
    return {name: shape for name, shape in leaves.items() if not name.endswith(ends)}


def item(*parts: Shapes, empty: Collection[str] = ()) -> Build:
    """Writes one item."""
    return lambda path: write_item(
        path / "ckpt", {name: shape for part in parts for name, shape in part.items()}, empty
    )


def train_state(params: Shapes = PARAMS, state: Shapes | None = None, empty: Collection[str] = ()) -> Build:
    """Writes parameters, the state of an optimizer, and a step."""
    return item(below("params", params), adam() if state is None else state, {"step": ()}, empty=empty)


def step(items: Mapping[str, Shapes]) -> Build:
    """Writes a step of several items."""
    return lambda path: write_items(path / "ckpt", items)


def slots_of(
    leaves: Mapping[str, Leaf], before: str = "", slots: Collection[str] = TORCH, *, first: bool = False
) -> dict[str, Leaf]:
    """Lists the slots of leaves, their names before or after those of the parameters."""
    named = (
        ((f"{slot}.{name}" if first else f"{name}.{slot}"), leaf) for slot in slots for name, leaf in leaves.items()
    )
    return {before + name: leaf for name, leaf in named}


def in_file(params: Mapping[str, Leaf], *others: Mapping[str, Leaf]) -> Build:
    """Writes a model whose file holds the state of its optimizer as well."""
    return lambda path: write_llama(path, {name: leaf for part in (params, *others) for name, leaf in part.items()})


def beside(slots: Mapping[str, Leaf], **changes: object) -> Build:
    """Writes a model, and the state of its optimizer in a file beside it."""

    def build(path: Path) -> Path:
        write_file(path / "optimizer.safetensors", slots)
        return write_llama(path, llama(head=not changes), **changes)

    return build


def drop(leaves: Mapping[str, Leaf], *names: str) -> dict[str, Leaf]:
    """Leaves some out."""
    return {name: leaf for name, leaf in leaves.items() if name not in names}


def tie_fixture(layout: str, above: str = "") -> Build:
    """Ties a leaf of a fixture and leaves it out, as `tiecli tie` does."""

    def build(path: Path) -> Path:
        requests = [TieRequest(f"{above}embed.embedding", f"{above}tied.embedding")]
        item = None if above else "params"
        tie(FIXTURES / layout, requests, Target(path / "ckpt", sync=False), mode="omit", item=item)
        return path / "ckpt"

    return build


def bare_adapters(path: Path) -> Path:
    """Writes a model with adapters, of which alone an optimizer knows."""
    adapters: dict[str, Leaf] = {
        f"model.layers.{n}.mlp.up_proj.delta_{side}": ("F32", (8, 2)) for n in range(2) for side in "ab"
    }
    return in_file(llama(), adapters, slots_of(adapters, "optimizer.state."))(path)


def write_aliased(path: Path) -> Path:
    """Writes a model that ties its head and stores it all the same; its optimizer knows one of both."""
    leaves = llama()
    write_json(path / "config.json", llama_config(tie_word_embeddings=True))
    write_file(path / "model.safetensors", {**leaves, **slots_of(drop(leaves, HEAD), "optimizer.state.")})
    return path


def trained(*dead: str, params: Mapping[str, tuple[int, ...]] = PARAMS, slots: Collection[str] = ADAM) -> Build:
    """Writes parameters and the state of Adam, zero for some of them."""

    def build(path: Path) -> Path:
        leaves: dict[str, Leaf] = {name: ("F32", shape) for name, shape in below("params", params).items()}
        for slot in slots:
            for name, shape in params.items():
                drawn = np.random.default_rng([*f"{slot}.{name}".encode()]).uniform(1, 2, shape).astype(np.float32)
                leaves[f"opt_state.{slot}.{name}"] = drawn * np.float32(name not in dead)
        return write_file(path / "model.safetensors", leaves)

    return build


HEAD = "lm_head.weight"
UP = "model.layers.1.mlp.up_proj.weight"
EMBED_ROWS = below("opt_state[1][0].mu", {"embed.embedding": (24, 8)})
MASKED = "opt_state.inner_states.adam.inner_state[0]"
BIAS = {"head.bias": (32,)}
FROZEN = ("embed.embedding",)
T5X = {f"optimizer.target.{name}": shape for name, shape in PARAMS.items()}
FACTORS = {
    f"optimizer.state.param_states.{name}.{slot}": shape[:1] if len(shape) > 1 else (1,)
    for name, shape in PARAMS.items()
    for slot in ("v_row", "v_col")
}
VAE: Shapes = {
    f"params.{side}.{part}.{leaf}": shape
    for side in ("encoder", "prior")
    for part in ("mu", "nu", "logvar", "dense")
    for leaf, shape in (("kernel", (8, 8)), ("bias", (8,)))
}
NORMS: dict[str, Leaf] = {f"model.bn{n}.running_{what}": ("F32", (8,)) for n in range(3) for what in ("mean", "var")}

CASES: list[Case] = [
    Case(
        "OPT001",
        "head-gone",
        train_state(without(PARAMS, "head.kernel")),
        True,
        says=(
            "Slots `opt_state[1][0].mu.head.kernel`, `opt_state[1][0].nu.head.kernel` exist for `params.head.kernel`",
        ),
    ),
    Case("OPT001", "tied-in-another-item", tie_fixture("items"), True, says=("for `tied.embedding`",)),
    Case("OPT001", "tied-with-its-state", tie_fixture("optax", "params."), False),
    Case(
        "OPT001",
        "maxtext",
        item(below("params.params", without(PARAMS, "head.kernel")), adam(at="opt_state[0]", root=".params")),
        True,
        says=("for `params.params.head.kernel`",),
    ),
    Case(
        "OPT001",
        "reference-keeps-its-head",
        item(
            below("params.params", without(PARAMS, "head.kernel")),
            below("reference_params.params", PARAMS),
            adam(at="opt_state[0]", root=".params"),
        ),
        True,
    ),
    Case("OPT001", "items", step({"params": without(PARAMS, "head.kernel"), "opt_state": adam(at="[0]")}), True),
    Case("OPT001", "t5x", item(without(T5X, "head.kernel"), FACTORS), True, says=("`optimizer.target.head.kernel`",)),
    Case("OPT001", "torch-in-the-file", in_file(drop(llama(), UP), slots_of(llama(), "optimizer.state.")), True),
    Case(
        "OPT001", "megatron-in-the-file", in_file(drop(llama(), UP), slots_of(llama(), "optimizer.", first=True)), True
    ),
    Case("OPT001", "bare-names", in_file(drop(llama(), UP), slots_of(llama())), True, says=(f"`{UP}.exp_avg`",)),
    Case(
        "OPT001",
        "beside-a-tied-model",
        beside(slots_of(llama(), slots="mv"), tie_word_embeddings=True),
        True,
        says=("it is tied to `model.embed_tokens.weight`",),
    ),
    Case("OPT001", "whole-train-state", train_state(), False),
    Case("OPT001", "vae-with-a-mu", item(VAE), False),
    Case(
        "OPT001",
        "vae-with-a-mu-in-training",
        item(VAE, adam({name.removeprefix("params."): shape for name, shape in VAE.items()})),
        False,
    ),
    Case("OPT001", "no-parameters-here", item(adam()), False),
    Case(
        "OPT001",
        "parameters-elsewhere",
        item(
            below("frozen", {"embed.embedding": (32, 8)}), below("params", without(PARAMS, "embed.embedding")), adam()
        ),
        False,
    ),
    Case(
        "OPT001",
        "adapters-merged",
        item(below("params", PARAMS), adam({f"layers.{n}.up.lora_{x}": (8, 2) for n in range(4) for x in "ab"})),
        False,
    ),
    Case(
        "OPT001",
        "numbered-state",
        beside({f"state.{n}.{slot}": ("F32", (8, 8)) for n in range(4) for slot in TORCH}),
        False,
    ),
    Case(
        "OPT001",
        "mlx-beside",
        beside(slots_of(llama(), slots="mv") | {"step": ("I64", ()), "learning_rate": ("F32", ())}),
        False,
    ),
    Case(
        "OPT002",
        "one-second-moment-lost",
        train_state(state=without(adam(), "nu.layers.2.mlp.up.kernel")),
        True,
        says=("`params.layers.2.mlp.up.kernel` has no `nu`",),
    ),
    Case(
        "OPT002",
        "both-lost-in-one-layer",
        train_state(state=without(adam(), "layers.2.mlp.up.kernel")),
        True,
        says=("has no `mu`, `nu`",),
    ),
    Case("OPT002", "items", step({"params": PARAMS, "opt_state": without(adam(at="[0]"), "mu.head.kernel")}), True),
    Case(
        "OPT002",
        "one-layer-of-three",
        in_file(llama(3), slots_of(drop(llama(3), UP), "optimizer.state.")),
        True,
        says=(f"`{UP}` has no `exp_avg`, `exp_avg_sq`, 2 of 3 parameters like it do.",),
    ),
    Case(
        "OPT002",
        "bias-of-a-module",
        train_state({**PARAMS, **BIAS}, adam()),
        True,
        says=("`params.head.bias` has no `mu`, `nu`",),
    ),
    Case(
        "OPT002",
        "beside",
        beside(drop(slots_of(llama(), slots="mv"), f"{HEAD}.v")),
        True,
        says=(f"`{HEAD}` has no `v`",),
    ),
    Case(
        "OPT002",
        "masked",
        train_state(
            state=without(adam(at="opt_state.inner_state[0]"), *FROZEN),
            empty=[f"opt_state.inner_state[0].{slot}.embed.embedding" for slot in ADAM],
        ),
        False,
    ),
    Case(
        "OPT002",
        "masked-module",
        train_state(
            state=without(adam(at=MASKED), "layers.2.mlp.up.kernel"),
            empty=[f"{MASKED}.{slot}.layers.2.mlp.up" for slot in ADAM],
        ),
        False,
    ),
    Case("OPT002", "frozen-embedding", train_state(state=without(adam(), *FROZEN)), False),
    Case(
        "OPT002",
        "frozen-layer",
        train_state(state={name: shape for name, shape in adam().items() if ".layers.0." not in name}),
        False,
    ),
    Case(
        "OPT002",
        "two-optimizers",
        train_state(
            state=adam(
                {name: shape for name, shape in PARAMS.items() if len(shape) > 1},
                "opt_state.inner_states.muon.inner_state",
                ["mu"],
            )
            | adam({name: shape for name, shape in PARAMS.items() if len(shape) < 2}, MASKED)
        ),
        False,
    ),
    Case("OPT002", "adapters-alone", bare_adapters, False),
    Case(
        "OPT002", "statistics-are-no-parameters", in_file(llama(), NORMS, slots_of(llama(), "optimizer.state.")), False
    ),
    Case("OPT002", "alias-of-a-tie", write_aliased, False),
    Case("OPT002", "integers", train_state({**PARAMS, "layers.0.mlp.up.seen": ()}, adam()), False),
    Case(
        "OPT003",
        "embedding-resized",
        train_state(state=adam() | EMBED_ROWS),
        True,
        says=(
            "Slot `opt_state[1][0].mu.embed.embedding` is F32 24×8, parameter `params.embed.embedding` is F32 32×8.",
        ),
    ),
    Case(
        "OPT003", "transposed", train_state(state=adam() | below("opt_state[1][0].nu", {"head.kernel": (32, 8)})), True
    ),
    Case("OPT003", "beside", beside(slots_of(llama(), slots="mv") | {f"{HEAD}.m": ("F32", (30, 8))}), True),
    Case("OPT003", "factored", item(T5X, FACTORS), False),
    Case(
        "OPT003",
        "adafactor",
        train_state(
            state=adam(slots=())
            | {
                f"opt_state[0].{slot}.{name}": (
                    (8,) if slot != "v" and len(shape) > 1 else shape if slot == "v" and len(shape) < 2 else (1,)
                )
                for name, shape in PARAMS.items()
                for slot in ("v", "v_row", "v_col")
            }
        ),
        False,
    ),
    Case(
        "OPT003",
        "one-number-a-leaf",
        train_state(state=adam(slots=["mu"]) | below("opt_state[1][0].nu", dict.fromkeys(PARAMS, ()))),
        False,
    ),
    Case(
        "OPT003",
        "flat-shards",
        in_file(llama(), {f"optimizer.state.{name}.exp_avg": ("F32", (64,)) for name in llama()}),
        False,
    ),
    Case(
        "OPT004",
        "head-overwritten",
        trained("head.kernel"),
        True,
        data=True,
        says=(
            "`params.head.kernel` never received a gradient: `opt_state.mu.head.kernel`, `opt_state.nu.head.kernel` "
            "are zero, those of 18 other parameters are not.",
        ),
    ),
    Case("OPT004", "momentum-alone", trained("layers.2.mlp.up.kernel", slots=["trace"]), True, data=True),
    Case("OPT004", "not-begun", trained(*PARAMS), False, data=True),
    Case("OPT004", "frozen", trained(*(name for name in PARAMS if "layers" in name)), False, data=True),
    Case("OPT004", "all-trained", trained(), False, data=True),
    Case("OPT004", "no-state", trained("head.kernel", slots=[]), False, data=True),
]
