"""Generating the inputs of the benchmarks: a large Llama-like checkpoint with planted copies, and many small leaves.

```
python tests/benchmarks/generate.py big OUT.safetensors                # 3 GB, 316 leaves
python tests/benchmarks/generate.py small OUT.safetensors              # 590 MB, 20,000 leaves
python tests/benchmarks/generate.py big OUT --shards 4                 # a Hugging Face directory
```

Beside the checkpoint goes `OUT.json`: what was planted, as `kind -> [source, copy]`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint16]

_WIDTHS = {"BF16": 2, "F32": 4}


@dataclass(frozen=True, slots=True)
class PlannedLeaf:
    """One leaf to come.

    Attributes:
        name: Its name.
        dtype: `BF16` or `F32`.
        shape: Its shape.
        make: Makes its stored elements.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], NDArray[np.generic]]

    @property
    def nbytes(self) -> int:
        """Its stored size."""
        return prod(self.shape) * _WIDTHS[self.dtype]


@dataclass(frozen=True, slots=True)
class Pool:
    """Normal bf16 values of standard deviation 0.02, from which leaves are cut.

    Every leaf starts at another odd offset and has other low bits flipped, so that no two
    are equal, nor equal after a shift by rows.
    """

    bits: Bits

    @classmethod
    def fill(cls, largest: int, seed: int = 0) -> Pool:
        """Fills a pool that the largest leaf fits into.

        Args:
            largest: Elements of the largest leaf.
            seed: Of the generator.
        """
        values = np.random.default_rng(seed).standard_normal(largest + 2**20, dtype=np.float32)
        values *= np.float32(0.02)
        return cls((values.view(np.uint32) >> 16).astype(np.uint16))

    def cut(self, number: int, shape: tuple[int, ...]) -> Bits:
        """Cuts leaf `number`, always the same for the same number."""
        size = prod(shape)
        start = (number * 7919 * 2 + 1) % (len(self.bits) - size)
        return (self.bits[start : start + size] ^ np.uint16(number * 37 & 0x1F)).reshape(shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is to be written, and what was planted in it."""

    leaves: tuple[PlannedLeaf, ...]
    planted: Mapping[str, tuple[str, str]]


def plan_big(layers: int = 34, width: int = 1792, vocabulary: int = 32000) -> Checkpoint:
    """Plans a Llama-like model in bf16, with one planted copy of each kind.

    Args:
        layers: At least 8; 34 make 3 GB.
        width: Of the residual stream.
        vocabulary: Rows of the embedding.
    """
    inner = width * 19 // 7
    pool = Pool.fill(max(vocabulary, inner) * width)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width),
        "draft.model.embed_tokens.weight": (vocabulary // 4, width),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (width, inner)
    numbers = {name: number for number, name in enumerate(shapes)}

    def cut(name: str) -> Bits:
        return pool.cut(numbers[name], shapes[name])

    leaves = [PlannedLeaf(name, "BF16", shape, lambda name=name: cut(name)) for name, shape in shapes.items()]
    norms = [f"model.layers.{layer}.{part}_layernorm.weight" for layer in range(layers) for part in ("input", "post")]
    ones = np.full(width, 0x3F80, np.uint16)
    leaves += [PlannedLeaf(name, "BF16", (width,), lambda: ones) for name in (*norms, "model.norm.weight")]
    planted: dict[str, tuple[str, str]] = {}
    for kind, source, copy, dtype, change in _plants():
        shape = change(np.empty(shapes[source], np.uint16)).shape
        leaves.append(PlannedLeaf(copy, dtype, shape, lambda source=source, change=change: change(cut(source))))
        planted[kind] = (source, copy)
    return Checkpoint(tuple(leaves), planted)


_Change = Callable[[Bits], NDArray[np.generic]]


def _plants() -> tuple[tuple[str, str, str, str, _Change], ...]:
    """Lists the planted copies: kind, source, copy, dtype, and how the copy follows."""
    layer = "model.layers.{}.".format
    return (
        ("identical", "model.embed_tokens.weight", "lm_head.weight", "BF16", lambda bits: bits),
        ("transposed", layer(1) + "mlp.down_proj.weight", "export.transposed", "BF16", lambda bits: bits.T),
        ("prefix", layer(2) + "self_attn.q_proj.weight", "export.padded", "BF16", _pad_rows),
        ("cast", layer(3) + "self_attn.k_proj.weight", "export.cast", "F32", _widen),
        ("scaled", layer(4) + "self_attn.v_proj.weight", "export.scaled", "BF16", _scale),
        ("drifted", "draft.model.embed_tokens.weight", "draft.lm_head.weight", "BF16", _drift),
        ("one_bit_off", layer(6) + "self_attn.o_proj.weight", "export.one_bit_off", "BF16", _flip_last_bit),
    )


def _pad_rows(bits: Bits) -> Bits:
    return np.pad(bits, ((0, 64), (0, 0)))


def _widen(bits: Bits) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _scale(bits: Bits) -> Bits:
    """Multiplies by -4, which is exact: the sign bit and two steps of the exponent."""
    return np.where(bits & 0x7FFF, (bits ^ 0x8000) + np.uint16(2 << 7), bits).astype(np.uint16)


def _drift(bits: Bits) -> Bits:
    """Moves every twentieth element by one ulp, as training on alone for a moment would."""
    drifted = bits.copy()
    drifted.reshape(-1)[::20] ^= 1
    return drifted


def _flip_last_bit(bits: Bits) -> Bits:
    flipped = bits.copy()
    flipped.reshape(-1)[-1] ^= 1
    return flipped


def plan_small(tensors: int = 20_000, width: int = 128) -> Checkpoint:
    """Plans many small square matrices, every tenth leaf a norm of ones, with two planted copies.

    Args:
        tensors: How many leaves.
        width: Rows and columns of a matrix; 128 make 32 KiB.
    """
    pool = Pool.fill(width * width)
    ones = np.full(width, 0x3F80, np.uint16)
    leaves: list[PlannedLeaf] = []
    for number in range(tensors - 2):
        at = f"model.layers.{number // 100}.experts.{number // 10 % 10}."
        if number % 10 == 9:
            leaves.append(PlannedLeaf(f"{at}norm.weight", "BF16", (width,), lambda: ones))
        else:
            name = f"{at}w{number % 10}.weight"
            leaves.append(PlannedLeaf(name, "BF16", (width, width), lambda number=number: _stamp(pool, number, width)))
    sources = leaves[tensors // 3 // 10 * 10], leaves[tensors // 2 // 10 * 10]
    same, turned = (source.make for source in sources)
    leaves.append(PlannedLeaf("export.identical", "BF16", (width, width), same))
    leaves.append(PlannedLeaf("export.transposed", "BF16", (width, width), lambda: turned().T))
    planted = {"identical": (sources[0].name, "export.identical"), "transposed": (sources[1].name, "export.transposed")}
    return Checkpoint(tuple(leaves), planted)


def _stamp(pool: Pool, number: int, width: int) -> Bits:
    """Cuts a matrix and gives it its own corner, since a small pool has fewer offsets than there are leaves."""
    bits = pool.cut(number, (width, width))
    bits[0, :2] = 0x3C00 | number & 0x3FF, 0x3C00 | number >> 10
    return bits


def write(checkpoint: Checkpoint, out: Path, shards: int = 1) -> None:
    """Writes a checkpoint, and beside it what was planted.

    Args:
        checkpoint: What to write.
        out: The file to write, or the directory for more than one shard.
        shards: How many files; the leaves go in order, about as many bytes to each.
    """
    Path(f"{out}.json").write_text(json.dumps(checkpoint.planted, indent=1) + "\n", encoding="utf-8")
    if shards == 1:
        write_file(checkpoint.leaves, out)
        return
    out.mkdir(parents=True, exist_ok=True)
    total = sum(leaf.nbytes for leaf in checkpoint.leaves)
    ends = accumulate(leaf.nbytes for leaf in checkpoint.leaves)
    split: list[list[PlannedLeaf]] = [[] for _ in range(shards)]
    for leaf, end in zip(checkpoint.leaves, ends, strict=True):
        split[min((end - 1) * shards // max(total, 1), shards - 1)].append(leaf)
    weight_map: dict[str, str] = {}
    for number, leaves in enumerate(split, 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors"
        write_file(leaves, out / name)
        weight_map |= {leaf.name: name for leaf in leaves}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": True}
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_file(leaves: Sequence[PlannedLeaf], path: Path) -> None:
    """Writes one safetensors file, laid out as the reference writer does, one leaf in memory at a time."""
    ordered = sorted(leaves, key=lambda leaf: (-_WIDTHS[leaf.dtype], leaf.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for leaf in ordered:
        start, end = end, end + leaf.nbytes
        header[leaf.name] = {"dtype": leaf.dtype, "shape": leaf.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for leaf in ordered:
            _write_leaf(file, leaf)


def _write_leaf(file: BinaryIO, leaf: PlannedLeaf) -> None:
    values = np.ascontiguousarray(leaf.make())
    if values.shape != leaf.shape or values.nbytes != leaf.nbytes:
        raise ValueError(f"`{leaf.name}`: made {values.shape}, planned {leaf.shape}")
    file.write(values.data.cast("B"))


def main() -> None:
    """Writes one of the two inputs."""
    parser = argparse.ArgumentParser(description="Generates the inputs of the benchmarks.")
    parser.add_argument("kind", choices=("big", "small"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=34, help="of the big one; 34 make 3 GB")
    parser.add_argument("--vocabulary", type=int, default=32000, help="rows of its embedding; 139264 make 500 MB")
    parser.add_argument("--tensors", type=int, default=20_000, help="of the small one")
    parser.add_argument("--shards", type=int, default=1, help="more than one makes a Hugging Face directory")
    options = parser.parse_args()
    big = options.kind == "big"
    checkpoint = plan_big(options.layers, vocabulary=options.vocabulary) if big else plan_small(options.tensors)
    write(checkpoint, options.out, options.shards)
    nbytes = sum(leaf.nbytes for leaf in checkpoint.leaves)
    print(f"{options.out}: {nbytes:,} bytes in {len(checkpoint.leaves):,} leaves")


if __name__ == "__main__":
    main()
