"""Zarr documents in many forms, and leaves that are stored as they say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tiecli.checkpoints.zarr import decoding, encoding, spool
from tiecli.checkpoints.zarr.arrays import ArrayMetadata, parse_array
from tiecli.checkpoints.zarr.chunks import ChunkedLeaf, StoredChunk
from tiecli.checkpoints.zarr.encoding import encode_chunks
from tiecli.checkpoints.zarr.spool import Spool

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
CRC = {"name": "crc32c"}

Codecs = Sequence[Mapping[str, Any]]


def describe2(shape: Sequence[int], chunks: Sequence[int], **members: Any) -> dict[str, Any]:
    """Composes a `.zarray`, `<f4`, compressed by zstd in C order unless told otherwise."""
    return {
        "chunks": list(chunks),
        "compressor": {"id": "zstd", "level": 1},
        "dimension_separator": ".",
        "dtype": "<f4",
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": list(shape),
        "zarr_format": 2,
        **members,
    }


def describe3(shape: Sequence[int], chunks: Sequence[int], codecs: Codecs, **members: Any) -> dict[str, Any]:
    """Composes a `zarr.json`, `float32` unless told otherwise."""
    return {
        "chunk_grid": {"configuration": {"chunk_shape": list(chunks)}, "name": "regular"},
        "chunk_key_encoding": {"name": "default"},
        "codecs": list(codecs),
        "data_type": "float32",
        "fill_value": 0.0,
        "node_type": "array",
        "shape": list(shape),
        "zarr_format": 3,
        **members,
    }


def transpose(*order: int) -> dict[str, Any]:
    """Composes the codec that permutes axes."""
    return {"name": "transpose", "configuration": {"order": list(order)}}


def shards(parts: Sequence[int], codecs: Codecs, index: Codecs = (BYTES, CRC), place: str = "end") -> dict[str, Any]:
    """Composes the codec that makes shards of parts."""
    settings = {"chunk_shape": list(parts), "codecs": list(codecs), "index_codecs": list(index)}
    return {"name": "sharding_indexed", "configuration": {**settings, "index_location": place}}


def read(document: Mapping[str, Any]) -> ArrayMetadata:
    """Parses a document of the leaf `w`."""
    return parse_array(json.dumps(document).encode(), "w")


def store(metadata: ArrayMetadata, raw: bytes, step: int = 7) -> dict[str, bytes]:
    """Encodes a leaf, whose values arrive a few bytes at a time; gives what is stored by key."""
    blocks = [memoryview(raw[start : start + step]) for start in range(0, len(raw), step)]
    return {key: b"".join(pieces) for key, pieces in encode_chunks(metadata, blocks)}


def open_leaf(metadata: ArrayMetadata, stored: Mapping[str, bytes], spool: Spool | None = None) -> ChunkedLeaf:
    """Opens a leaf whose chunks lie in memory."""
    chunks = [StoredChunk(-1, 0, len(raw), raw) for raw in map(stored.__getitem__, metadata.chunk_keys())]
    return ChunkedLeaf(metadata, chunks, "w", spool or Spool())


def read_all(leaf: ChunkedLeaf) -> bytes:
    """Reads all values of a leaf."""
    buffer = bytearray(leaf.metadata.spec.nbytes)
    leaf.read_into(0, memoryview(buffer))
    return bytes(buffer)


@contextmanager
def limits(nbytes: int | None) -> Iterator[None]:
    """Has parts of more than so many bytes count as large, if that is said."""
    with ExitStack() as stack:
        if nbytes is not None:
            stack.enter_context(patch.object(decoding, "_SMALL_NBYTES", nbytes // 2))
            stack.enter_context(patch.object(encoding, "_HELD_NBYTES", nbytes))
            stack.enter_context(patch.object(encoding, "_BLOCK_NBYTES", nbytes))
            stack.enter_context(patch.object(spool, "HELD_NBYTES", nbytes))
            stack.enter_context(patch.object(spool, "_BUFFER_NBYTES", nbytes))
            stack.enter_context(patch.object(spool, "_MEMORY_NBYTES", 3 * nbytes))
        yield
