"""Permuting: how either version of zarr says that stored bytes stand for other axes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.checkpoints.zarr.zarrs import BYTES, CRC, ZSTD, describe2, describe3, read, shards, transpose
from tiecli.errors import UnsupportedCheckpointError


def test_zarr2_flips_the_order() -> None:
    """Shape and chunks are reversed, and each chunk goes by its mirrored name."""
    permuted, keys = read(describe2([4, 6], [2, 6])).permute((1, 0))

    assert permuted.document == describe2([6, 4], [6, 2], order="F")
    assert keys == {"0.0": "0.0", "0.1": "1.0"}


def test_zarr3_inserts_a_transpose() -> None:
    """It stands inside a shard that has one part, as stock Orbax is known to read."""
    plain = describe3([4, 6], [2, 6], [shards([2, 6], [BYTES, ZSTD])], dimension_names=["a", "b"])
    permuted, keys = read(plain).permute((1, 0))

    inner = [transpose(1, 0), BYTES, ZSTD]
    assert permuted.document == describe3([6, 4], [6, 2], [shards([6, 2], inner)], dimension_names=["b", "a"])
    assert keys == {"c/0/0": "c/0/0", "c/0/1": "c/1/0"}


def test_zarr3_turns_the_index_of_many_parts() -> None:
    """Parts stay where they are in a shard, so the shard itself is turned."""
    permuted, _ = read(describe3([4, 6], [4, 6], [shards([2, 3], [BYTES, CRC])])).permute((1, 0))

    assert permuted.document["codecs"] == [transpose(1, 0), shards([2, 3], [BYTES, CRC])]


@pytest.mark.parametrize(
    ("document", "axes"),
    [
        (describe2([4, 6], [2, 4]), (1, 0)),
        (describe2([4, 6, 5], [2, 4, 5], compressor=None), (2, 1, 0)),
        (describe3([4, 6], [2, 4], [BYTES]), (1, 0)),
        (describe3([4, 6, 5], [2, 4, 5], [shards([2, 4, 5], [BYTES, ZSTD])]), (1, 2, 0)),
        (describe3([4, 6, 5], [4, 4, 5], [shards([2, 2, 5], [BYTES, ZSTD])]), (2, 0, 1)),
    ],
)
def test_there_and_back(document: dict[str, Any], axes: tuple[int, ...]) -> None:
    """Permuted back, a plain document is what it was."""
    permuted, _ = read(document).permute(axes)
    back = tuple(sorted(range(len(axes)), key=axes.__getitem__))

    assert permuted.encoding != read(document).encoding
    assert permuted.permute(back).metadata.document == document


@pytest.mark.parametrize("document", [describe2([4, 6], [2, 6]), describe3([4, 6], [2, 6], [BYTES])])
def test_no_permutation(document: dict[str, Any]) -> None:
    """Axes in their own order change nothing."""
    metadata = read(document)
    permuted, keys = metadata.permute((0, 1))

    assert permuted is metadata
    assert keys == {key: key for key in metadata.chunk_keys()}


@pytest.mark.parametrize("axes", [(1, 2, 0), (0, 2, 1), (1, 0, 2)])
def test_zarr2_cannot_say_everything(axes: tuple[int, ...]) -> None:
    """It knows two orders, and refuses the others."""
    with pytest.raises(UnsupportedCheckpointError, match="it can reverse all axes only"):
        read(describe2([4, 6, 5], [4, 6, 5])).permute(axes)


def test_axes_of_length_one_move_freely() -> None:
    """They make no difference to the order of what is stored."""
    permuted, _ = read(describe2([4, 1, 6], [4, 1, 6])).permute((1, 0, 2))
    turned, _ = read(describe2([4, 1, 6], [4, 1, 6])).permute((2, 0, 1))
    column, _ = read(describe3([1, 6], [1, 6], [BYTES])).permute((1, 0))

    assert permuted.document == describe2([1, 4, 6], [1, 4, 6])
    assert turned.document == describe2([6, 4, 1], [6, 4, 1], order="F")
    assert column.document == describe3([6, 1], [6, 1], [BYTES])


@pytest.mark.parametrize("axes", [(0,), (0, 0), (0, 2), (1, 0, 2)])
def test_axes_that_are_none(axes: tuple[int, ...]) -> None:
    """Whoever asks for other axes than there are has made a mistake."""
    with pytest.raises(ValueError, match="are not the axes of a leaf"):
        read(describe2([4, 6], [4, 6])).permute(axes)
