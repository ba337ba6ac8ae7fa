"""Members: the parts of a zarr document that say what an array is, each read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tiecli.checkpoints.jsonfiles import damaged
from tiecli.checkpoints.zarr.codecs import Shape, unsupported
from tiecli.leaves import DTYPES, DType

_KINDS = {"bool": "b", "int": "i", "uint": "u", "float": "f", "complex": "c"}
_MEMBERS3 = frozenset({"zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs"})
_MEMBERS3 |= {"fill_value", "attributes", "dimension_names", "storage_transformers"}


def _spell_numpy(dtype: DType) -> str:
    """Spells a dtype as zarr 2 does: as numpy, or by its name where numpy has none."""
    kind = _KINDS.get(dtype.numpy_name.rstrip("0123456789"))
    if kind is None:
        return dtype.numpy_name
    return f"{'|' if dtype.bits == 8 else '<'}{kind}{dtype.bits // 8}"


# Zarr stores packed elements one a byte, where every other format stores several: they are left out.
_BY_NAME: Mapping[str, DType] = MappingProxyType(
    {dtype.numpy_name: dtype for dtype in DTYPES.values() if dtype.kind != "packed"}
)
_SPELLINGS: Mapping[DType, str] = MappingProxyType({dtype: _spell_numpy(dtype) for dtype in _BY_NAME.values()})
_BY_SPELLING: Mapping[str, DType] = MappingProxyType({text: dtype for dtype, text in _SPELLINGS.items()})


class KeyStyle(NamedTuple):
    """How the key of a chunk is spelled: `c/0/1` has the prefix `c` and the separator `/`."""

    prefix: str
    separator: str

    def spell(self, index: tuple[int, ...]) -> str:
        """Spells the key of the chunk at an index of the grid.

        Example:
            >>> KeyStyle("c", "/").spell((0, 1)), KeyStyle("", ".").spell(())
            ('c/0/1', '0')
        """
        parts = [self.prefix] if self.prefix else []
        return self.separator.join([*parts, *map(str, index)]) or "0"


def spell_dtype(dtype: DType, version: int) -> str:
    """Spells a dtype as a version of zarr does.

    Raises:
        KeyError: It has no name there.

    Example:
        >>> spell_dtype(DTYPES["F32"], 2), spell_dtype(DTYPES["F32"], 3), spell_dtype(DTYPES["BF16"], 2)
        ('<f4', 'float32', 'bfloat16')
    """
    spelling = _SPELLINGS[dtype]
    return spelling if version == 2 else dtype.numpy_name


def read_dtype2(spelling: object, label: str) -> DType:
    """Reads a `dtype` of zarr 2.

    Raises:
        UnsupportedCheckpointError: It is none that tiecli knows.
    """
    found = _BY_SPELLING.get(spelling) if isinstance(spelling, str) else None
    if found is None and isinstance(spelling, str) and spelling[:1] == ">" and "<" + spelling[1:] in _BY_SPELLING:
        raise unsupported(label, f"holds `{spelling}`, numbers in big-endian order")
    return _check_dtype(found, spelling, label)


def read_dtype3(spelling: object, label: str) -> DType:
    """Reads a `data_type` of zarr 3.

    Raises:
        UnsupportedCheckpointError: It is none that tiecli knows.
    """
    return _check_dtype(_BY_NAME.get(spelling) if isinstance(spelling, str) else None, spelling, label)


def _check_dtype(found: DType | None, spelling: object, label: str) -> DType:
    if found is None:
        raise unsupported(label, f"holds {str(spelling)[:40]!r}")
    return found


def read_lengths(value: object, name: str, label: str) -> Shape:
    """Reads a list of lengths, one for every axis.

    Raises:
        OrbaxMetadataError: It is none.
    """
    if not isinstance(value, list) or any(type(length) is not int or length < 0 for length in value):
        raise damaged(label, f"`{name}` is no list of lengths")
    return tuple(value)


def check_members3(document: Mapping[str, Any], label: str) -> None:
    """Checks that a zarr 3 document says nothing that has to be understood and is not.

    Raises:
        OrbaxMetadataError: It is damaged, or no array.
        UnsupportedCheckpointError: It says something that tiecli does not know.
    """
    if document.get("node_type") != "array":
        raise damaged(label, f"`node_type` is {document.get('node_type')!r}, expected `array`")
    for name in document.keys() - _MEMBERS3:
        member = document[name]
        if not isinstance(member, dict) or member.get("must_understand") is not False:
            raise unsupported(label, f"has the member `{name}`")
    if document.get("storage_transformers"):
        raise unsupported(label, "has storage transformers")
    names, shape = document.get("dimension_names"), document.get("shape")
    if names is not None and not (isinstance(names, list) and isinstance(shape, list) and len(names) == len(shape)):
        raise damaged(label, "`dimension_names` is no list with a name for every axis")


def read_grid3(grid: object, label: str) -> Shape:
    """Reads a `chunk_grid` of zarr 3: the shape of its chunks.

    Raises:
        OrbaxMetadataError: It is damaged.
        UnsupportedCheckpointError: Its chunks are not all of one shape.
    """
    name, settings = _read_named(grid, "chunk_grid", label)
    if name != "regular":
        raise unsupported(label, f"has the chunk grid {name!r}")
    return read_lengths(settings.get("chunk_shape"), "chunk_shape", label)


def read_style2(document: Mapping[str, Any], label: str) -> KeyStyle:
    """Reads how zarr 2 calls its chunks.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    return _check_style(KeyStyle("", document.get("dimension_separator", ".")), label)


def read_style3(encoding: object, label: str) -> KeyStyle:
    """Reads how zarr 3 calls its chunks.

    Raises:
        OrbaxMetadataError: It is damaged.
        UnsupportedCheckpointError: It is in a way that tiecli does not know.
    """
    name, settings = _read_named(encoding, "chunk_key_encoding", label)
    if name not in ("default", "v2"):
        raise unsupported(label, f"has the chunk key encoding {name!r}")
    prefix, usual = ("c", "/") if name == "default" else ("", ".")
    return _check_style(KeyStyle(prefix, settings.get("separator", usual)), label)


def _check_style(style: KeyStyle, label: str) -> KeyStyle:
    if style.separator not in (".", "/"):
        raise damaged(label, f"its chunk keys are separated by {style.separator!r}, expected `.` or `/`")
    return style


def _read_named(member: object, what: str, label: str) -> tuple[str, Mapping[str, Any]]:
    settings = member.get("configuration", {}) if isinstance(member, dict) else None
    if not isinstance(member, dict) or not isinstance(settings, dict) or not isinstance(member.get("name"), str):
        raise damaged(label, f"`{what}` is no object with a `name`")
    return member["name"], settings
