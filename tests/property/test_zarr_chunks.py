"""However a leaf is cut, turned and compressed, its values come back, whole, in boxes and in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_zarr import documents, orders, thresholds, values
from tests.unit.checkpoints.zarr.zarrs import limits, open_leaf, read, read_all, store
from tiecli.checkpoints.blocks import numpy_dtype
from tiecli.checkpoints.protocol import RAW
from tiecli.checkpoints.zarr.arrays import ArrayMetadata
from tiecli.checkpoints.zarr.codecs import invert_axes
from tiecli.errors import UnsupportedCheckpointError


def draw_values(metadata: ArrayMetadata, draw: Any) -> NDArray[Any]:
    """Draws an array that a document fits."""
    spec = metadata.spec
    dtype = numpy_dtype(spec.dtype, "w")
    return np.frombuffer(draw(values(spec.shape, dtype.itemsize)), dtype).reshape(spec.shape)


@given(documents, st.data())
def test_values_come_back(document: dict[str, Any], data: st.DataObject) -> None:
    """What is encoded as a document says is read as it says, in any run of bytes."""
    metadata = read(document)
    raw = draw_values(metadata, data.draw).tobytes()
    starts = data.draw(st.lists(st.integers(0, len(raw)), max_size=4))
    with limits(data.draw(thresholds)):
        stored = store(metadata, raw, data.draw(st.integers(1, 100)))
        leaf = open_leaf(metadata, stored)
        assert read_all(leaf) == raw
        for start in starts:
            part = bytearray(data.draw(st.integers(0, len(raw) - start)))
            leaf.read_into(start, memoryview(part))
            assert part == raw[start : start + len(part)]

    assert list(stored) == list(metadata.chunk_keys())
    assert all(metadata.stored_nbytes in (None, len(chunk)) for chunk in stored.values())
    assert metadata.encoding != RAW or list(stored.values()) == [raw]


@given(documents, st.data())
def test_boxes_are_slices(document: dict[str, Any], data: st.DataObject) -> None:
    """A box of a leaf is the slice of its array, in an array of its own."""
    metadata = read(document)
    array = draw_values(metadata, data.draw)
    box = tuple(
        tuple(sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2)))) for length in array.shape
    )
    with limits(data.draw(thresholds)):
        found = open_leaf(metadata, store(metadata, array.tobytes())).read_box(box)  # type: ignore[arg-type]

    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.tobytes() == array[tuple(slice(*side) for side in box)].tobytes()


@given(documents, st.data())
def test_pieces_are_runs(document: dict[str, Any], data: st.DataObject) -> None:
    """Pieces of a leaf are runs of its bytes, in whatever order they are asked for."""
    metadata = read(document)
    raw = draw_values(metadata, data.draw).tobytes()
    leaf = open_leaf(metadata, store(metadata, raw))
    unit = data.draw(st.sampled_from([metadata.spec.dtype.bits // 8, 1]))
    starts = data.draw(st.lists(st.integers(0, len(raw) // unit), max_size=6))
    pieces = [(start * unit, data.draw(st.integers(0, len(raw) // unit - start)) * unit) for start in starts]
    if data.draw(st.booleans()):
        pieces.sort()

    with limits(data.draw(thresholds)):
        assert leaf.read_pieces(pieces) == b"".join(raw[start : start + length] for start, length in pieces)


@given(documents, st.data())
def test_permuted_metadata_permutes_values(document: dict[str, Any], data: st.DataObject) -> None:
    """The same chunks under permuted metadata are the permuted array; the way back is the way there."""
    metadata = read(document)
    axes = data.draw(orders(len(metadata.spec.shape)))
    array = draw_values(metadata, data.draw)
    stored = store(metadata, array.tobytes())
    try:
        permuted, keys = metadata.permute(axes)
    except UnsupportedCheckpointError:
        assert metadata.version == 2
        return
    leaf = open_leaf(permuted, {new: stored[old] for new, old in keys.items()})
    again, back = permuted.permute(invert_axes(axes))

    assert read_all(leaf) == array.transpose(axes).tobytes()
    assert again.encoding == metadata.encoding
    assert {old: back[old] for old in back} == {old: new for new, old in keys.items()}
    assert permuted.encoding != metadata.encoding or permuted.layout == metadata.layout
