"""Joining: the databases of processes as one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.orbax_damages import FIXTURES, cut
from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.checkpoints.orbax.joining import join_databases, join_values, list_processes
from tiecli.errors import DatabaseError


def unjoin(layout: str, directory: Path) -> Path:
    """Copies a layout as it was before the last act of its save."""
    item = Path(shutil.copytree(FIXTURES / layout, directory / "ckpt"))
    (item / "manifest.ocdbt").unlink()
    shutil.rmtree(item / "d")
    return item


def write_process(item: Path, number: int, values: dict[str, Value]) -> None:
    """Writes the database of a process."""
    encoded = encode_database(values)
    (item / f"ocdbt.process_{number}" / "d").mkdir(parents=True)
    (item / f"ocdbt.process_{number}" / "manifest.ocdbt").write_bytes(encoded.manifest)
    (item / f"ocdbt.process_{number}" / encoded.node_file).write_bytes(encoded.nodes)


@pytest.mark.parametrize("layout", ["two-processes", "pytree", "v1/state", "many-chunks-zarr3"])
def test_the_joined_database_says_what_orbax_wrote(layout: str, tmp_path: Path) -> None:
    """Every key, and where its value lies; the same bytes each time; the manifest last."""
    item = unjoin(layout, tmp_path)

    files = join_databases(item)
    assert files == join_databases(item)
    assert [*files][-1] == "manifest.ocdbt"
    for name, raw in files.items():
        (item / name).parent.mkdir(exist_ok=True)
        (item / name).write_bytes(raw)

    assert read_database(item, "joined") == read_database(FIXTURES / layout, "Orbax's own")


def test_processes_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Two before ten, though names sort otherwise."""
    for number in (10, 2, 0):
        write_process(tmp_path, number, {f"leaf{number}/0": Value("d/x", 0, 5)})

    assert list_processes(tmp_path) == ("ocdbt.process_0", "ocdbt.process_2", "ocdbt.process_10")
    assert join_values(tmp_path)["leaf10/0"] == Value("ocdbt.process_10/d/x", 0, 5)


def test_what_two_processes_wrote_must_be_the_same(tmp_path: Path) -> None:
    """Equal values that stand in the tree are one; where they differ, nothing says which is right."""
    both = Value("", 0, 2, b"{}")
    write_process(tmp_path, 0, {"a/.zarray": both, "b/0": Value("", 0, 1, b"x")})
    write_process(tmp_path, 1, {"a/.zarray": both})
    assert join_values(tmp_path)["a/.zarray"] == both

    write_process(tmp_path, 2, {"b/0": Value("", 0, 1, b"y")})
    with pytest.raises(DatabaseError, match="two processes wrote `b/0`"):
        join_databases(tmp_path)


def test_no_database_joins_nothing(tmp_path: Path) -> None:
    """Nor does a damaged one."""
    with pytest.raises(DatabaseError, match="no database of any process"):
        join_databases(tmp_path)

    item = unjoin("two-processes", tmp_path)
    cut(item / "ocdbt.process_1" / "manifest.ocdbt")
    with pytest.raises(DatabaseError, match="is damaged"):
        join_databases(item)


def test_processes_that_wrote_nothing_join_to_an_empty_database(tmp_path: Path) -> None:
    """A manifest without nodes."""
    write_process(tmp_path, 0, {})

    assert [*join_databases(tmp_path)] == ["manifest.ocdbt"]
