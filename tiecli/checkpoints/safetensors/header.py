"""Header: the JSON at the front of a safetensors file, parsed strictly and fast.

Whatever safetensors 0.8.0 accepts is accepted, save for what two parsers could read in two
ways (repeated keys) or what cannot be written again (lone surrogates, numbers that are no
finite double, `dtype` spelled as an object): those are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tiecli.checkpoints.collecting import pause_collecting
from tiecli.errors import TruncatedFileError, UncoveredBytesError
from tiecli.leaves import DTYPES, LeafSpec

# Source: safetensors 0.8.0, `MAX_HEADER_SIZE`.
LIMIT_HEADER = 100_000_000
_MOST_AXES = 64

Info = Mapping[str, Any]
"""What the header says of one tensor: `dtype`, `shape`, `data_offsets`, and whatever else stood there."""


class Header(NamedTuple):
    """A parsed header.

    Attributes:
        raw: The JSON bytes as they stand in the file, padding included, length prefix not.
        infos: What it says of each tensor, in the order written.
        specs: Shape and dtype of each tensor, in the same order.
        order: Tensor names by where their bytes lie; equal to the written order in most files.
        metadata: `__metadata__`, or None if there is none (or it is null).
    """

    raw: bytes
    infos: Mapping[str, Info]
    specs: Mapping[str, LeafSpec]
    order: tuple[str, ...]
    metadata: Mapping[str, str] | None

    @property
    def data_start(self) -> int:
        """Where the data begins, counted from the start of the file."""
        return 8 + len(self.raw)

    @property
    def data_size(self) -> int:
        """How many bytes of data the tensors cover."""
        return int(self.infos[self.order[-1]]["data_offsets"][1]) if self.order else 0


class _NotPlainError(Exception):
    """The header needs the careful reading."""


def _refuse_plain(_: str) -> Any:
    raise _NotPlainError


def parse_header(raw: bytes, file: str, data_size: int | None) -> Header:
    """Parses a header and checks that its tensors cover the data without hole or overlap.

    Args:
        raw: The JSON bytes.
        file: The name to give in errors.
        data_size: How many bytes follow the header; None where there is no data to check.

    Raises:
        HeaderError: The header is damaged; says where and how.
        TruncatedFileError: The tensors need more bytes than follow.
        UncoveredBytesError: Bytes lie between, before or behind the tensors.
    """
    with pause_collecting():
        header = _parse_plain(raw) or _parse_carefully(raw, file)
    if data_size is not None:
        _check_size(header, file, data_size)
    return header


def _parse_plain(raw: bytes) -> Header | None:
    """Reads a header that shows no oddity at all; None leaves it to the careful reading."""
    if b"\\" in raw and b"\\u" in raw:
        return None
    try:
        root = json.loads(raw.decode("utf-8"), parse_float=_refuse_plain, parse_constant=_refuse_plain)
        metadata = root.pop("__metadata__", None)
        strings = 2 * (len(root) * 5 + (0 if metadata is None else 1 + 2 * len(metadata)))
        if metadata is not None and not set(map(type, metadata.values())) <= {str}:
            return None
        escaped = 0
        if b'\\"' in raw:
            escaped = sum(name.count('"') for name in root)
            escaped += sum(key.count('"') + text.count('"') for key, text in (metadata or {}).items())
        # Each string of the text stands between two quotes, so one more quote than the parsed
        # strings account for betrays a repeated key at any level, or an extra one.
        if raw.count(b'"') != strings + escaped:
            return None
        return _check_plain(raw, root, metadata)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, _NotPlainError):
        return None


def _check_plain(raw: bytes, root: dict[str, Any], metadata: dict[str, str] | None) -> Header | None:
    known: dict[tuple[object, ...], tuple[LeafSpec, int, bool]] = {}
    specs: dict[str, LeafSpec] = {}
    position = 0
    in_order = True
    negative = b"-" in raw and b"-0" in raw
    for name, info in root.items():
        shape = info["shape"]
        key = (info["dtype"], *shape)
        try:
            spec, nbytes, has_one = known[key]
        except KeyError:
            # The product of millions of lengths takes forever, and no real tensor has as many axes.
            if len(shape) > _MOST_AXES:
                return None
            spec = LeafSpec(tuple(shape), DTYPES[info["dtype"]])
            nbytes = spec.nbytes
            has_one = 1 in shape
            if type(shape) is not list or (shape and min(shape) <= 0) or nbytes * 8 != spec.size * spec.dtype.bits:
                return None
            known[key] = spec, nbytes, has_one
        begin, end = info["data_offsets"]
        # `true` equals 1 and `-0` equals 0 to Python, not to the reference.
        if end - begin != nbytes or (has_one and bool in map(type, shape)):
            return None
        if begin < 2 and (negative or type(begin) is not int or type(end) is not int):
            return None
        if begin != position:
            in_order = False
        position = end
        specs[name] = spec
    order = tuple(root) if in_order else _sort_plain(root)
    return None if order is None else Header(raw, root, specs, order, metadata)


def _sort_plain(root: dict[str, Any]) -> tuple[str, ...] | None:
    order = tuple(sorted(root, key=lambda name: (*root[name]["data_offsets"],)))
    position = 0
    for name in order:
        begin, end = root[name]["data_offsets"]
        if begin != position:
            return None
        position = end
    return order


def _parse_carefully(raw: bytes, file: str) -> Header:
    # Reading with care tells what is wrong, and most headers never need it.

    # Most headers are plain, and never need what this brings along.
    from tiecli.checkpoints.safetensors.damage import check_tensors, read_json

    root = read_json(raw, file)
    metadata = root.pop("__metadata__", None)
    specs, order = check_tensors(root, file)
    return Header(raw, root, specs, order, metadata)


def _check_size(header: Header, file: str, data_size: int) -> None:
    needed = header.data_size
    if needed > data_size:
        last = header.order[-1]
        raise TruncatedFileError(
            f"`{file}` is truncated: its header promises {needed:,} bytes of data (up to the end of `{last}`), "
            f"{data_size:,} are there",
            "Download or copy the file again; compare its size with the one at the source.",
        )
    if needed < data_size:
        raise UncoveredBytesError(
            f"`{file}` has {data_size - needed:,} trailing bytes that belong to no tensor: "
            f"its header covers {needed:,} bytes of data, {data_size:,} follow",
            "Download or copy the file again; if it was written so on purpose, cut it to "
            f"{header.data_start + needed} bytes with `truncate --size`.",
        )
