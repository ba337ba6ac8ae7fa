"""Header: the JSON at the front of a safetensors file, parsed strictly and fast.

Whatever safetensors 0.8.0 accepts is accepted, save for what two parsers could read in two
ways (repeated keys) or what cannot be written again (lone surrogates, numbers that are no
finite double, `dtype` spelled as an object): those are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
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


_PLAIN = json.JSONDecoder(parse_float=_refuse_plain, parse_constant=_refuse_plain)
_NEGATIVE_ZERO = re.compile(rb"[\[,:\s]-0")


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
        root = _PLAIN.decode(raw.decode("utf-8"))
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
    known: dict[tuple[object, ...], tuple[LeafSpec, int]] = {}
    specs: dict[str, LeafSpec] = {}
    position = 0
    in_order = True
    for name, info in root.items():
        key = (info["dtype"], *info["shape"])
        found = known.get(key)
        if found is None:
            found = known[key] = _measure_plain(info["dtype"], info["shape"])
        begin, end = info["data_offsets"]
        specs[name], nbytes = found
        if begin != position:
            in_order = False
        position = begin + nbytes
        if end != position:
            return None
    order = tuple(root) if in_order else _sort_plain(root)
    if order is None or _has_odd_numbers(raw, root, order, known):
        return None
    return Header(raw, root, specs, order, metadata)


def _measure_plain(dtype: str, shape: list[int]) -> tuple[LeafSpec, int]:
    """Gives a shape and dtype, and how many bytes they take."""
    # The product of millions of lengths takes forever, and no real tensor has as many axes.
    if type(shape) is not list or len(shape) > _MOST_AXES or (shape and min(shape) <= 0):
        raise _NotPlainError
    spec = LeafSpec(tuple(shape), DTYPES[dtype])
    if spec.nbytes * 8 != spec.size * spec.dtype.bits:
        raise _NotPlainError
    return spec, spec.nbytes


def _has_odd_numbers(
    raw: bytes, root: dict[str, Any], order: tuple[str, ...], known: Iterable[tuple[object, ...]]
) -> bool:
    """Whether a length or an offset may be `true`, which equals 1 to Python and not to the reference; or `-0`."""
    # One search for a single byte is a hundred times as fast as one for two.
    if b"-" in raw and b"-0" in raw and _NEGATIVE_ZERO.search(raw):
        return True
    # No tensor is empty, so that only the first two offsets, and the end of the first, are below 2.
    numbers = [number for name in order[:2] for number in root[name]["data_offsets"]]
    if any(1 in key for key in known):
        numbers += [length for info in root.values() for length in info["shape"]]
    return not set(map(type, numbers)) <= {int}


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
