"""Generating the Orbax inputs of the benchmarks, by stock Orbax: a large decoder, and many small leaves.

```
python tests/benchmarks/generate_orbax.py big OUT            # 2.07 GB in 183 leaves, zstd as Orbax does by default
python tests/benchmarks/generate_orbax.py big OUT --raw      # the same, not compressed
python tests/benchmarks/generate_orbax.py many OUT           # 20,000 leaves of 1 KiB
```

A copy is planted: `lm_head.kernel` of `embed.embedding`, `export.identical` of the first of many.
Saving the big one takes some 5 GB of memory, most of it Orbax's.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from generate import Pool

VOCABULARY, WIDTH, INNER, HEADS, LAYERS = 32000, 2048, 4608, 16, 20


def list_shapes(layers: int = LAYERS) -> dict[str, tuple[int, ...]]:
    """Lists the leaves of the big one, named and shaped as MaxText does, each by its dotted path."""
    shapes: dict[str, tuple[int, ...]] = {"embed.embedding": (VOCABULARY, WIDTH), "decoder_norm.scale": (WIDTH,)}
    for layer in range(layers):
        at = f"decoder.layers_{layer}."
        shapes |= {
            f"{at}self_attention.{part}.kernel": (WIDTH, HEADS, WIDTH // HEADS) for part in ("query", "key", "value")
        }
        shapes[f"{at}self_attention.out.kernel"] = (HEADS, WIDTH // HEADS, WIDTH)
        shapes |= {f"{at}mlp.{part}.kernel": (WIDTH, INNER) for part in ("wi_0", "wi_1")}
        shapes[f"{at}mlp.wo.kernel"] = (INNER, WIDTH)
        shapes |= {f"{at}{part}_layer_norm.scale": (WIDTH,) for part in ("pre_self_attention", "post_self_attention")}
    return shapes


def make_big(layers: int) -> dict[str, Any]:
    """Makes the big tree in bf16, normal with a deviation of 0.02, `lm_head.kernel` a copy of the embedding."""
    import jax
    import ml_dtypes

    pool = Pool.fill(VOCABULARY * WIDTH)
    leaves = {
        name: jax.numpy.asarray(pool.cut(number, shape).view(ml_dtypes.bfloat16))
        for number, (name, shape) in enumerate(list_shapes(layers).items())
    }
    leaves["lm_head.kernel"] = leaves["embed.embedding"].copy()
    return nest(leaves)


def make_many(leaves: int) -> dict[str, Any]:
    """Makes many leaves of 1 KiB, every one different but for `export.identical`, a copy of the first."""
    import jax

    values = np.random.default_rng(0).standard_normal((leaves - 1, 16, 16), dtype=np.float32)
    named = {
        f"layers_{number // 100}.experts_{number // 10 % 10}.w{number % 10}": jax.numpy.asarray(value)
        for number, value in enumerate(values)
    }
    return nest(named | {"export.identical": jax.numpy.asarray(values[0])})


def nest(leaves: dict[str, Any]) -> dict[str, Any]:
    """Turns dotted paths into a tree of dicts."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def main() -> None:
    """Writes one of the inputs."""
    parser = argparse.ArgumentParser(description="Generates the Orbax inputs of the benchmarks.")
    parser.add_argument("kind", choices=("big", "many"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--raw", action="store_true", help="do not compress")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the big one; 20 make 2.07 GB")
    parser.add_argument("--leaves", type=int, default=20_000, help="of the other one")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    import jax
    import orbax.checkpoint as ocp

    tree = make_big(options.layers) if options.kind == "big" else make_many(options.leaves)
    with ocp.PyTreeCheckpointer(use_compression=not options.raw) as checkpointer:
        checkpointer.save(options.out.absolute(), tree)
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(tree)]
    stored = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {sum(sizes):,} bytes in {len(sizes):,} leaves, {stored:,} on disk")


if __name__ == "__main__":
    main()
