"""Small Orbax items of given arrays, each stored as a test wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.unit.checkpoints.orbax.trees import tree_of
from tests.unit.checkpoints.zarr.zarrs import BYTES, CRC, ZSTD, describe2, describe3, read, shards, store
from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.checkpoints.zarr.arrays import ArrayMetadata
from tiecli.checkpoints.zarr.members import spell_dtype
from tiecli.keypaths import Key
from tiecli.leaves import find_dtype

Keys = tuple[Key, ...]


@dataclass(frozen=True)
class Kept:
    """An array, and how it is stored.

    Attributes:
        array: Its values.
        chunks: Shape of what is stored under one key; the whole array by default.
        compressed: By zstd, or not at all.
        level: How well.
        parts: Zarr 3: shape of the parts of a shard.
    """

    array: NDArray[Any]
    chunks: tuple[int, ...] | None = None
    compressed: bool = True
    level: int = 1
    parts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SameBytes:
    """A second name of the stored bytes of another leaf, be it along reversed axes."""

    of: Keys
    turned: bool = False


Leaves = Mapping[Keys, NDArray[Any] | Kept | SameBytes]


def write_item(
    root: Path,
    leaves: Leaves,
    *,
    zarr: int = 2,
    others: Mapping[Keys, str] | None = None,
    strings: Mapping[Keys, str] | None = None,
    custom: Mapping[str, Any] | None = None,
    file: str = "d/values",
) -> Path:
    """Writes an item with a database, as Orbax lays it out.

    Args:
        root: The directory to make.
        leaves: What stands where, in stored order.
        zarr: Which version describes the arrays.
        others: Places that hold no array, with what they hold: `None`, `Dict`.
        strings: Places that hold a text.
        custom: The metadata of the tree.
        file: The data file.
    """
    (root / "d").mkdir(parents=True)
    values: dict[str, Value] = {}
    arrays: dict[str, ArrayMetadata] = {}
    data = bytearray()
    for keys, leaf in leaves.items():
        name = _name(keys)
        if isinstance(leaf, SameBytes):
            source = _name(leaf.of)
            array = arrays[source]
            axes = range(len(array.spec.shape))
            permuted = array.permute(tuple(reversed(axes) if leaf.turned else axes))
            arrays[name] = permuted.metadata
            values |= {f"{name}/{new}": values[f"{source}/{old}"] for new, old in permuted.chunk_key_map.items()}
        else:
            kept = leaf if isinstance(leaf, Kept) else Kept(leaf)
            arrays[name] = read(_describe(kept, zarr))
            for key, stored in store(arrays[name], np.ascontiguousarray(kept.array).tobytes(), 1 << 20).items():
                values[f"{name}/{key}"] = Value(file, len(data), len(stored))
                data += stored
        raw = arrays[name].to_bytes()
        values[f"{name}/{'.zarray' if zarr == 2 else 'zarr.json'}"] = Value("", 0, len(raw), raw)
    (root / file).write_bytes(data)
    database = encode_database(values)
    (root / database.node_file).write_bytes(database.nodes)
    (root / "manifest.ocdbt").write_bytes(database.manifest)
    places = {**dict.fromkeys(leaves, "np.ndarray"), **(others or {}), **dict.fromkeys(strings or {}, "string")}
    (root / "_METADATA").write_bytes(tree_of(places, use_zarr3=zarr == 3, custom_metadata=custom))
    if strings:
        (root / "_strings.json").write_text(json.dumps({_name(keys): text for keys, text in strings.items()}))
    return root


def _name(keys: Keys) -> str:
    return ".".join(map(str, keys))


def _describe(kept: Kept, zarr: int) -> dict[str, Any]:
    array = kept.array
    dtype = find_dtype(array.dtype.name)
    assert dtype is not None, array.dtype
    chunks = kept.chunks or array.shape
    if zarr == 2:
        compressor = {"id": "zstd", "level": kept.level} if kept.compressed else None
        return describe2(array.shape, chunks, dtype=spell_dtype(dtype, 2), compressor=compressor)
    codecs: list[Mapping[str, Any]] = [BYTES, {**ZSTD, "configuration": {"level": kept.level, "checksum": False}}]
    codecs = codecs if kept.compressed else [BYTES]
    codecs = [shards(kept.parts, codecs, (BYTES, CRC))] if kept.parts else codecs
    return describe3(array.shape, chunks, codecs, data_type=spell_dtype(dtype, 3))
