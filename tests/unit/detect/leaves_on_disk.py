"""Leaves on disk: a safetensors file of given arrays, in the order given, of any dtype."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import find_dtype

Stored = NDArray[np.generic] | tuple[str, tuple[int, ...], bytes]
"""An array, or for packed dtypes a safetensors code, a shape and the bytes."""


def store(file: Path, leaves: Mapping[str, Stored]) -> CheckpointReader:
    """Writes leaves one after another and opens what was written; the caller closes it."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    offset = 0
    for name, leaf in leaves.items():
        code, shape, raw = leaf if isinstance(leaf, tuple) else _encode(leaf)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + len(raw)]}
        parts.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    return open_reader(file)


def at(name: str) -> KeyPath:
    """The key path of a leaf by its name on disk."""
    return KeyPath.from_name(name)


def _encode(array: NDArray[np.generic]) -> tuple[str, tuple[int, ...], bytes]:
    dtype = find_dtype(array.dtype.name)
    assert dtype is not None, array.dtype
    return dtype.name, array.shape, array.tobytes()
