"""Composing: zarr documents for leaves that are new to a checkpoint, as tensorstore writes them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from tiecli.checkpoints.zarr.codecs import ByteCodec, Layout, Shape, unsupported
from tiecli.checkpoints.zarr.members import spell_dtype
from tiecli.leaves import LeafSpec

# Whoever reads a compressed chunk with tensorstore holds all of it in memory.
CHUNK_NBYTES = 256 << 20


def compose_array(spec: LeafSpec, version: int, like: Layout | None, *, whole: bool) -> Mapping[str, Any]:
    """Composes the document of a new leaf; see `make_array`.

    Raises:
        UnsupportedCheckpointError: Zarr has no name for the dtype.
    """
    try:
        dtype = spell_dtype(spec.dtype, version)
    except KeyError:
        raise unsupported("a new leaf", f"holds {spec.dtype}, for which zarr has no name") from None
    chunk_shape = [max(1, length) for length in spec.shape] if whole else list(_split(spec))
    compressor = next((codec for codec in like.codecs if codec.name != "crc32c"), None) if like else None
    if version == 2:
        return {
            "chunks": chunk_shape,
            "compressor": {"id": compressor.name, "level": compressor.level} if compressor else None,
            "dimension_separator": ".",
            "dtype": dtype,
            "fill_value": None,
            "filters": None,
            "order": "C",
            "shape": list(spec.shape),
            "zarr_format": 2,
        }
    codecs = [_named("bytes", endian="little") if spec.dtype.bits > 8 else {"name": "bytes"}]
    codecs += [_compose_compressor(compressor)] if compressor else []
    if like and like.sharding:
        index = [_named("bytes", endian="little"), {"name": "crc32c"}]
        codecs = [_named("sharding_indexed", chunk_shape=chunk_shape, codecs=codecs, index_codecs=index)]
    return {
        "chunk_grid": _named("regular", chunk_shape=chunk_shape),
        "chunk_key_encoding": {"name": "default"},
        "codecs": codecs,
        "data_type": dtype,
        "fill_value": _zero(spec),
        "node_type": "array",
        "shape": list(spec.shape),
        "zarr_format": 3,
    }


def _named(name: str, **configuration: object) -> dict[str, Any]:
    return {"configuration": configuration, "name": name}


def _compose_compressor(codec: ByteCodec) -> dict[str, Any]:
    if codec.name == "zstd":
        return _named("zstd", checksum=codec.checksum, level=codec.level)
    # Zarr 3 has no codec `zlib`; gzip is the same but for its frame.
    return _named("gzip", level=max(0, codec.level))


def _zero(spec: LeafSpec) -> object:
    match spec.dtype.kind:
        case "bool":
            return False
        case "complex":
            return [0.0, 0.0]
        case "float":
            return 0.0
        case _:
            return 0


def _split(spec: LeafSpec) -> Shape:
    """Chooses chunks of up to the limit, as few as can be: whole along all axes but the first ones."""
    limit = CHUNK_NBYTES * 8 // spec.dtype.bits
    return tuple(
        max(1, min(length, limit // max(1, prod(spec.shape[axis + 1 :])))) for axis, length in enumerate(spec.shape)
    )
