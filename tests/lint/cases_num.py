"""Cases of the rules about values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tests.lint.building import Case, Leaf, llama, write_file, write_llama
from tests.lint.converting import write_item

PROJECTION = "model.layers.0.mlp.up_proj.weight"
NAN, INF = float("nan"), float("inf")


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    """Draws numbers around zero."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.02).astype(dtype)


def planted(value: float, *shape: int, dtype: Any = np.float32, count: int = 1) -> NDArray[Any]:
    """Draws numbers, the last few of which are all the same."""
    values = numbers(*shape, dtype=dtype)
    values.reshape(-1)[-count:] = value
    return values


def model(directory: Path, **leaves: Leaf) -> Path:
    """Writes a Llama with some leaves more; `__` stands for a dot."""
    return write_llama(directory, llama() | {name.replace("__", "."): leaf for name, leaf in leaves.items()})


def with_projection(directory: Path, leaf: Leaf) -> Path:
    """Writes a Llama with another projection."""
    return write_llama(directory, llama() | {PROJECTION: leaf})


def complex_leaf(real: float, imaginary: float) -> NDArray[np.complex64]:
    """Draws complex numbers, the last of which is given."""
    values = numbers(8, 8).astype(np.complex64)
    values[-1, -1] = complex(real, imaginary)
    return values


def cut_off(directory: Path, leaves: int, nbytes: int) -> Path:
    """Writes a file of float32 matrices, whose last bytes become zeros."""
    file = write_file(directory / "model.safetensors", {f"h.{n}.weight": ("F32", (32, 32)) for n in range(leaves)})
    raw = bytearray(file.read_bytes())
    raw[len(raw) - nbytes :] = bytes(nbytes)
    file.write_bytes(raw)
    return file


def padded(rows: int) -> Leaf:
    """Draws an embedding whose last rows are zeros."""
    values = numbers(64, 64)
    values[-rows:] = 0
    return values


ADAPTER: dict[str, Leaf] = {
    "base_model.model.h.0.q.lora_A.weight": ("F32", (8, 64)),
    "base_model.model.h.0.q.lora_B.weight": np.zeros((64, 8), np.float32),
    "base_model.model.h.1.q.lora_A.weight": ("F32", (8, 64)),
    "base_model.model.h.1.q.lora_B.weight": np.zeros((64, 8), np.float32),
}
FRESH: dict[str, Leaf] = {
    "params.dense.kernel": ("F32", (16, 16)),
    "params.dense.bias": np.zeros(16, np.float32),
    "opt_state.0.mu.dense.kernel": np.zeros((16, 16), np.float32),
    "opt_state.0.mu.dense.bias": np.zeros(16, np.float32),
    "opt_state.0.nu.dense.kernel": np.zeros((16, 16), np.float32),
    "opt_state.0.nu.dense.bias": np.zeros(16, np.float32),
}
RANDOM_BITS = np.random.default_rng(0).integers(0, 0x7F800000, (8, 8), np.uint32)
"""Any bits of finite numbers."""

CASES = [
    Case(
        "NUM001",
        "in-a-projection",
        lambda at: with_projection(at, planted(NAN, 8, 8, dtype=ml_dtypes.bfloat16)),
        True,
        data=True,
        says=("1 NaN", "64 elements"),
    ),
    Case(
        "NUM001", "negative-in-float16", lambda at: model(at, x=planted(-NAN, 8, 8, dtype=np.float16)), True, data=True
    ),
    Case("NUM001", "imaginary", lambda at: model(at, x=complex_leaf(1, NAN)), True, data=True, says=("1 NaN",)),
    Case(
        "NUM001",
        "float8-without-infinity",
        lambda at: model(at, x=float8(0x7E), y=float8(0x7F)),
        True,
        data=True,
        says=("`y`", "1 NaN"),
    ),
    Case(
        "NUM001", "orbax", lambda at: write_item(at, {"w": planted(NAN, 8, 8), "v": ("F32", (8, 8))}), True, data=True
    ),
    Case(
        "NUM001",
        "orbax-compressed",
        lambda at: write_item(at, {"w": planted(NAN, 64, 64, count=9)}, compress=True),
        True,
        data=True,
        says=("9 NaN",),
    ),
    Case(
        "NUM001",
        "integers-with-the-bits-of-nan",
        lambda at: model(at, x=np.full((8, 8), 0x7FC00001, np.int32) + numbers(8, 8).view(np.int32) % 8),
        False,
        data=True,
    ),
    Case("NUM001", "largest-of-float8", lambda at: model(at, x=float8(0x7E), y=float8(0xFE)), False, data=True),
    Case("NUM001", "negative-zero", lambda at: with_projection(at, planted(-0.0, 8, 8, count=40)), False, data=True),
    Case(
        "NUM002",
        "overflow",
        lambda at: with_projection(at, planted(INF, 8, 8, dtype=np.float16, count=3)),
        True,
        data=True,
        says=("3 Inf", PROJECTION),
    ),
    Case("NUM002", "negative", lambda at: with_projection(at, planted(-INF, 8, 8)), True, data=True),
    Case(
        "NUM002",
        "orbax",
        lambda at: write_item(at, {"w": planted(INF, 8, 8, dtype=ml_dtypes.bfloat16)}),
        True,
        data=True,
    ),
    Case(
        "NUM002",
        "mask",
        lambda at: model(at, attn__mask=np.triu(np.full((8, 8), -INF, np.float32), 1)),
        False,
        data=True,
    ),
    Case(
        "NUM002", "bias-that-rules-out", lambda at: model(at, final_logits_bias=planted(-INF, 1, 32)), False, data=True
    ),
    Case("NUM002", "limits-of-an-observer", lambda at: model(at, x__input_max=np.array([INF])), False, data=True),
    Case(
        "NUM002", "largest-of-float16", lambda at: model(at, x=planted(65504, 8, 8, dtype=np.float16)), False, data=True
    ),
    Case(
        "NUM003",
        "never-filled",
        lambda at: with_projection(at, np.zeros((8, 8), ml_dtypes.bfloat16)),
        True,
        data=True,
        says=(PROJECTION, "entirely zero", "8×8"),
    ),
    Case(
        "NUM003",
        "negative-zeros-too",
        lambda at: with_projection(at, np.full((8, 8), -0.0, np.float32)),
        True,
        data=True,
    ),
    Case("NUM003", "quantised", lambda at: with_projection(at, np.zeros((8, 8), np.int8)), True, data=True),
    Case(
        "NUM003",
        "orbax",
        lambda at: write_item(at, {"v": ("F32", (8, 8)), "w": np.zeros((8, 8), np.float32)}),
        True,
        data=True,
    ),
    Case(
        "NUM003",
        "biases-and-gates",
        lambda at: model(at, h__bias=np.zeros(8, np.float32), h__attn_gate=np.zeros(1, np.float32)),
        False,
        data=True,
    ),
    Case(
        "NUM003",
        "adapter-that-starts",
        lambda at: write_file(at / "adapter_model.safetensors", ADAPTER),
        False,
        data=True,
    ),
    Case(
        "NUM003",
        "positions-that-start",
        lambda at: model(at, vit__position_embeddings=np.zeros((1, 16, 8))),
        False,
        data=True,
    ),
    Case("NUM003", "optimizer-that-starts", lambda at: write_item(at, FRESH), False, data=True),
    Case("NUM003", "all-but-one", lambda at: with_projection(at, planted(0, 8, 8, count=63)), False, data=True),
    Case(
        "NUM004",
        "random-bits",
        lambda at: model(at, x=RANDOM_BITS.view(np.float32)),
        True,
        data=True,
        says=("`x`", "binary orders"),
    ),
    Case("NUM004", "squares-of-gradients", lambda at: model(at, x=planted(1e-15, 8, 8) ** 2), False, data=True),
    Case(
        "NUM004",
        "any-float16",
        lambda at: model(at, x=(RANDOM_BITS % 0x7C00).astype(np.uint16).view(np.float16)),
        False,
        data=True,
    ),
    Case("NUM004", "integers", lambda at: model(at, x=RANDOM_BITS.view(np.int32)), False, data=True),
    Case(
        "NUM005",
        "cut-in-a-row",
        lambda at: cut_off(at, 4, 5_000),
        True,
        data=True,
        says=("model.safetensors", "`h.2.weight` ends in zeros and one leaf is entirely zero"),
    ),
    Case("NUM005", "cut-between-leaves", lambda at: cut_off(at, 4, 8_192), True, data=True, says=("2 leaves",)),
    Case(
        "NUM005", "rows-that-pad", lambda at: write_file(at / "model.safetensors", {"w": padded(32)}), False, data=True
    ),
    Case(
        "NUM005",
        "adapter-that-ends-in-zeros",
        lambda at: write_file(at / "adapter_model.safetensors", ADAPTER),
        False,
        data=True,
    ),
    Case("NUM005", "a-few-zeros", lambda at: cut_off(at, 4, 1_000), False, data=True),
]


def float8(bits: int) -> Leaf:
    """Draws float8 numbers, the first of which has these bits."""
    values = np.arange(1, 65, dtype=np.uint8).reshape(8, 8)
    values[0, 0] = bits
    return values.view(ml_dtypes.float8_e4m3fn)
