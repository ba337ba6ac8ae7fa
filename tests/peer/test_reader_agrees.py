"""Readers agree: what safetensors itself reads from a file, and what tiecli reads, is the same."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tests.unit.checkpoints.safetensors.files import put_together
from tests.unit.checkpoints.safetensors.test_header import ACCEPTED, DAMAGED
from tiecli.checkpoints import open_reader
from tiecli.errors import CheckpointError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES

# The reference reads these; other readers take them for something else, or not at all.
AMBIGUOUS = {
    "repeated tensor",
    "repeated tensor, hidden by an escape",
    "repeated key in metadata",
    "dtype is an object",
}


@pytest.mark.parametrize("name", [name for name, (_, _, size) in ACCEPTED.items() if size])
def test_both_accept(tmp_path: Path, name: str) -> None:
    """The reference opens what tiecli accepts, and sees the same leaves and metadata."""
    text, shapes, size = ACCEPTED[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(put_together(text, bytes(size)))

    with safe_open(path, "numpy") as theirs, open_reader(path) as ours:
        assert {key: tuple(theirs.get_slice(key).get_shape()) for key in theirs.keys()} == shapes  # noqa: SIM118
        assert (theirs.metadata() or {}) == ours.metadata()


@pytest.mark.parametrize("name", [name for name in DAMAGED if name not in AMBIGUOUS])
def test_both_refuse(tmp_path: Path, name: str) -> None:
    """The reference refuses what tiecli refuses, but for what is ambiguous."""
    text, _ = DAMAGED[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(put_together(text, bytes(8)))

    with pytest.raises(SafetensorError, match="Error while deserializing header"), safe_open(path, "numpy"):
        pass
    with pytest.raises(CheckpointError, match="`"):
        open_reader(path)


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_we_are_stricter(tmp_path: Path, name: str) -> None:
    """The reference takes the last of repeated keys without a word, and `{"F32":null}` for F32."""
    text, message = DAMAGED[name]
    path = tmp_path / "m.safetensors"
    path.write_bytes(put_together(text, bytes(8)))

    with safe_open(path, "numpy") as theirs:
        assert list(theirs.keys()) == ["a"]
    with pytest.raises(CheckpointError, match=message.replace("`m`", f"`{path}`")):
        open_reader(path)


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.kind != "packed"])
def test_same_blocks(tmp_path: Path, dtype: str) -> None:
    """A slice through the reference is the block that tiecli reads, for every dtype that torch has."""
    torch = pytest.importorskip("torch", reason="torch comes with the extra `peer`")
    size = DTYPES[dtype].bits // 8
    data = np.random.default_rng(0).integers(0, 2 if dtype == "BOOL" else 256, 6 * 10 * size, np.uint8).tobytes()
    path = tmp_path / "m.safetensors"
    path.write_bytes(put_together({"w": {"dtype": dtype, "shape": [6, 10], "data_offsets": [0, len(data)]}}, data))

    with safe_open(path, "pt") as theirs, open_reader(path) as ours:
        expected = theirs.get_slice("w")[1:5, 2:7].contiguous().view(torch.uint8)
        block = ours.read_block(KeyPath(("w",)), ((1, 5), (2, 7)))

    assert block.tobytes() == expected.numpy().tobytes()


def test_same_names_and_order(tmp_path: Path) -> None:
    """Names that the reference writes come back, in the order of the data."""
    leaves = {"b.w": np.float32([1, 2]), "a": np.int64([3]), "ü.\n": np.float64(4).reshape(()), "": np.uint8([5])}
    save_file({name: np.ascontiguousarray(leaf).reshape(leaf.shape) for name, leaf in leaves.items()}, tmp_path / "m")

    with safe_open(tmp_path / "m", "numpy") as theirs, open_reader(tmp_path / "m") as ours:
        assert set(theirs.keys()) == {path.spelling for path in ours.specs()} == set(leaves)
        assert [path.spelling for path in ours.specs()] == theirs.offset_keys()
        value = bytearray(8)
        ours.read_into(KeyPath.from_name("ü.\n"), 0, memoryview(value))
        assert struct.unpack("<d", value) == (4.0,)
