"""KEY002: a full model with adapters that were never merged into it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

# Source: peft 0.17, LyCORIS, mlx-lm, torchtune and kohya, what they call the tensors of their adapters.
_ADAPTER = re.compile(
    r"(?:^|\.)(?:lora_(?:embedding_)?[AB]|lora_[ab]|lora_magnitude_vector|lora_(?:down|up)|hada_[tw][12](?:_[ab])?"
    r"|lokr_[tw][12](?:_[ab])?|ia3_l|oft_[rR]|boft_[RS]|vera_lambda_[bd]|modules_to_save)(?:\.|$)"
)
# What a module that an adapter has replaced is kept under.
_REPLACED = re.compile(r"\.(?:base_layer|original_module)\.")
_TRACES = (
    b"lora_",
    b"hada_",
    b"lokr_",
    b"ia_l",
    b"oft_",
    b"vera_lambda_",
    b"modules_to_save",
    b"base_layer",
    b"original_",
)
_SETTINGS = frozenset({"alpha", "dora_scale", "scale", "rank"})


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding if adapters stand beside the weights of the modules that they adapt."""
    naming = subject.naming
    if not any(trace in naming.forms for trace in _TRACES):
        return
    if "adapter_config.json" in subject.safetensors.listing or _has_own_adapters(subject.config or {}):
        return
    adapters = tuple(name for name in naming.names if _ADAPTER.search(name))
    replaced = tuple(name for name in naming.names if _REPLACED.search(name))
    if not adapters and not replaced:
        return
    if replaced or _stand_beside_weights(naming.names, adapters):
        first = (adapters or replaced)[0]
        yield Finding(
            f"Full-model file holds adapter tensors such as `{first}`: "
            f"{len(adapters) + len(replaced):,} of {len(naming.names):,} tensors.",
            (*adapters, *replaced),
            fact="adapters",
            hint="Merge them before saving: `model.merge_and_unload()`; or save the adapter on its own.",
        )


def _has_own_adapters(config: Mapping[str, Any]) -> bool:
    """Whether the config speaks of adapters; the ranks of compressed attention (`kv_lora_rank`) are none."""
    return any("lora" in key and not key.endswith("_lora_rank") for key in config)


def _stand_beside_weights(names: Sequence[str], adapters: Sequence[str]) -> bool:
    """Whether a module that is adapted has a weight of its own in the file."""
    adapted: set[str] = set()
    for name in adapters:
        found = _ADAPTER.search(name)
        adapted.add(name[: found.start()] if found else name)
    own = frozenset(adapters)
    for name in names:
        module, _, last = name.rpartition(".")
        # mlx keeps the weight of an adapted module one level down.
        if (
            name not in own
            and last not in _SETTINGS
            and not adapted.isdisjoint((module, module.removesuffix(".linear")))
        ):
            return True
    return False


RULE = Rule(
    code="KEY002",
    name="unmerged-adapter",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The file of a whole model holds tensors of an adapter (`lora_A`, `lora_B`, `modules_to_save` and their like) beside the
weights of the modules that they adapt, or modules under the name that adapting gave them (`base_layer`).
An adapter on its own is not meant, nor one beside its `adapter_config.json`, nor a model whose config has adapters.""",
    why="""\
The model's class knows neither name. Loaders refuse the file, or find `q_proj.weight` missing and start it from random
values; what was learnt in the adapter is lost either way.""",
    mend="""\
No fix: how the adapter is to be scaled stands in a config that is not there. Load the checkpoint with the library that
trained it, merge, and save again.""",
    bad="""\
model.layers.0.self_attn.q_proj.base_layer.weight
model.layers.0.self_attn.q_proj.lora_A.default.weight
model.layers.0.self_attn.q_proj.lora_B.default.weight""",
    good="""\
model.layers.0.self_attn.q_proj.weight""",
    threads=("verl#4761", "verl#4553"),
)
