"""Files made byte by byte, so that no library decides what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Bits of one element, for the dtypes that the tests use.
BITS = {"F32": 32, "BF16": 16, "F64": 64, "U8": 8, "BOOL": 8, "I64": 64, "F4": 4, "F6_E2M3": 6, "C64": 64}


def put_together(header: bytes | str | Mapping[str, Any], data: bytes = b"") -> bytes:
    """Puts a file together: length, header, data."""
    if isinstance(header, Mapping):
        header = json.dumps(header, separators=(",", ":"))
    raw = header.encode() if isinstance(header, str) else header
    return len(raw).to_bytes(8, "little") + raw + data


def describe(dtype: str, shape: list[int], begin: int, **extra: Any) -> dict[str, Any]:
    """What a header says of one tensor."""
    size = BITS[dtype]
    for length in shape:
        size *= length
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size // 8], **extra}


def write_file(
    path: Path,
    leaves: Mapping[str, tuple[str, list[int], bytes]],
    metadata: Mapping[str, str] | None = None,
    **dumps: Any,
) -> Path:
    """Writes leaves in the order given; `dumps` goes to `json.dumps`."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, (dtype, shape, raw) in leaves.items():
        header[name] = describe(dtype, shape, len(data))
        data += raw
    path.write_bytes(put_together(json.dumps(header, **dumps), data))
    return path


def write_sharded(
    directory: Path, shards: Mapping[str, Mapping[str, tuple[str, list[int], bytes]]], name: str = "model"
) -> Path:
    """Writes shards and the index that joins them."""
    directory.mkdir(parents=True, exist_ok=True)
    weight_map = {leaf: shard for shard, leaves in shards.items() for leaf in leaves}
    total = sum(len(raw) for leaves in shards.values() for _, _, raw in leaves.values())
    for shard, leaves in shards.items():
        write_file(directory / shard, leaves, {"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / f"{name}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return directory
