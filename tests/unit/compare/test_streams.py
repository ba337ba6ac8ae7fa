"""Streams of values: the bytes of a transformed leaf, whatever its elements' order in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.detect.leaves_on_disk import at, store
from tiecli.compare.streams import transformed_blocks
from tiecli.leaves import LeafSpec, find_dtype
from tiecli.transforms import Transform


@pytest.mark.parametrize(("text", "shape"), [("flip(0)", (5,)), ("[::-1]", (5,)), ("[::2]", (5,)), ("flip(1)", (2, 3))])
def test_bytes_of_views_that_run_backwards(text: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """A flipped vector is a view of the one that was read; its bytes come out in the new order."""
    leaf = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    expected = np.flip(leaf, 1) if text == "flip(1)" else leaf[::2] if text == "[::2]" else leaf[::-1]
    dtype = find_dtype("F32")
    assert dtype is not None

    with store(tmp_path / "one.safetensors", {"w": leaf}) as reader:
        blocks = transformed_blocks(reader, (at("w"),), Transform.parse(text), LeafSpec(expected.shape, dtype))
        found = b"".join(map(bytes, blocks))

    assert found == np.ascontiguousarray(expected).tobytes()
