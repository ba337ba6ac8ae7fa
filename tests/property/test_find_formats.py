"""Finding: however leaves are stored, the same is found among them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_find import Planted, planted
from tests.unit.checkpoints.orbax.items import Kept, Keys, SameBytes, write_item
from tests.unit.detect.leaves_on_disk import store
from tiecli.checkpoints import open_reader
from tiecli.detect import find_ties


@st.composite
def kept(draw: st.DrawFn, array: np.ndarray[Any, Any], zarr: int) -> Kept:
    """Draws how to store an array: whole or in chunks, compressed or not, in shards of parts or not."""
    if draw(st.booleans()):
        return Kept(array, level=draw(st.sampled_from((1, 9))), compressed=draw(st.booleans()))
    side = tuple(draw(st.integers(max(1, length // 3), length + 1)) for length in array.shape)
    if zarr == 3 and draw(st.booleans()):
        return Kept(array, chunks=tuple(2 * length for length in side), parts=side)
    return Kept(array, chunks=side, compressed=draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(planted(), st.sampled_from((2, 3)), st.data())
def test_an_item_and_a_file_give_the_same_hits(checkpoint: Planted, zarr: int, data: st.DataObject) -> None:
    """What is found does not depend on chunks and codecs, which differ from leaf to leaf."""
    leaves: dict[Keys, Any] = {(name,): data.draw(kept(leaf, zarr)) for name, leaf in checkpoint.leaves.items()}
    with TemporaryDirectory() as directory:
        with store(Path(directory) / "m.safetensors", checkpoint.leaves) as reader:
            expected = find_ties(reader)
        with open_reader(write_item(Path(directory) / "item", leaves, zarr=zarr)) as reader:
            found = find_ties(reader)

    assert found.hits == expected.hits
    assert found.constant_leaves == expected.constant_leaves


@settings(max_examples=40, deadline=None)
@given(planted(), st.sampled_from((2, 3)), st.booleans(), st.data())
def test_second_names_of_the_same_bytes_change_nothing(
    checkpoint: Planted, zarr: int, turned: bool, data: st.DataObject
) -> None:
    """A leaf that is stored once under two names is searched once."""
    leaves: dict[Keys, Any] = {(name,): leaf for name, leaf in checkpoint.leaves.items()}
    chosen = data.draw(st.sampled_from(sorted(leaves)))
    with TemporaryDirectory() as directory:
        with open_reader(write_item(Path(directory) / "alone", leaves, zarr=zarr)) as reader:
            expected = find_ties(reader)
        leaves["again",] = SameBytes(chosen, turned=turned)
        with open_reader(write_item(Path(directory) / "shared", leaves, zarr=zarr)) as reader:
            found = find_ties(reader)

    assert found.hits == expected.hits
    assert (found.shared_leaves, found.bytes_read) == (1, expected.bytes_read)
