"""tensorstore and tiecli read the same values from each other's chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.checkpoints.zarr.zarrs import (
    BYTES,
    CRC,
    GZIP,
    ZSTD,
    describe2,
    describe3,
    open_leaf,
    read,
    read_all,
    shards,
    store,
    transpose,
)
from tiecli.checkpoints.blocks import numpy_dtype
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS, ArrayMetadata, make_array, parse_array
from tiecli.checkpoints.zarr.chunks import ChunkedLeaf, StoredChunk
from tiecli.checkpoints.zarr.spool import Spool
from tiecli.errors import UnsupportedCheckpointError
from tiecli.leaves import DTYPES, LeafSpec

DTYPE_NAMES = [name for name, dtype in DTYPES.items() if dtype.kind != "packed"]
ENDINGS: tuple[list[dict[str, Any]], ...] = ([], [ZSTD], [GZIP], [CRC], [ZSTD, CRC], [CRC, ZSTD])
GRIDS = (((), ()), ((7,), (3,)), ((5, 6), (5, 6)), ((5, 7), (2, 4)), ((4, 5, 6), (2, 5, 4)), ((1, 9), (1, 4)))


@pytest.fixture(scope="module")
def tensorstore() -> Any:
    """The library tensorstore, or skip."""
    return pytest.importorskip("tensorstore", reason="tensorstore comes with the extra `peer`")


Connect = Callable[..., Any]


@pytest.fixture
def connect(tensorstore: Any, tmp_path: Path) -> Connect:
    """Opens an array in tensorstore, which takes no missing chunk for zeros."""

    def connect_array(version: int, **members: Any) -> Any:
        spec = {"driver": "zarr" if version == 2 else "zarr3", "kvstore": f"file://{tmp_path}/"}
        return tensorstore.open({**spec, "fill_missing_data_reads": False, **members}).result()

    return connect_array


def documents() -> dict[str, dict[str, Any]]:
    """Arrays in every order and compression, cut in several ways."""
    found: dict[str, dict[str, Any]] = {}
    for shape, chunks in GRIDS:
        rank = len(shape)
        # Tensorstore knows no order F of a single axis.
        for order in "CF" if rank > 1 else "C":
            for compressor in (None, "zstd", "gzip", "zlib"):
                members = {"order": order, "compressor": compressor and {"id": compressor, "level": 1}}
                found[f"2 {shape} {order} {compressor}"] = describe2(shape, chunks, **members)
        for axes in {tuple(range(rank)), tuple(range(rank))[::-1], (*range(1, rank), *range(min(rank, 1)))}:
            turn = [transpose(*axes)] if axes != tuple(range(rank)) else []
            turned = [chunks[axis] for axis in axes]
            for ending in ENDINGS:
                codecs = [*turn, BYTES, *ending]
                name = f"3 {shape} {axes} {'+'.join(codec['name'] for codec in ending)}"
                found[name] = describe3(shape, chunks, codecs)
                whole = [2 * side for side in chunks]
                found[f"{name} shards"] = describe3(shape, whole, [shards(chunks, codecs)])
                found[f"{name} turned shards"] = describe3(shape, whole, [*turn, shards(turned, codecs, place="start")])
    return found


def make_values(metadata: ArrayMetadata) -> NDArray[Any]:
    """Makes an array that a document fits, of any bits."""
    spec = metadata.spec
    dtype = numpy_dtype(spec.dtype, "w")
    bits: NDArray[Any] = np.random.default_rng(7).integers(0, 2 if dtype == np.bool_ else 256, spec.nbytes, np.uint8)
    array: NDArray[Any] = bits.view(dtype).reshape(spec.shape)
    return array


def write_files(directory: Path, metadata: ArrayMetadata, stored: Mapping[str, bytes]) -> None:
    """Puts an array where tensorstore can find it."""
    for key, raw in {METADATA_KEYS[metadata.version]: metadata.to_bytes(), **stored}.items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


def read_files(directory: Path, version: int) -> tuple[ArrayMetadata, bytes]:
    """Reads an array that tensorstore wrote."""
    metadata = parse_array((directory / METADATA_KEYS[version]).read_bytes(), "w")
    with ExitStack() as stack:
        chunks = []
        for key in metadata.chunk_keys():
            descriptor = os.open(directory / key, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            chunks.append(StoredChunk(descriptor, 0, os.fstat(descriptor).st_size))
        return metadata, read_all(ChunkedLeaf(metadata, chunks, "w", Spool()))


def read_peer(connect: Connect, version: int) -> NDArray[Any]:
    """Reads an array by tensorstore."""
    found: NDArray[Any] = connect(version).read().result()
    return found


@pytest.mark.parametrize("document", documents().values(), ids=documents().keys())
def test_reads_what_is_encoded(document: dict[str, Any], connect: Connect, tmp_path: Path) -> None:
    """tensorstore reads the values that tiecli stored."""
    metadata = read(document)
    array = make_values(metadata)
    write_files(tmp_path, metadata, store(metadata, array.tobytes()))

    assert read_peer(connect, metadata.version).tobytes() == array.tobytes()


@pytest.mark.parametrize("document", documents().values(), ids=documents().keys())
def test_reads_what_tensorstore_wrote(document: dict[str, Any], connect: Connect, tmp_path: Path) -> None:
    """tiecli reads the values that tensorstore stored, and writes its metadata as it does."""
    array = make_values(read(document))
    created = connect(document["zarr_format"], metadata=document, create=True, store_data_equal_to_fill_value=True)
    created.write(array).result()
    metadata, raw = read_files(tmp_path, document["zarr_format"])

    assert raw == array.tobytes()
    assert metadata.to_bytes() == (tmp_path / METADATA_KEYS[metadata.version]).read_bytes()
    assert metadata.encoding == read(document).encoding


@pytest.mark.parametrize("name", DTYPE_NAMES)
@pytest.mark.parametrize("version", [2, 3])
def test_dtypes(version: Any, name: str, connect: Connect, tmp_path: Path) -> None:
    """New leaves of every dtype are arrays to tensorstore, of the dtype of that name."""
    metadata = make_array(LeafSpec((3, 5), DTYPES[name]), version)
    array = make_values(metadata)
    write_files(tmp_path, metadata, store(metadata, array.tobytes()))
    opened = connect(version)

    assert opened.dtype.name == DTYPES[name].numpy_name
    assert opened.read().result().tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["int4", "int2", "float4_e2m1fn", "float8_e3m4", "float8_e4m3b11fnuz", "complex128"])
@pytest.mark.parametrize("version", [2, 3])
def test_other_dtypes_are_refused(version: int, name: str, connect: Connect, tmp_path: Path) -> None:
    """What tensorstore stores and tiecli does not know is named."""
    connect(version, create=True, dtype=name, schema={"domain": {"shape": [2]}})
    raw = (tmp_path / METADATA_KEYS[version]).read_bytes()

    with pytest.raises(UnsupportedCheckpointError, match="c16|" + name):
        parse_array(raw, "w")


@pytest.mark.parametrize("document", documents().values(), ids=documents().keys())
def test_permuted_metadata(document: dict[str, Any], connect: Connect, tmp_path: Path) -> None:
    """Under permuted metadata, tensorstore reads the same stored bytes as the permuted array."""
    metadata = read(document)
    axes = tuple(range(len(metadata.spec.shape)))[::-1]
    array = make_values(metadata)
    stored = store(metadata, array.tobytes())
    permuted, keys = metadata.permute(axes)
    write_files(tmp_path, permuted, {new: stored[old] for new, old in keys.items()})
    found = read_peer(connect, metadata.version)

    assert found.shape == array.transpose(axes).shape
    assert found.tobytes() == array.transpose(axes).tobytes()


@pytest.mark.parametrize("axes", [(1, 2, 0), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("whole", [[4, 6, 8], [8, 6, 8]])
def test_permuted_otherwise(axes: tuple[int, ...], whole: list[int], connect: Connect, tmp_path: Path) -> None:
    """Zarr 3 can say any permutation, of many parts in a shard too."""
    metadata = read(describe3([7, 11, 9], whole, [shards([4, 3, 2], [BYTES, ZSTD])]))
    array = make_values(metadata)
    stored = store(metadata, array.tobytes())
    permuted, keys = metadata.permute(axes)
    write_files(tmp_path, permuted, {new: stored[old] for new, old in keys.items()})

    assert read_peer(connect, 3).tobytes() == array.transpose(axes).tobytes()
    assert (
        read_all(open_leaf(permuted, {new: stored[old] for new, old in keys.items()}))
        == array.transpose(axes).tobytes()
    )


def test_missing_parts_are_no_zeros(connect: Connect, tmp_path: Path) -> None:
    """A part that tensorstore left out of a shard is missing, to either."""
    from tiecli.errors import MissingChunkError

    document = describe3([4, 4], [4, 4], [shards([2, 2], [BYTES])])
    created = connect(3, metadata=document, create=True, store_data_equal_to_fill_value=False)
    created[:2].write(np.ones((2, 4), np.float32)).result()

    with pytest.raises(MissingChunkError, match="part 2 of the shard `w/c/0/0`"):
        read_files(tmp_path, 3)
    with pytest.raises(ValueError, match="missing"):
        read_peer(connect, 3)
