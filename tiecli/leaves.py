"""Leaves: what a leaf is without its values, and every dtype a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["float", "integer", "bool", "complex", "packed"]


# Named tuples, since a checkpoint has tens of thousands of specs: they are made and hashed in C.
class DType(NamedTuple):
    """One element type, under each name it goes by.

    Attributes:
        name: The safetensors code, which tiecli shows: `BF16`.
        numpy_name: What numpy or ml_dtypes call it: `bfloat16`. For packed types the
            ml_dtypes name of one element, though the stored bytes hold several.
        bits: Stored size of one element, in bits.
        kind: How it computes. `packed` elements are smaller than a byte: they can be
            compared and copied, and nothing else.
    """

    name: str
    numpy_name: str
    bits: int
    kind: Kind

    def __str__(self) -> str:
        return self.name


def _table(*rows: tuple[str, str, int, Kind]) -> Mapping[str, DType]:
    return MappingProxyType({row[0]: DType(*row) for row in rows})


# Source: safetensors 0.8.0, `enum Dtype`, in its order (which is also its writer's sort key).
DTYPES: Mapping[str, DType] = _table(
    ("BOOL", "bool", 8, "bool"),
    ("F4", "float4_e2m1fn", 4, "packed"),
    ("F6_E2M3", "float6_e2m3fn", 6, "packed"),
    ("F6_E3M2", "float6_e3m2fn", 6, "packed"),
    ("U8", "uint8", 8, "integer"),
    ("I8", "int8", 8, "integer"),
    ("F8_E5M2", "float8_e5m2", 8, "float"),
    ("F8_E4M3", "float8_e4m3fn", 8, "float"),
    ("F8_E8M0", "float8_e8m0fnu", 8, "float"),
    ("F8_E4M3FNUZ", "float8_e4m3fnuz", 8, "float"),
    ("F8_E5M2FNUZ", "float8_e5m2fnuz", 8, "float"),
    ("I16", "int16", 16, "integer"),
    ("U16", "uint16", 16, "integer"),
    ("F16", "float16", 16, "float"),
    ("BF16", "bfloat16", 16, "float"),
    ("I32", "int32", 32, "integer"),
    ("U32", "uint32", 32, "integer"),
    ("F32", "float32", 32, "float"),
    ("C64", "complex64", 64, "complex"),
    ("F64", "float64", 64, "float"),
    ("I64", "int64", 64, "integer"),
    ("U64", "uint64", 64, "integer"),
)

_BY_SPELLING: Mapping[str, DType] = MappingProxyType(
    {spelling: dtype for dtype in DTYPES.values() for spelling in (dtype.name.lower(), dtype.numpy_name)}
)


def find_dtype(spelling: str) -> DType | None:
    """Finds a dtype by any of its names: `BF16`, `bf16` or `bfloat16`.

    Example:
        >>> find_dtype("bfloat16")
        DType(name='BF16', numpy_name='bfloat16', bits=16, kind='float')
        >>> find_dtype("f128") is None
        True
    """
    return _BY_SPELLING.get(spelling.lower())


class LeafSpec(NamedTuple):
    """The shape and dtype of a leaf, without its values.

    Attributes:
        shape: Length of each axis; `()` is a scalar.
        dtype: The element type.
    """

    shape: tuple[int, ...]
    dtype: DType

    @property
    def size(self) -> int:
        """The number of elements; 1 for a scalar, 0 if any axis is empty."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The stored size in bytes.

        Example:
            >>> LeafSpec((50257, 768), DTYPES["F32"]).nbytes
            154389504
            >>> LeafSpec((2,), DTYPES["F4"]).nbytes
            1
        """
        return self.size * self.dtype.bits // 8

    def __str__(self) -> str:
        return f"{self.dtype} {'×'.join(map(str, self.shape)) or 'scalar'}"


def format_bytes(nbytes: int) -> str:
    """Spells a size in binary units, to a tenth.

    Example:
        >>> format_bytes(154389504)
        '147.2 MiB'
        >>> format_bytes(12)
        '12 B'
    """
    size = float(nbytes)
    if abs(size) < 1024:
        return f"{nbytes} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1023.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
