"""Arrays: what of zarr metadata is understood, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.checkpoints.zarr.zarrs import BYTES, CRC, GZIP, ZSTD, describe2, describe3, read, shards, transpose
from tiecli.checkpoints.zarr.arrays import make_array, parse_array
from tiecli.checkpoints.zarr.members import spell_dtype
from tiecli.errors import OrbaxMetadataError, UnsupportedCheckpointError
from tiecli.leaves import DTYPES, LeafSpec

F32 = DTYPES["F32"]


def test_what_orbax_writes() -> None:
    """Its defaults: one chunk compressed by zstd, in zarr 3 as the only part of a shard."""
    two = read(describe2([4, 6], [4, 6], dtype="bfloat16"))
    three = read(describe3([4, 6], [4, 6], [shards([4, 6], [BYTES, ZSTD])]))

    assert (two.version, two.spec, two.chunk_shape) == (2, LeafSpec((4, 6), DTYPES["BF16"]), (4, 6))
    assert (three.version, three.spec, three.chunk_shape) == (3, LeafSpec((4, 6), F32), (4, 6))
    assert (two.codec, three.codec) == ("zstd", "zstd, sharded")
    assert two.encoding != three.encoding
    assert list(two.chunk_keys()) == ["0.0"]
    assert list(three.chunk_keys()) == ["c/0/0"]


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        (describe2([], []), ["0"]),
        (describe3([], [], [BYTES]), ["c"]),
        (describe3([], [], [BYTES], chunk_key_encoding={"name": "v2"}), ["0"]),
        (describe2([3, 2], [2, 1]), ["0.0", "0.1", "1.0", "1.1"]),
        (describe2([3], [1], dimension_separator="/"), ["0", "1", "2"]),
        (describe2([3, 1], [2, 1], dimension_separator="/"), ["0/0", "1/0"]),
        (describe3([3, 1], [2, 1], [BYTES]), ["c/0/0", "c/1/0"]),
        (describe2([0, 5], [1, 5]), []),
    ],
)
def test_chunk_keys(document: dict[str, Any], keys: list[str]) -> None:
    """They are spelled as the document says, in C order of the grid."""
    assert list(read(document).chunk_keys()) == keys


def test_keys_of_many_chunks_come_one_by_one() -> None:
    """A million of them are not made before the first is asked for, and their order is the same."""
    document = describe2([5000, 3], [1, 2])

    assert list(read(document).chunk_keys()) == [f"{row}.{column}" for row in range(5000) for column in range(2)]


@pytest.mark.parametrize(
    "document",
    [
        describe2([4, 6], [4, 6], compressor=None),
        describe2([4, 6], [4, 6], compressor=None, filters=[]),
        describe2([6], [6], compressor=None, order="F"),
        describe2([], [], compressor=None),
        describe2([1, 6], [1, 6], compressor=None, order="F"),
        describe3([4, 6], [4, 6], [BYTES]),
        describe3([1, 6], [1, 6], [transpose(1, 0), BYTES]),
        describe3([4, 6], [4, 6], [transpose(1, 0), transpose(1, 0), BYTES]),
    ],
)
def test_raw(document: dict[str, Any]) -> None:
    """One chunk without codecs in C order is the leaf itself, however that is said."""
    metadata = read(document)

    assert metadata.encoding == "raw"
    assert metadata.stored_nbytes == metadata.spec.nbytes


@pytest.mark.parametrize(
    "document",
    [
        describe2([4, 6], [4, 6], compressor=None, order="F"),
        describe2([4, 6], [2, 6], compressor=None),
        describe2([4, 6], [5, 6], compressor=None),
        describe3([4, 6], [4, 6], [BYTES, CRC]),
        describe3([4, 6], [4, 6], [transpose(1, 0), BYTES]),
        describe3([4, 6], [4, 6], [shards([4, 6], [BYTES])]),
    ],
)
def test_not_raw(document: dict[str, Any]) -> None:
    """Anything else is told apart from it."""
    assert read(document).encoding != "raw"


def test_encoding_passes_over_levels_and_names() -> None:
    """It says what bytes mean, not how they came to be, nor what chunks are called."""
    document = describe2([4, 6], [2, 6])
    other = describe2([4, 6], [2, 6], compressor={"id": "zstd", "level": 19}, dimension_separator="/")

    assert read(document).encoding == read(other).encoding
    assert read(document).encoding != read(describe2([4, 6], [2, 6], dtype="<i4")).encoding
    assert read(document).encoding != read(describe2([6, 4], [6, 2])).encoding
    assert read(document).encoding != read(describe2([4, 6], [2, 6], order="F")).encoding


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if dtype.kind != "packed"])
def test_dtypes(name: str) -> None:
    """Every dtype of a whole number of bytes has its name in either version."""
    dtype = DTYPES[name]

    assert read(describe2([2], [2], dtype=spell_dtype(dtype, 2))).spec.dtype is dtype
    assert read(describe3([2], [2], [BYTES], data_type=spell_dtype(dtype, 3))).spec.dtype is dtype


Z3 = describe3([4, 6], [4, 6], [BYTES])
Z2 = describe2([4, 6], [4, 6])

UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "big-endian": ({**Z2, "dtype": ">f4"}, "holds `>f4`, numbers in big-endian order"),
    "a record": ({**Z2, "dtype": [["a", "<f4"]]}, "holds "),
    "text": ({**Z2, "dtype": "<U4"}, "holds '<U4'"),
    "one element a byte": ({**Z2, "dtype": "int4"}, "holds 'int4'"),
    "packed": ({**Z3, "data_type": "float4_e2m1fn"}, "holds 'float4_e2m1fn'"),
    "complex128": ({**Z2, "dtype": "<c16"}, "holds '<c16'"),
    "a safetensors name": ({**Z3, "data_type": "BF16"}, "holds 'BF16'"),
    "blosc": ({**Z2, "compressor": {"id": "blosc", "cname": "lz4"}}, "is compressed by 'blosc'"),
    "filters": ({**Z2, "filters": [{"id": "delta"}]}, "has filters"),
    "a codec": (describe3([4, 6], [4, 6], [BYTES, {"name": "blosc"}]), "has the codec 'blosc'"),
    "a codec in place of bytes": (describe3([4], [4], [ZSTD]), "has the codec 'zstd' where `bytes` is expected"),
    "big-endian 3": (
        describe3([4], [4], [{"name": "bytes", "configuration": {"endian": "big"}}]),
        "stores numbers in the byte order 'big'",
    ),
    "two compressors": (describe3([4], [4], [BYTES, ZSTD, GZIP]), "has the codecs zstd, gzip one after another"),
    "two checksums": (describe3([4], [4], [BYTES, CRC, CRC]), "has the codecs crc32c, crc32c one after another"),
    "compressed shards": (describe3([4], [4], [shards([2], [BYTES]), ZSTD]), "has shards that go through 'zstd'"),
    "shards of shards": (
        describe3([4], [4], [shards([2], [shards([1], [BYTES])])]),
        "has the codec 'sharding_indexed' where `bytes` is expected",
    ),
    "a compressed index": (
        describe3([4], [4], [shards([2], [BYTES], [BYTES, GZIP])]),
        "has a compressed shard index",
    ),
    "too many parts": (describe3([1 << 20], [1 << 20], [shards([1], [BYTES])]), "has 1,048,576 parts in each shard"),
    "too many chunks": (describe2([1 << 21], [1]), "states 2,097,152 chunks"),
    "another grid": ({**Z3, "chunk_grid": {"name": "rectangular"}}, "has the chunk grid 'rectangular'"),
    "other keys": ({**Z3, "chunk_key_encoding": {"name": "hex"}}, "has the chunk key encoding 'hex'"),
    "transformers": ({**Z3, "storage_transformers": [{}]}, "has storage transformers"),
    "an unknown member": ({**Z3, "secret": {}}, "has the member `secret`"),
}


@pytest.mark.parametrize(("document", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_unsupported(document: dict[str, Any], message: str) -> None:
    """What tiecli cannot read is named."""
    with pytest.raises(UnsupportedCheckpointError) as caught:
        read(document)

    assert caught.value.message.startswith("`w` " + message)
    assert caught.value.hints


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({}, "`zarr_format` is None, expected 2 or 3"),
    "another version": ({**Z2, "zarr_format": 4}, "`zarr_format` is 4"),
    "a shape of words": ({**Z2, "shape": ["4", 6]}, "`shape` is no list of lengths"),
    "a shape of truths": ({**Z2, "shape": [True, 6]}, "`shape` is no list of lengths"),
    "a negative length": ({**Z2, "chunks": [4, -6]}, "`chunks` is no list of lengths"),
    "another rank": ({**Z2, "chunks": [4]}, "chunks of [4] do not make up the shape [4, 6]"),
    "chunks of nothing": ({**Z2, "chunks": [4, 0]}, "chunks of [4, 0] do not make up the shape [4, 6]"),
    "too many axes": (describe2([1] * 33, [1] * 33), "it has 33 axes"),
    "too many bytes": (describe2([1 << 31, 1 << 31], [1 << 31, 1 << 31]), "it states more bytes than any disk holds"),
    "an absurd chunk": (describe2([4], [1 << 60]), "it states more bytes than any disk holds"),
    "an order": ({**Z2, "order": "A"}, "`order` is 'A', expected `C` or `F`"),
    "a compressor": ({**Z2, "compressor": "zstd"}, "`compressor` is neither null nor an object with an `id`"),
    "a level": ({**Z2, "compressor": {"id": "zstd", "level": "1"}}, "'zstd' has the level '1', expected -131072 to 22"),
    "a separator": ({**Z2, "dimension_separator": ""}, "its chunk keys are separated by '', expected `.` or `/`"),
    "a group": ({**Z3, "node_type": "group"}, "`node_type` is 'group', expected `array`"),
    "no codecs": ({**Z3, "codecs": None}, "`codecs` is no list"),
    "no bytes": ({**Z3, "codecs": [transpose(1, 0)]}, "its `codecs` make no bytes"),
    "a nameless codec": ({**Z3, "codecs": [{}]}, "one of its `codecs` is no object with a `name`"),
    "a nameless grid": ({**Z3, "chunk_grid": 1}, "`chunk_grid` is no object with a `name`"),
    "axes twice": ({**Z3, "codecs": [transpose(0, 0), BYTES]}, "the codec `transpose` has the order [0, 0]"),
    "parts that do not fit": (describe3([4], [4], [shards([3], [BYTES])]), "its shards of [4] cannot be cut into"),
    "parts of another rank": (describe3([4], [4], [shards([4, 1], [BYTES])]), "the `chunk_shape` of its shards is no"),
    "an index in the middle": (describe3([4], [4], [shards([4], [BYTES], place="middle")]), "`index_location` is"),
    "names": ({**Z3, "dimension_names": ["a"]}, "`dimension_names` is no list with a name for every axis"),
}


@pytest.mark.parametrize(("document", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged(document: dict[str, Any], message: str) -> None:
    """What makes no sense is refused, with what was found."""
    with pytest.raises(OrbaxMetadataError) as caught:
        read(document)

    assert caught.value.message.startswith("`w` is damaged: " + message)


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"zarr_format": 1' + b"0" * 5000 + b"}"])
def test_no_json(raw: bytes) -> None:
    """What is no JSON object is refused, however deep or long."""
    with pytest.raises(OrbaxMetadataError):
        parse_array(raw, "w")


def test_absurdly_long() -> None:
    """Nobody has to parse a document of megabytes."""
    with pytest.raises(OrbaxMetadataError, match="it has 2,000,000 bytes"):
        parse_array(b" " * 2_000_000, "w")


def test_equal_documents_are_parsed_once() -> None:
    """A tree of many equal leaves opens quickly; a refusal names each leaf."""
    raw, bad = json.dumps(Z2).encode(), json.dumps({**Z2, "order": 1}).encode()

    assert parse_array(raw, "a") is parse_array(raw, "b")
    for label in ("a", "b"):
        with pytest.raises(OrbaxMetadataError, match=f"`{label}`"):
            parse_array(bad, label)


def test_unknown_members_that_need_not_be_understood() -> None:
    """Zarr 3 lets anybody add such, and zarr 2 lets anybody add any."""
    assert read({**Z3, "hint": {"must_understand": False}}).spec == read({**Z2, "hint": 1}).spec


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "like",
    [
        None,
        read(Z2),
        read({**Z2, "compressor": {"id": "zlib", "level": 3}, "order": "F"}),
        read(describe3([4], [4], [BYTES, CRC])),
        read(describe3([8], [8], [shards([2], [BYTES, ZSTD])])),
    ],
    ids=["plain", "zstd", "zlib", "checked", "sharded"],
)
def test_make_array(version: Any, like: Any) -> None:
    """A new leaf is one chunk in C order, compressed as another is."""
    made = make_array(LeafSpec((3, 5), F32), version, like=like)
    compressor = like.codec.split(",")[0].replace("crc32c", "none") if like else "none"

    assert made.spec == LeafSpec((3, 5), F32)
    assert made.chunk_shape == (3, 5)
    assert made.layout.axes == (0, 1)
    assert (made.layout.sharding is not None) == (version == 3 and like is not None and "sharded" in like.codec)
    assert made.codec.split(",")[0] == (compressor if version == 2 else compressor.replace("zlib", "gzip"))
    assert parse_array(made.to_bytes(), "w") == made


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((1 << 20, 1 << 10), (1 << 16, 1 << 10)), ((3, 1 << 28), (1, 1 << 26)), ((0, 4), (1, 4)), ((), ())],
)
def test_large_leaves_are_cut(shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    """No new chunk has more than 256 MiB, for whoever reads it holds it whole."""
    assert make_array(LeafSpec(shape, F32), 2).chunk_shape == chunks


def test_packed_leaves_cannot_be_made() -> None:
    """Zarr would store one of their elements a byte."""
    with pytest.raises(UnsupportedCheckpointError, match="holds F4, for which zarr has no name"):
        make_array(LeafSpec((4,), DTYPES["F4"]), 2)
