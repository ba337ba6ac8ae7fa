"""Writing: what is written reads back, whatever the size of its nodes, and is the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.checkpoints.ocdbt.databases import inline, many, store, write
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.frames import NODE, open_frame
from tiecli.checkpoints.ocdbt.manifest import parse_manifest
from tiecli.checkpoints.ocdbt.writing import DatabaseEncoder, encode_database
from tiecli.errors import UnsupportedCheckpointError


@pytest.mark.parametrize(
    ("count", "node_bytes", "height"), [(1, 1, 0), (2, 1, 1), (600, 100_000_000, 0), (600, 9000, 1), (600, 600, 3)]
)
def test_reads_back(tmp_path: Path, count: int, node_bytes: int, height: int) -> None:
    """Trees of every height hold the same values in the same order."""
    values = many(count)
    encoded = encode_database(values, node_bytes)
    root = parse_manifest(encoded.manifest, "m", Allowance())

    assert root is not None
    assert (root.height, root.file.name) == (height, encoded.node_file)
    assert list(read_database(store(tmp_path / "db", encoded), "db").values.items()) == list(values.items())


def test_no_values(tmp_path: Path) -> None:
    """A database can be empty."""
    assert read_database(write(tmp_path / "db", {}), "db").values == {}


def test_keys_are_ordered_by_their_bytes(tmp_path: Path) -> None:
    """The order of the values given makes no difference."""
    values = {"é": inline(b"1"), "z": inline(b"2"), "": inline(b"3"), "\0": inline(b""), "a.b/0.0": Value("d/x", 3, 4)}

    read = read_database(write(tmp_path / "db", values), "db").values
    assert read == values
    assert list(read) == ["", "\0", "a.b/0.0", "z", "é"]


def test_the_same_values_give_the_same_bytes() -> None:
    """Nothing of the time or of chance goes into a database, and its file is named after its values."""
    values = many(50)
    first = encode_database(values)

    assert encode_database(dict(reversed(values.items()))) == first
    assert encode_database(values | {"x": inline(b"")}).node_file != first.node_file
    directory, name = first.node_file.split("/")
    assert directory == "d"
    assert len(bytes.fromhex(name)) == 16


def measure_nodes(nodes: bytes) -> list[int]:
    """Counts the bytes of each node, unpacked."""
    sizes = []
    while nodes:
        length = int.from_bytes(nodes[4:12], "little")
        sizes.append(len(open_frame(nodes[:length], NODE, "`n`", Allowance()).body))
        nodes = nodes[length:]
    return sizes


def test_nodes_keep_to_their_size() -> None:
    """No node is larger than was asked for, but one whose only value is."""
    sizes = measure_nodes(encode_database(many(2000), 5000).nodes)
    assert len(sizes) > 20
    assert 1000 < max(sizes) <= 5000

    large = {"a": inline(b"x" * 9000), "b": inline(b"y"), "c": inline(b"z" * 9000)}
    assert len(measure_nodes(encode_database(large, 5000).nodes)) == 4


def test_refuses_keys_that_are_too_long(tmp_path: Path) -> None:
    """A key that tensorstore could not read is not written; the longest that it can is."""
    assert list(read_database(write(tmp_path / "db", {"k" * 65535: inline(b"")}), "db").values) == ["k" * 65535]
    with pytest.raises(UnsupportedCheckpointError, match=r"the key that begins with b'k{40}' has 65,536 bytes"):
        encode_database({"k" * 65536: inline(b"")})


def test_nodes_come_one_at_a_time() -> None:
    """The manifest, which refers to the last of them, is there once all were taken."""
    encoder = DatabaseEncoder(many(2000), 5000)
    frames = encoder.encode_nodes()

    first = next(frames)
    assert not encoder.manifest

    whole = encode_database(many(2000), 5000)
    assert (first, *frames) == whole.frames
    assert (encoder.manifest, encoder.node_file) == (whole.manifest, whole.node_file)
