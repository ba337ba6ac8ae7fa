"""Arrays: what a `.zarray` or `zarr.json` says of a leaf: its spec, and how its chunks are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from tiecli.checkpoints.jsonfiles import damaged, decode_object
from tiecli.checkpoints.protocol import RAW
from tiecli.checkpoints.zarr.codecs import Layout, Shape, read_layout2, read_layout3, unsupported
from tiecli.checkpoints.zarr.members import (
    KeyStyle,
    check_members3,
    read_dtype2,
    read_dtype3,
    read_grid3,
    read_lengths,
    read_style2,
    read_style3,
)
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    from tiecli.checkpoints.zarr.permuting import Permuted

Version = Literal[2, 3]

METADATA_KEYS: Mapping[int, str] = MappingProxyType({2: ".zarray", 3: "zarr.json"})
"""Under which key of a leaf its metadata stands, by zarr version."""

# Far beyond what anybody saves, and few enough to list them all within a second.
_MOST_CHUNKS = 1 << 20
_MANY = 4096
# Source: tensorstore 0.1, its highest rank.
_MOST_AXES = 32
_MOST_BITS = 1 << 62
_MOST_RAW = 1 << 20
# Leaves of a tree differ in few ways but for their names.
_MOST_KNOWN = 1024


@dataclass(frozen=True, slots=True)
class ArrayMetadata:
    """One `.zarray` or `zarr.json`, understood.

    Attributes:
        version: Of zarr.
        spec: Shape and dtype of the leaf.
        chunk_shape: Of what is stored under one key.
        layout: How a chunk becomes bytes.
        key_style: How chunks are called.
        document: The JSON; not to be changed.
        encoding: `raw` where the stored bytes are the leaf's own in C order. Otherwise a text: leaves of
            equal text whose stored bytes are equal, chunk by chunk, have equal values.
    """

    version: Version
    spec: LeafSpec
    chunk_shape: Shape
    layout: Layout
    key_style: KeyStyle
    document: Mapping[str, Any]
    encoding: str

    @property
    def codec(self) -> str:
        """How it is compressed, for people: `none`, `zstd`, `zstd, sharded`."""
        names = [codec.name for codec in self.layout.codecs] or ["none"]
        return ", ".join(names + ["sharded"] * (self.layout.sharding is not None))

    @property
    def part_shape(self) -> Shape:
        """The shape of what is decoded in one go: a part of a shard, or a whole chunk."""
        return self.layout.sharding.part_shape if self.layout.sharding else self.chunk_shape

    @property
    def chunk_counts(self) -> Shape:
        """How many chunks there are along each axis."""
        return _count(self.spec.shape, self.chunk_shape)

    @property
    def stored_nbytes(self) -> int | None:
        """How many bytes every stored chunk must have; None where that depends on its values."""
        if self.layout.codecs or self.layout.sharding:
            return None
        return prod(self.chunk_shape) * self.spec.dtype.bits // 8

    def chunk_keys(self) -> Iterator[str]:
        """Yields what follows the leaf's name in the key of each chunk, in C order of the grid."""
        counts = self.chunk_counts
        # A product takes note of every length before it gives the first index.
        indices = product(*map(range, counts)) if max(counts, default=0) < _MANY else _count_up(counts)
        return map(self.key_style.spell, indices)

    def permute(self, axes: tuple[int, ...]) -> Permuted:
        """Describes the leaf along other axes: its axis `i` is what `axes[i]` was; no stored byte changes.

        Raises:
            UnsupportedCheckpointError: This version of zarr cannot say so.
        """
        # Most commands never permute.
        from tiecli.checkpoints.zarr.permuting import permute_array

        return permute_array(self, axes)

    def to_bytes(self) -> bytes:
        """Writes the JSON as tensorstore does: sorted, without spaces."""
        return json.dumps(self.document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode("utf-8")


_known: dict[bytes, ArrayMetadata] = {}


def parse_array(raw: bytes, label: str) -> ArrayMetadata:
    """Reads the metadata of an array.

    Args:
        raw: A `.zarray` or `zarr.json`.
        label: What errors call it.

    Raises:
        OrbaxMetadataError: It is damaged.
        UnsupportedCheckpointError: It names a dtype, codec or grid that tiecli does not know.
    """
    found = _known.get(raw)
    if found is None:
        if len(raw) > _MOST_RAW:
            raise damaged(label, f"it has {len(raw):,} bytes")
        found = read_document(decode_object(raw, label), label)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[raw] = found
    return found


def read_document(document: Mapping[str, Any], label: str) -> ArrayMetadata:
    """Reads the metadata of an array from its JSON; errors as for `parse_array`."""
    match document.get("zarr_format"):
        case 2:
            return _read2(document, label)
        case 3:
            return _read3(document, label)
        case other:
            raise damaged(label, f"`zarr_format` is {other!r}, expected 2 or 3")


def _read2(document: Mapping[str, Any], label: str) -> ArrayMetadata:
    shape = read_lengths(document.get("shape"), "shape", label)
    chunk_shape = read_lengths(document.get("chunks"), "chunks", label)
    spec = LeafSpec(shape, read_dtype2(document.get("dtype"), label))
    _check_sizes(spec, chunk_shape, label)
    layout = read_layout2(document, chunk_shape, label)
    encoding = _spell_encoding(spec, chunk_shape, layout)
    return ArrayMetadata(2, spec, chunk_shape, layout, read_style2(document, label), document, encoding)


def _read3(document: Mapping[str, Any], label: str) -> ArrayMetadata:
    check_members3(document, label)
    shape = read_lengths(document.get("shape"), "shape", label)
    chunk_shape = read_grid3(document.get("chunk_grid"), label)
    spec = LeafSpec(shape, read_dtype3(document.get("data_type"), label))
    _check_sizes(spec, chunk_shape, label)
    layout = read_layout3(document, chunk_shape, spec.dtype.bits // 8, label)
    style = read_style3(document.get("chunk_key_encoding"), label)
    encoding = _spell_encoding(spec, chunk_shape, layout)
    return ArrayMetadata(3, spec, chunk_shape, layout, style, document, encoding)


def _count(shape: Shape, sides: Shape) -> Shape:
    return tuple(-(-length // side) for length, side in zip(shape, sides, strict=True))


def _count_up(counts: Shape) -> Iterator[Shape]:
    """Yields the indices of a grid in C order, one by one."""
    if not counts:
        yield ()
        return
    for first in range(counts[0]):
        for rest in _count_up(counts[1:]):
            yield (first, *rest)


def _check_sizes(spec: LeafSpec, chunk_shape: Shape, label: str) -> None:
    if len(spec.shape) > _MOST_AXES:
        raise damaged(label, f"it has {len(spec.shape)} axes")
    if len(chunk_shape) != len(spec.shape) or 0 in chunk_shape:
        raise damaged(label, f"chunks of {list(chunk_shape)} do not make up the shape {list(spec.shape)}")
    if max(prod(max(1, length) for length in spec.shape), prod(chunk_shape)) * spec.dtype.bits > _MOST_BITS:
        raise damaged(label, "it states more bytes than any disk holds")
    if (count := prod(_count(spec.shape, chunk_shape))) > _MOST_CHUNKS:
        raise unsupported(label, f"states {count:,} chunks")


def _spell_encoding(spec: LeafSpec, chunk_shape: Shape, layout: Layout) -> str:
    is_plain = layout.axes == tuple(range(len(chunk_shape)))
    if is_plain and not layout.codecs and layout.sharding is None and chunk_shape == spec.shape:
        return RAW
    words = [str(spec), f"chunks {_spell(chunk_shape)}"]
    if layout.sharding is not None:
        sharding = layout.sharding
        words += [f"parts {_spell(sharding.part_shape)} along {_spell(sharding.axes)}"]
        words += [f"index {'first' if sharding.index_first else 'last'}{' checked' * sharding.index_checked}"]
    words += [f"axes {_spell(layout.axes)}", *(codec.name for codec in layout.codecs)]
    return ", ".join(words)


def _spell(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers)) or "-"


def make_array(
    spec: LeafSpec, version: Version, *, like: ArrayMetadata | None = None, whole: bool = False
) -> ArrayMetadata:
    """Makes the metadata of a new leaf: one chunk in C order, or several along the first axis if it is large.

    Args:
        spec: What the leaf is; no packed dtype.
        version: Of zarr.
        like: Another leaf, to be compressed as it is and sharded if it is; None for plain bytes.
        whole: One chunk, however large.

    Raises:
        UnsupportedCheckpointError: Zarr has no name for the dtype.
    """
    # Only writing needs it.
    from tiecli.checkpoints.zarr.composing import compose_array

    return read_document(compose_array(spec, version, like.layout if like else None, whole=whole), "a new leaf")
