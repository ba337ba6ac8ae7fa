"""Orbax items for the linter, written by tiecli's own encoders: any tree of shapes, in a moment and without Orbax."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.checkpoints.orbax.documents import compose_tree, describe_leaf, entry_key, store_name
from tiecli.checkpoints.zarr.arrays import make_array
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec

Shapes = Mapping[str, tuple[int, ...]]


def write_item(path: Path, shapes: Shapes, empty: Iterable[str] = ()) -> Path:
    """Writes an item of 32-bit floats, each leaf one chunk of zeros inside the database.

    Args:
        path: Its directory.
        shapes: Its leaves, by their paths as text.
        empty: Places of the tree that hold nothing.
    """
    leaves = {KeyPath.parse(name): shape for name, shape in shapes.items()}
    values: dict[str, Value] = {}
    for place, shape in leaves.items():
        array = make_array(LeafSpec(shape, DTYPES["F32"]), 2)
        chunks = dict.fromkeys(array.chunk_keys(), bytes(array.stored_nbytes or 0))
        for key, raw in {".zarray": array.to_bytes(), **chunks}.items():
            values[f"{store_name(place)}/{key}"] = Value("", 0, len(raw), raw)
    encoded = encode_database(values)
    (path / encoded.node_file).parent.mkdir(parents=True)
    (path / encoded.node_file).write_bytes(encoded.nodes)
    (path / "manifest.ocdbt").write_bytes(encoded.manifest)
    tree = json.loads(compose_tree(leaves, use_zarr3=False))
    for place in map(KeyPath.parse, empty):
        tree["tree_metadata"][entry_key(place)] = describe_leaf(place, "None")
    (path / "_METADATA").write_text(json.dumps(tree))
    return path


def write_items(step: Path, items: Mapping[str, Shapes]) -> Path:
    """Writes a step with several items."""
    for name, shapes in items.items():
        write_item(step / name, shapes)
    (step / "_CHECKPOINT_METADATA").write_text("{}")
    return step
