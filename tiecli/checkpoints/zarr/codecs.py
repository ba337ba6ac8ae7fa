"""Codecs: what a zarr document says of how a chunk becomes stored bytes, as one layout."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from tiecli.checkpoints.jsonfiles import damaged
from tiecli.errors import UnsupportedCheckpointError

Axes = tuple[int, ...]
Shape = tuple[int, ...]

# A shard's index is held in memory while the shard is read: 16 bytes a part.
_MOST_PARTS = 1 << 16
_ELSEWHERE = "Save it in another form with the program that wrote it; docs/orbax.md lists what is read."
# What either version calls the compressors that both can have, and their usual levels.
_LEVELS: Mapping[str, int] = {"zstd": 1, "gzip": 6, "zlib": 6}


# Source: zarr 3, codec `sharding_indexed`.
ENTRY = struct.Struct("<QQ")
"""An entry of a shard's index: where a part begins in the shard, and how many bytes it has."""

ABSENT = (1 << 64) - 1
"""What stands there twice for a part that is not stored."""


class ByteCodec(NamedTuple):
    """One step from bytes to bytes: `zstd`, `gzip`, `zlib` or `crc32c`.

    Attributes:
        name: Which.
        level: How hard it compresses; tells nothing about reading.
        checksum: Whether a zstd frame ends with its own.
    """

    name: str
    level: int = 0
    checksum: bool = False


class Sharding(NamedTuple):
    """How a stored chunk holds many parts, each found through an index.

    Attributes:
        part_shape: Of one part, along the axes of the leaf.
        axes: The order of the parts in the index: along its axis `i` go those of axis `axes[i]`.
        index_first: Whether the index stands before the parts rather than after them.
        index_checked: Whether the index ends with its CRC-32C.
    """

    part_shape: Shape
    axes: Axes
    index_first: bool
    index_checked: bool


class Layout(NamedTuple):
    """How a chunk is stored: a shard of parts, or one part.

    Attributes:
        axes: The order of the elements of a part: axis `i` of what is stored, in C order, is
            axis `axes[i]` of the leaf.
        codecs: What its bytes went through, in this order.
        sharding: How parts make up a shard; None where a chunk is one part.
    """

    axes: Axes
    codecs: tuple[ByteCodec, ...]
    sharding: Sharding | None = None


def invert_axes(axes: Axes) -> Axes:
    """Gives the permutation that undoes another.

    Example:
        >>> invert_axes((2, 0, 1))
        (1, 2, 0)
    """
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def settle_axes(axes: Axes, lengths: Shape) -> Axes:
    """Gives one order for all that differ in axes of length 1 only: the plain one if it is among them.

    Example:
        >>> settle_axes((1, 0), (1, 7)), settle_axes((2, 1, 0), (5, 1, 7))
        ((0, 1), (1, 2, 0))
    """
    plain = tuple(range(len(axes)))
    long = tuple(axis for axis in axes if lengths[axis] != 1)
    return plain if long == tuple(sorted(long)) else (*(axis for axis in plain if lengths[axis] == 1), *long)


def unsupported(label: str, what: str) -> UnsupportedCheckpointError:
    """Words what of an array's metadata tiecli does not know."""
    return UnsupportedCheckpointError(f"`{label}` {what}, which tiecli does not read", _ELSEWHERE)


def read_layout2(document: Mapping[str, Any], chunk_shape: Shape, label: str) -> Layout:
    """Reads how a zarr 2 array stores its chunks.

    Raises:
        OrbaxMetadataError: It is damaged.
        UnsupportedCheckpointError: It names a compressor or filter that tiecli does not know.
    """
    order = document.get("order")
    if order not in ("C", "F"):
        raise damaged(label, f"`order` is {order!r}, expected `C` or `F`")
    if document.get("filters"):
        raise unsupported(label, "has filters")
    plain = tuple(range(len(chunk_shape)))
    axes = settle_axes(plain if order == "C" else plain[::-1], chunk_shape)
    compressor = document.get("compressor")
    if compressor is None:
        return Layout(axes, ())
    if not isinstance(compressor, dict) or not isinstance(name := compressor.get("id"), str):
        raise damaged(label, "`compressor` is neither null nor an object with an `id`")
    if name not in _LEVELS:
        raise unsupported(label, f"is compressed by {name!r}")
    return Layout(axes, (_read_compressor(name, compressor, label),))


def read_layout3(document: Mapping[str, Any], chunk_shape: Shape, itemsize: int, label: str) -> Layout:
    """Reads how a zarr 3 array stores its chunks.

    Raises:
        OrbaxMetadataError: It is damaged.
        UnsupportedCheckpointError: It names a codec, or has them in an order, that tiecli does not know.
    """
    codecs = _read_list(document.get("codecs"), label)
    outer, rest = _read_transposes(codecs, len(chunk_shape), label)
    if not rest:
        raise damaged(label, "its `codecs` make no bytes")
    name, settings = rest[0]
    if name != "sharding_indexed":
        return Layout(settle_axes(outer, chunk_shape), _read_bytes(rest, itemsize, label))
    if len(rest) > 1:
        raise unsupported(label, f"has shards that go through {rest[1][0]!r}")
    stored_part = settings.get("chunk_shape")
    turned = tuple(chunk_shape[axis] for axis in outer)
    if not isinstance(stored_part, list) or len(stored_part) != len(turned):
        raise damaged(label, "the `chunk_shape` of its shards is no list with a length for every axis")
    for length, whole in zip(stored_part, turned, strict=True):
        if type(length) is not int or length < 1 or whole % length:
            raise damaged(label, f"its shards of {list(turned)} cannot be cut into parts of {stored_part}")
    back = invert_axes(outer)
    part_shape = tuple(stored_part[axis] for axis in back)
    counts = tuple(whole // length for whole, length in zip(chunk_shape, part_shape, strict=True))
    if prod(counts) > _MOST_PARTS:
        raise unsupported(label, f"has {prod(counts):,} parts in each shard")
    inner, byte_codecs = _read_transposes(_read_list(settings.get("codecs"), label), len(chunk_shape), label)
    axes = tuple(outer[axis] for axis in inner)
    location = settings.get("index_location", "end")
    if location not in ("start", "end"):
        raise damaged(label, f"`index_location` is {location!r}, expected `start` or `end`")
    checked = _read_bytes(_read_list(settings.get("index_codecs"), label), 8, label)
    if checked not in ((), (ByteCodec("crc32c"),)):
        raise unsupported(label, "has a compressed shard index")
    sharding = Sharding(part_shape, settle_axes(outer, counts), location == "start", bool(checked))
    return Layout(settle_axes(axes, part_shape), _read_bytes(byte_codecs, itemsize, label), sharding)


def _read_list(codecs: object, label: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Reads a chain of zarr 3 codecs as pairs of a name and its configuration."""
    if not isinstance(codecs, list):
        raise damaged(label, "`codecs` is no list")
    read: list[tuple[str, Mapping[str, Any]]] = []
    for codec in codecs:
        settings = codec.get("configuration", {}) if isinstance(codec, dict) else None
        if not isinstance(settings, dict) or not isinstance(codec.get("name"), str):
            raise damaged(label, "one of its `codecs` is no object with a `name`")
        read.append((codec["name"], settings))
    return read


def _read_transposes(
    codecs: Sequence[tuple[str, Mapping[str, Any]]], rank: int, label: str
) -> tuple[Axes, Sequence[tuple[str, Mapping[str, Any]]]]:
    """Reads the transposes that a chain begins with, as one.

    Returns:
        The order of the axes, and the rest of the chain.
    """
    axes = tuple(range(rank))
    for number, (name, settings) in enumerate(codecs):
        if name != "transpose":
            return axes, codecs[number:]
        order = settings.get("order")
        if order in ("C", "F"):
            order = list(range(rank)) if order == "C" else list(range(rank))[::-1]
        if (
            not isinstance(order, list)
            or any(type(axis) is not int for axis in order)
            or sorted(order) != list(range(rank))
        ):
            raise damaged(label, f"the codec `transpose` has the order {order!r}, expected each of {rank} axes once")
        axes = tuple(axes[axis] for axis in order)
    return axes, ()


def _read_bytes(codecs: Sequence[tuple[str, Mapping[str, Any]]], itemsize: int, label: str) -> tuple[ByteCodec, ...]:
    """Reads the end of a chain: `bytes`, and what the bytes go through."""
    name, settings = codecs[0] if codecs else ("", {})
    if name != "bytes":
        raise unsupported(label, f"has the codec {name!r} where `bytes` is expected")
    if settings.get("endian", "little" if itemsize == 1 else None) != "little" and itemsize > 1:
        raise unsupported(label, f"stores numbers in the byte order {settings.get('endian')!r}")
    read = []
    for name, settings in codecs[1:]:
        if name == "crc32c":
            read.append(ByteCodec(name))
        elif name in ("zstd", "gzip"):
            read.append(_read_compressor(name, settings, label))
        else:
            raise unsupported(label, f"has the codec {name!r}")
    names = [codec.name for codec in read]
    compressors = [name for name in names if name != "crc32c"]
    if len(compressors) > 1 or ("crc32c", "crc32c") in pairwise(names):
        raise unsupported(label, f"has the codecs {', '.join(names)} one after another")
    return tuple(read)


def _read_compressor(name: str, settings: Mapping[str, Any], label: str) -> ByteCodec:
    level, checksum = settings.get("level", _LEVELS[name]), settings.get("checksum", False)
    # Source: zstd 1.5, its fastest and strongest level; zlib has -1 to 9.
    lowest, highest = (-(1 << 17), 22) if name == "zstd" else (-1, 9)
    if type(level) is not int or not lowest <= level <= highest:
        raise damaged(label, f"{name!r} has the level {level!r}, expected {lowest} to {highest}")
    if type(checksum) is not bool:
        raise damaged(label, f"{name!r} has the checksum {checksum!r}, expected true or false")
    return ByteCodec(name, level, checksum)
