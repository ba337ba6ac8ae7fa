"""Quantised leaves: what quantisers store in a weight's place, or beside it, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection

# Each stands where `weight` stood, behind the name of the layer; scales of activations are not among them.
# Source: transformers 5.23.0, `quantizers/` and `integrations/`; AutoGPTQ, AutoAWQ, compressed-tensors,
# bitsandbytes, quanto, HQQ, AQLM, VPTQ, ModelOpt and MLX.
_PARTS = (
    "SCB",
    "W_q",
    "codebooks",
    "codes",
    "dqweight",
    "g_idx",
    "qbiases",
    "qscale_weight",
    "qweight",
    "qzeros",
    "scales",
    "weight._data",
    "weight._scale",
    "weight.absmax",
    "weight.nested_absmax",
    "weight.quant_map",
    "weight.quant_state.bitsandbytes__fp4",
    "weight.quant_state.bitsandbytes__nf4",
    "weight_g_idx",
    "weight_global_scale",
    "weight_packed",
    "weight_quantizer.scale",
    "weight_quantizer.zero_point",
    "weight_scale",
    "weight_scale_2",
    "weight_scale_inv",
    "weight_scales",
    "weight_shape",
    "weight_zero_point",
)


def quantized_parts(leaf: str, names: Collection[str]) -> tuple[str, ...]:
    """Lists the leaves that are there because a weight was quantised.

    Args:
        leaf: The weight's own name.
        names: All names.

    Example:
        >>> quantized_parts("lm_head.weight", {"lm_head.qweight", "lm_head.scales", "lm_head.bias"})
        ('lm_head.qweight', 'lm_head.scales')
    """
    layer, dot, _ = leaf.rpartition(".")
    return tuple(name for part in _PARTS if (name := f"{layer}.{part}") in names) if dot else ()


def is_quantized_part(name: str, fits: Callable[[str], bool]) -> bool:
    """Whether a leaf is there because a weight was quantised whose own name fits.

    Example:
        >>> is_quantized_part("lm_head.qweight", lambda leaf: leaf == "lm_head.weight")
        True
    """
    return any(name.endswith(f".{part}") and fits(f"{name.removesuffix(part)}weight") for part in _PARTS)
