"""Building: small checkpoints for the linter, written byte by byte, so that they can be wrong in any way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.leaves import DTYPES

NAMES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8",
    "uint8": "U8", "bool": "BOOL", "bfloat16": "BF16", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
}  # fmt: skip
Leaf = NDArray[Any] | tuple[str, tuple[int, ...]]
"""An array; or a dtype as safetensors spells it and a shape, to be filled with numbers drawn by name."""


@dataclass(frozen=True)
class Case:
    """One checkpoint and what a rule must say of it.

    Attributes:
        code: The rule.
        name: What the case shows, in words with hyphens.
        build: Writes the checkpoint into an empty directory, and gives the path to lint.
        raises: Whether the rule must find something, and no other rule anything; or nothing at all.
        data: Whether array bytes are read; the level at which the rule can tell.
        declared: Ties as a project's settings declare them: `(src, dst, transform)`.
        says: Words that the first message must hold.
    """

    code: str
    name: str
    build: Callable[[Path], Path]
    raises: bool
    data: bool = False
    declared: tuple[tuple[str, str, str], ...] = ()
    says: tuple[str, ...] = ()


def draw(name: str, shape: tuple[int, ...], dtype: str = "F32") -> bytes:
    """Gives the bytes of a leaf: numbers around zero that depend on its name, so that no two leaves are alike."""
    seed = [*name.encode()]
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(0.02)
    match dtype:
        case "F32":
            return values.tobytes()
        case "F16":
            return values.astype(np.float16).tobytes()
        case "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        case _:
            nbytes = prod(shape) * DTYPES[dtype].bits // 8
            return np.random.default_rng(seed).integers(1, 100, nbytes, np.uint8).tobytes()


def encode(leaf: Leaf, name: str) -> tuple[str, tuple[int, ...], bytes]:
    """Gives dtype, shape and bytes of a leaf."""
    if isinstance(leaf, tuple):
        return leaf[0], leaf[1], draw(name, leaf[1], leaf[0])
    return NAMES[leaf.dtype.name], leaf.shape, np.ascontiguousarray(leaf).tobytes()


def write_file(
    path: Path,
    leaves: Mapping[str, Leaf],
    metadata: Mapping[str, str] | None = {"format": "pt"},
) -> Path:
    """Writes a sound safetensors file: leaves in the order given, 8-byte aligned header."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, leaf in leaves.items():
        dtype, shape, raw = encode(leaf, name)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return write_raw(path, header, data)


def write_raw(path: Path, header: Mapping[str, Any] | bytes, data: bytes) -> Path:
    """Writes a safetensors file from a header, whatever it says, and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def write_shards(
    directory: Path,
    shards: Mapping[str, Mapping[str, Leaf]],
    *,
    weight_map: Mapping[str, str] | None = None,
    total_size: int | None = None,
    metadata: Mapping[str, str] | None = {"format": "pt"},
) -> Path:
    """Writes shards and their index; the index agrees with them unless a `weight_map` or size is given."""
    sizes = 0
    for file, leaves in shards.items():
        write_file(directory / file, leaves, metadata)
        sizes += sum(len(encode(leaf, name)[2]) for name, leaf in leaves.items())
    rows = {name: file for file, leaves in shards.items() for name in leaves} if weight_map is None else weight_map
    index = {"metadata": {"total_size": sizes if total_size is None else total_size}, "weight_map": dict(rows)}
    write_json(directory / "model.safetensors.index.json", index)
    return directory


def write_json(path: Path, document: object) -> Path:
    """Writes a JSON file, indented as Hugging Face does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def llama(layers: int = 2, *, head: bool = True, rows: int = 32, width: int = 8) -> dict[str, Leaf]:
    """Lists the leaves of a small Llama."""
    leaves: dict[str, Leaf] = {"model.embed_tokens.weight": ("BF16", (rows, width))}
    for layer in range(layers):
        for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"):
            leaves[f"model.layers.{layer}.{part}.weight"] = ("BF16", (width, width))
        leaves[f"model.layers.{layer}.input_layernorm.weight"] = ("BF16", (width,))
    leaves["model.norm.weight"] = ("BF16", (width,))
    if head:
        leaves["lm_head.weight"] = ("BF16", (rows, width))
    return leaves


def llama_config(**changes: object) -> dict[str, object]:
    """Gives the config that goes with `llama`: untied, 32 rows; keys with the value `...` are left out."""
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "model_type": "llama",
        "num_hidden_layers": 2,
        "tie_word_embeddings": False,
        "vocab_size": 32,
    }
    config.update(changes)
    return {key: value for key, value in config.items() if value is not ...}


def write_llama(directory: Path, leaves: Mapping[str, Leaf] | None = None, **changes: object) -> Path:
    """Writes a sound directory with `model.safetensors` and `config.json`; gives the directory."""
    write_file(directory / "model.safetensors", llama() if leaves is None else leaves)
    write_json(directory / "config.json", llama_config(**changes))
    return directory
