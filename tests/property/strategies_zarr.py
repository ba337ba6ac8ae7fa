"""Zarr arrays: small ones, in every form that a document can give them."""

from __future__ import annotations

from math import prod
from typing import Any

from hypothesis import strategies as st

from tests.unit.checkpoints.zarr.zarrs import BYTES, CRC, GZIP, ZSTD, describe2, describe3, shards, transpose
from tiecli.checkpoints.zarr.members import spell_dtype
from tiecli.leaves import DTYPES

DTYPE_NAMES = [name for name, dtype in DTYPES.items() if dtype.kind != "packed"]

lengths = st.integers(1, 7)
endings = st.sampled_from([[], [ZSTD], [GZIP], [CRC], [ZSTD, CRC], [CRC, ZSTD], [CRC, GZIP, CRC]])
compressors = st.sampled_from([None, *({"id": name, "level": 1} for name in ("zstd", "gzip", "zlib"))])

# Up to how many bytes something is small, if not as usual.
thresholds = st.none() | st.sampled_from([8, 64])


def orders(rank: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Permutations of axes."""
    return st.permutations(range(rank)).map(tuple)


@st.composite
def transposes(draw: st.DrawFn, rank: int) -> list[dict[str, Any]]:
    """None, one or two codecs that permute axes."""
    return [transpose(*draw(orders(rank))) for _ in range(draw(st.integers(0, 2)))]


@st.composite
def documents2(draw: st.DrawFn) -> dict[str, Any]:
    """A `.zarray`."""
    shape = draw(st.lists(lengths, max_size=4))
    return describe2(
        shape,
        [draw(st.integers(1, length + 1)) for length in shape],
        dtype=spell_dtype(DTYPES[draw(st.sampled_from(DTYPE_NAMES))], 2),
        order=draw(st.sampled_from("CF")),
        compressor=draw(compressors),
        dimension_separator=draw(st.sampled_from("./")),
    )


@st.composite
def documents3(draw: st.DrawFn) -> dict[str, Any]:
    """A `zarr.json`."""
    shape = draw(st.lists(lengths, max_size=4))
    rank = len(shape)
    parts = [draw(st.integers(1, length + 1)) for length in shape]
    ending = [*draw(transposes(rank)), BYTES, *draw(endings)]
    dtype = DTYPES[draw(st.sampled_from(DTYPE_NAMES))]
    chunks, codecs = parts, ending
    if draw(st.booleans()):
        before = draw(transposes(rank))
        ratios = [draw(st.integers(1, 3)) for _ in shape]
        chunks = [part * ratio for part, ratio in zip(parts, ratios, strict=True)]
        turned = parts
        for codec in before:
            turned = [turned[axis] for axis in codec["configuration"]["order"]]
        index = draw(st.sampled_from([[BYTES], [BYTES, CRC]]))
        codecs = [*before, shards(turned, ending, index, draw(st.sampled_from(["start", "end"])))]
    style = draw(
        st.sampled_from([{"name": "default"}, {"name": "v2"}, {"name": "v2", "configuration": {"separator": "/"}}])
    )
    names = draw(st.sampled_from([{}, {"dimension_names": [f"axis {number}" for number in range(rank)]}]))
    return describe3(shape, chunks, codecs, data_type=dtype.numpy_name, chunk_key_encoding=style, **names)


documents = documents2() | documents3()


@st.composite
def values(draw: st.DrawFn, shape: tuple[int, ...], itemsize: int) -> bytes:
    """The bytes of an array, any of them."""
    seed = draw(st.integers(1, 250))
    return bytes((7 * place * seed + place // 251) % 256 for place in range(prod(shape) * itemsize))
