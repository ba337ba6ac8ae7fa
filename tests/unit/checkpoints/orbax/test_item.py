"""Items: trees whose store is not what it usually is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.checkpoints.orbax.trees import tree, tree_of
from tiecli.checkpoints import open_reader
from tiecli.errors import DatabaseError


def test_a_tree_without_arrays_has_no_database(tmp_path: Path) -> None:
    """Orbax begins none for texts and empty nodes."""
    (tmp_path / "_METADATA").write_bytes(tree_of({("name",): "string", ("state",): "None"}))

    with open_reader(tmp_path) as reader:
        assert reader.specs() == {}


def test_arrays_need_a_database(tmp_path: Path) -> None:
    """A manifest that is missing is told, since the leaves are lost without it."""
    (tmp_path / "_METADATA").write_bytes(tree(("w",)))

    with pytest.raises(DatabaseError, match="is missing"):
        open_reader(tmp_path)
