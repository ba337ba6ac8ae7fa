"""Databases on disk: stock bytes are read, and every damage is named with the file and the place of it."""

from __future__ import annotations

import base64
import gc
from pathlib import Path

import pytest

from tests.unit.checkpoints.ocdbt.databases import (
    NODE_MARK,
    inline,
    interior,
    leaf,
    many,
    point,
    seal,
    store_nodes,
    write,
)
from tests.unit.checkpoints.ocdbt.test_manifest import STOCK
from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.manifest import Root, encode_manifest
from tiecli.errors import DatabaseError, LfsPointerError, UnreadableFileError

# Written by tensorstore 0.1.86; the manifest in `test_manifest` points at it.
STOCK_FILE = "d/50f72fc74cb942dadbc7d80892ade7b1"
STOCK_NODE = base64.b64decode(
    "DNsg3oIAAAAAAAAAAAEotS/9IHA9AwDUBQABIgBkLzUwZjcyZmM3NGNiOTQyZGFkYmM3ZDgwODkyYWRlN2IxBAIABAkBCwFh"
    "Ly56YXJyYXkwYi5jDdwLDAgAAQAAAAB7InNoYXBlIjpbMl19XX0xMjM0NTY3OAIAwNxjX5Q932a7gQ=="
)


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """A database that tensorstore wrote."""
    (tmp_path / "d").mkdir()
    (tmp_path / "manifest.ocdbt").write_bytes(STOCK)
    (tmp_path / STOCK_FILE).write_bytes(b"\7" * 1500 + STOCK_NODE)
    return tmp_path


def refused(directory: Path) -> str:
    """Reads a database that has to be refused, and returns what the error says."""
    with pytest.raises(DatabaseError) as caught:
        read_database(directory, "ckpt")
    assert caught.value.hints
    assert "\n" not in caught.value.message
    return caught.value.message


def test_reads_a_stock_database(stock: Path) -> None:
    """Values that stand in the tree, and those that stand before it in the same file."""
    assert read_database(stock, "ckpt").values == {
        "a/.zarray": inline(b'{"shape":[2]}'),
        "a/0": Value(STOCK_FILE, 0, 1500),
        "b.c/.zarray": inline(b'{"shape":[]}'),
        "b.c/0": inline(b"12345678"),
    }


def test_collecting_goes_on(stock: Path) -> None:
    """Garbage is collected again afterwards, if it was before."""
    assert gc.isenabled()
    read_database(stock, "ckpt")
    assert gc.isenabled()
    gc.disable()
    try:
        read_database(stock, "ckpt")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_manifest_missing(stock: Path) -> None:
    """Without it, nothing is found."""
    (stock / "manifest.ocdbt").unlink()
    assert refused(stock) == "`ckpt/manifest.ocdbt` is missing: without it, no array can be found"


def test_manifest_cut_short(stock: Path) -> None:
    """Both lengths are told."""
    (stock / "manifest.ocdbt").write_bytes(STOCK[:40])
    assert refused(stock) == "`ckpt/manifest.ocdbt` is damaged: it states a length of 115 bytes, 40 are there"


def test_manifest_flipped(stock: Path) -> None:
    """The checksum tells."""
    (stock / "manifest.ocdbt").write_bytes(STOCK[:50] + b"!" + STOCK[51:])
    assert refused(stock).startswith("`ckpt/manifest.ocdbt` is damaged: its checksum is `")


def test_manifest_absurdly_large(stock: Path) -> None:
    """A file of many gigabytes is not read to learn that it is none."""
    with (stock / "manifest.ocdbt").open("r+b") as file:
        file.truncate(1 << 40)
    assert "it has 1,099,511,627,776 bytes, expected 67,108,864 or fewer" in refused(stock)


def test_node_missing(stock: Path) -> None:
    """The file is named."""
    (stock / STOCK_FILE).unlink()
    assert refused(stock) == f"`ckpt/{STOCK_FILE}` is missing: a node of the database stands there"


def test_node_cut_short(stock: Path) -> None:
    """Where it should stand, and where the file ends."""
    (stock / STOCK_FILE).write_bytes(b"\7" * 1500 + STOCK_NODE[:-1])
    assert refused(stock) == (
        f"`ckpt/{STOCK_FILE}` is truncated: a node of the database stands at bytes 1,500 to 1,630, "
        "the file has 1,629 bytes"
    )


def test_node_flipped(stock: Path) -> None:
    """The place of the node is told."""
    (stock / STOCK_FILE).write_bytes(b"\7" * 1500 + STOCK_NODE[:60] + b"!" + STOCK_NODE[61:])
    assert refused(stock).startswith(f"the node at byte 1,500 of `ckpt/{STOCK_FILE}` is damaged: its checksum is `")


def test_node_does_not_decompress(tmp_path: Path) -> None:
    """A true checksum over compressed bytes that are none."""
    message = refused(store_nodes(tmp_path, seal(NODE_MARK, b"\x28\xb5\x2f\xfd" + b"\xff" * 20, compression=1)))
    assert message.startswith("the node at byte 0 of `ckpt/d/n` is damaged: its compressed bytes do not decode (")


@pytest.mark.parametrize("file", ["manifest.ocdbt", STOCK_FILE])
def test_lfs_pointers(stock: Path, file: str) -> None:
    """A clone without its large files is told so."""
    (stock / file).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1630\n")
    with pytest.raises(LfsPointerError, match=f"`ckpt/{file}` is a Git LFS pointer to 1,630 bytes"):
        read_database(stock, "ckpt")


@pytest.mark.parametrize("file", ["manifest.ocdbt", STOCK_FILE])
def test_directories_in_place_of_files(stock: Path, file: str) -> None:
    """A directory is not waited for, nor read."""
    (stock / file).unlink()
    (stock / file).mkdir()
    with pytest.raises(UnreadableFileError, match=f"`ckpt/{file}` is a directory"):
        read_database(stock, "ckpt")


@pytest.mark.parametrize("file", ["../outside", "/etc/hostname", "d/../../outside"])
def test_nodes_stay_inside(tmp_path: Path, file: str) -> None:
    """No file outside the directory is opened, even if a node stands there."""
    frame = seal(NODE_MARK, leaf([(0, b"a")]))
    (tmp_path / "outside").write_bytes(frame)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "d").mkdir()
    (tmp_path / "db" / "manifest.ocdbt").write_bytes(
        encode_manifest(Root(0, file, 0, len(frame), (1, 1, 0)), bytes(16))
    )

    assert f"data file '{file}' is no plain path inside the database" in refused(tmp_path / "db")


def test_names_are_relative_to_a_base(tmp_path: Path) -> None:
    """A node that was taken over from a database below names its files as that does."""
    inner = seal(NODE_MARK, b"\0" + b"\1\3\0d/x" + b"\1\1a\5\1\0\0")
    (tmp_path / "p" / "d").mkdir(parents=True)
    (tmp_path / "p" / "d" / "n").write_bytes(inner)
    outer = interior(1, [(b"k/a", 2, 0, len(inner))], "p/d/n").replace(b"\1\5\0p/d/n", b"\1\5\2p/d/n")
    store_nodes(tmp_path, seal(NODE_MARK, outer))

    assert read_database(tmp_path, "ckpt").values == {"k/a": Value("p/d/x", 0, 5)}


def frames(*bodies: bytes) -> list[bytes]:
    """Frames around bodies."""
    return [seal(NODE_MARK, body) for body in bodies]


def test_order_within_and_between_nodes(tmp_path: Path) -> None:
    """A key stands where a search for it would look, and once."""
    low, high = frames(leaf([(0, b"a"), (0, b"c")]), leaf([(0, b"d"), (0, b"e")]))

    def above(first: bytes, second: bytes) -> Path:
        below = [(first, 0, 0, len(low)), (second, 0, len(low), len(high))]
        return store_nodes(tmp_path, low, high, *frames(interior(1, below)))

    assert list(read_database(above(b"a", b"d"), "ckpt").values) == ["a", "c", "d", "e"]
    assert list(read_database(above(b"", b"c\0"), "ckpt").values) == ["a", "c", "d", "e"]
    assert "it begins before the first key that the node above states: b'b'" in refused(above(b"b", b"d"))
    assert "the node above states: b'e'" in refused(above(b"a", b"e"))
    assert "its keys are out of order with those of the nodes beside it" in refused(above(b"a", b"c"))


def test_a_node_twice_is_out_of_order(tmp_path: Path) -> None:
    """The same keys a second time are refused; under another prefix they are other keys."""
    (low,) = frames(leaf([(0, b"a")]))
    twice = store_nodes(tmp_path, low, *frames(interior(1, [(b"a", 0, 0, len(low)), (b"b", 0, 0, len(low))])))
    assert "the node above states: b'b'" in refused(twice)

    again = store_nodes(tmp_path, low, *frames(interior(1, [(b"a", 1, 0, len(low)), (b"b", 1, 0, len(low))])))
    assert list(read_database(again, "ckpt").values) == ["aa", "ba"]


def test_heights_go_down(tmp_path: Path) -> None:
    """A node that refers to itself is at a height where it cannot be."""
    body = interior(1, [(b"", 0, 0, 0)])
    itself = interior(1, [(b"", 0, 0, len(body) + 18)])
    assert "it is of height 1, expected 0" in refused(store_nodes(tmp_path, *frames(itself)))

    (low,) = frames(leaf([(0, b"a")]))
    store_nodes(tmp_path, low)
    (tmp_path / "manifest.ocdbt").write_bytes(point("d/n", len(low), height=1))
    assert "it is of height 0, expected 1" in refused(tmp_path)


def test_the_highest_tree(tmp_path: Path) -> None:
    """255 nodes on the way to one value are followed."""
    nodes = frames(leaf([(0, b"a")]))
    offset = 0
    for height in range(1, 256):
        nodes += frames(interior(height, [(b"a", 0, offset, len(nodes[-1]))]))
        offset += len(nodes[-2])

    assert list(read_database(store_nodes(tmp_path, *nodes), "ckpt").values) == ["a"]


def test_nodes_reached_by_very_many_ways(tmp_path: Path) -> None:
    """Ten nodes that name the next a hundred times each would be more values than there are atoms in a cell."""
    nodes = frames(leaf([(0, b"a")]))
    offset = 0
    for height in range(1, 11):
        below = [(bytes([byte]), 1, offset, len(nodes[-1])) for byte in range(100)]
        nodes += frames(interior(height, below))
        offset += len(nodes[-2])

    assert "the database expands to more than 1,073,741,824 bytes" in refused(store_nodes(tmp_path, *nodes))


def test_keys_are_text(tmp_path: Path) -> None:
    """Orbax names leaves in UTF-8."""
    assert r"a key is not UTF-8: b'\xff'" in refused(store_nodes(tmp_path, *frames(leaf([(0, b"\xff")]))))


def test_many_keys(tmp_path: Path) -> None:
    """Forty thousand keys in one node."""
    values = many(40_000)
    assert read_database(write(tmp_path / "db", values), "db").values == values
