"""Cases of the rules about names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tests.lint.building import Case, Leaf, llama, write_file, write_json, write_llama, write_shards
from tests.unit.checkpoints.safetensors.surgery import tie

MATRIX: Leaf = ("BF16", (8, 8))
UP = "model.layers.2.mlp.up_proj.weight"


def named(directory: Path, rename: Callable[[str], str], layers: int = 2) -> Path:
    """A Llama without a config, its leaves renamed."""
    return write_leaves(directory, {rename(name): leaf for name, leaf in llama(layers).items()})


def write_leaves(directory: Path, leaves: Mapping[str, Leaf]) -> Path:
    """One file with these leaves."""
    return write_file(directory / "model.safetensors", leaves)


def matrices(*names: str) -> dict[str, Leaf]:
    """Leaves of one shape."""
    return dict.fromkeys(names, MATRIX)


def adapted(module: str = "model.layers.{}.self_attn.q_proj", base: str = "base_layer.weight") -> dict[str, Leaf]:
    """A Llama with an adapter on its queries, as peft names it."""
    leaves = llama()
    for layer in range(2):
        place = module.format(layer)
        leaves[f"{place}.{base}"] = leaves.pop(f"model.layers.{layer}.self_attn.q_proj.weight")
        leaves[f"{place}.lora_A.default.weight"] = ("BF16", (2, 8))
        leaves[f"{place}.lora_B.default.weight"] = ("BF16", (8, 2))
    return leaves


def with_adapter_config(directory: Path) -> Path:
    """The same beside the config of the adapter."""
    write_json(directory / "adapter_config.json", {"peft_type": "LORA"})
    return write_leaves(directory, adapted()).parent


def kohya() -> dict[str, Leaf]:
    """An adapter on its own, as diffusion models have them."""
    leaves: dict[str, Leaf] = {}
    for layer in range(2):
        leaves[f"lora_unet_block_{layer}.alpha"] = ("F32", (1,))
        leaves[f"lora_unet_block_{layer}.lora_down.weight"] = ("F32", (2, 8))
        leaves[f"lora_unet_block_{layer}.lora_up.weight"] = ("F32", (8, 2))
    return leaves


def lacking(names: Iterable[str], layers: int = 6) -> dict[str, Leaf]:
    """A Llama of some layers that lacks a few leaves."""
    leaves = llama(layers)
    for name in names:
        del leaves[name]
    return leaves


def hybrid(layers: int = 12) -> dict[str, Leaf]:
    """Attention in every fourth layer, state spaces in all others."""
    leaves: dict[str, Leaf] = {}
    for layer in range(layers):
        parts = ["q_proj", "k_proj", "o_proj"] if layer % 4 == 3 else ["in_proj", "conv1d", "x_proj", "out_proj"]
        leaves |= matrices(*(f"model.layers.{layer}.mixer.{part}.weight" for part in [*parts, "gate"]))
    return leaves


def experts(layers: int = 6, *, step: int = 2, dense: int = 0, without: str = "") -> dict[str, Leaf]:
    """Experts in every second layer, or in all behind some dense ones."""
    leaves: dict[str, Leaf] = {}
    for layer in range(layers):
        place = f"model.layers.{layer}"
        leaves |= matrices(*(f"{place}.self_attn.{part}.weight" for part in "qkvo"))
        if layer >= dense and layer % step == 0:
            leaves |= matrices(*(f"{place}.mlp.experts.{n}.w{part}.weight" for n in range(4) for part in (1, 2, 3)))
        else:
            leaves |= matrices(*(f"{place}.mlp.w{part}.weight" for part in (1, 2, 3)))
    leaves.pop(without, None)
    return leaves


def sequential() -> dict[str, Leaf]:
    """Layers of a list whose members without weights leave gaps, and one of which has no bias."""
    leaves: dict[str, Leaf] = {}
    for layer in (0, 2, 4, 6, 8):
        leaves |= matrices(f"features.{layer}.weight", *[f"features.{layer}.bias"] * (layer != 4))
    return leaves


def tied_layers(directory: Path) -> Path:
    """A Llama that tiecli tied across two layers."""
    write_leaves(directory / "before", llama(6))
    tie(directory / "before" / "model.safetensors", directory / "after.safetensors", {UP: UP.replace("2", "1")})
    return directory / "after.safetensors"


def without_shard(directory: Path) -> Path:
    """A Llama whose leaf is in the index, and in no file."""
    leaves = lacking([UP])
    rows = {**dict.fromkeys(leaves, "model-00001-of-00001.safetensors"), UP: "model-00001-of-00001.safetensors"}
    return write_shards(directory, {"model-00001-of-00001.safetensors": leaves}, weight_map=rows)


CASES = [
    Case(
        "KEY001",
        "compiled",
        lambda it: named(it, "_orig_mod.{}".format),
        True,
        says=("11 of 11 names start with `_orig_mod.`",),
    ),
    Case(
        "KEY001", "compiled-inside", lambda it: named(it, lambda name: name.replace("model.", "model._orig_mod.")), True
    ),
    Case("KEY001", "layers-compiled", lambda it: named(it, lambda name: name.replace(".mlp", "._orig_mod.mlp")), True),
    Case("KEY001", "in-parallel", lambda it: named(it, "module.{}".format), True, says=("`module.`",)),
    Case("KEY001", "compiled-in-parallel", lambda it: named(it, "module._orig_mod.{}".format), True),
    Case(
        "KEY001",
        "averaged",
        lambda it: write_leaves(it, {"n_averaged": ("I64", ()), **matrices("module.a.weight", "module.b.weight")}),
        True,
    ),
    Case("KEY001", "no-wrapper", lambda it: named(it, str), False),
    Case("KEY001", "a-part-called-module", lambda it: write_leaves(it, matrices("module.a", "head.b")), False),
    Case("KEY001", "a-list-called-module", lambda it: write_leaves(it, matrices("module.0.w", "module.2.w")), False),
    Case("KEY001", "word-in-a-name", lambda it: write_leaves(it, matrices("module_a.w", "x.module.w")), False),
    Case("KEY002", "peft", lambda it: write_leaves(it, adapted()), True, says=("`model.layers.0.self_attn.q_proj.",)),
    Case("KEY002", "weights-in-place", lambda it: write_leaves(it, adapted(base="weight")), True),
    Case(
        "KEY002",
        "saved-module",
        lambda it: write_leaves(
            it, matrices("lm_head.original_module.weight", "lm_head.modules_to_save.default.weight", "a.w")
        ),
        True,
    ),
    Case("KEY002", "adapter-on-its-own", lambda it: write_leaves(it, kohya()), False),
    Case("KEY002", "beside-its-config", with_adapter_config, False),
    Case(
        "KEY002",
        "adapters-by-design",
        lambda it: write_llama(it, adapted(), architectures=["Phi4MMForCausalLM"], speech_lora={"r": 2}),
        False,
    ),
    Case("KEY002", "compressed-attention", lambda it: write_leaves(it, matrices("q_a.lora.w", "q_b.w")), False),
    Case(
        "KEY003",
        "one-leaf-dropped",
        lambda it: write_leaves(it, lacking([UP])),
        True,
        says=(f"Layer 2 lacks `{UP}`, present in 5 other layers",),
    ),
    Case(
        "KEY003",
        "expert-dropped",
        lambda it: write_leaves(it, experts(step=1, without="model.layers.3.mlp.experts.2.w1.weight")),
        True,
        says=("Layer 3 lacks", "experts.2.w1"),
    ),
    Case(
        "KEY003",
        "leaf-of-a-hybrid",
        lambda it: write_leaves(it, {name: it for name, it in hybrid().items() if "5.mixer.x_proj" not in name}),
        True,
    ),
    Case("KEY003", "second-of-four", lambda it: write_leaves(it, lacking([UP.replace("2", "1")], 4)), True),
    Case("KEY003", "last-but-one", lambda it: write_leaves(it, lacking([UP.replace("2", "4")])), True),
    Case("KEY003", "last-layer", lambda it: write_leaves(it, lacking([UP.replace("2", "5")])), False),
    Case("KEY003", "first-layers", lambda it: write_leaves(it, lacking([UP.replace("2", n) for n in "01"])), False),
    Case("KEY003", "three-layers", lambda it: write_leaves(it, lacking([UP.replace("2", "1")], 3)), False),
    Case("KEY003", "hybrid", lambda it: write_leaves(it, hybrid()), False),
    Case("KEY003", "experts-in-every-second", lambda it: write_leaves(it, experts()), False),
    Case("KEY003", "dense-layers-first", lambda it: write_leaves(it, experts(step=1, dense=2)), False),
    Case("KEY003", "list-with-gaps", lambda it: write_leaves(it, sequential()), False),
    Case("KEY003", "tied-by-tiecli", tied_layers, False),
    Case("IDX002", "leaf-of-a-layer", without_shard, True),
]
