"""Frameworks: which one wrote a file of weights, as far as the names of its tensors tell."""

from __future__ import annotations

from collections.abc import Collection

# What parts of modules are called in torch, the running statistics of BatchNorm among them.
_TORCH = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked", "inv_freq"})
# Source: how flax.linen calls what torch calls `weight`, and how mlx calls what it stores beside packed weights.
_FLAX = frozenset({"kernel", "embedding"})
_MLX = frozenset({"scales", "biases"})


def guess_format(names: Collection[str]) -> str | None:
    """Guesses the `format` that Hugging Face libraries want to be told; None if the names leave it open.

    Example:
        >>> guess_format(["wte.weight", "h.0.attn.bias", "h.0.ls.gamma"])
        'pt'
        >>> guess_format(["params.wte.embedding", "params.h.0.attn.kernel"]) is None
        True
    """
    ends = [name.rpartition(".")[2] for name in names]
    found = set(ends)
    if found & _FLAX or found >= _MLX or any(":" in end for end in found):
        return None
    return "pt" if 2 * sum(end in _TORCH for end in ends) > len(ends) else None
