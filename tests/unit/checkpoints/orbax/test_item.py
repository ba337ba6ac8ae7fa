"""Items: trees whose store is not what it usually is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.checkpoints.orbax.items import write_item
from tests.unit.checkpoints.orbax.trees import tree, tree_of
from tiecli.checkpoints import open_reader
from tiecli.errors import DatabaseError, UnsupportedCheckpointError


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


@pytest.mark.parametrize("name", ["", "w/"])
def test_a_name_that_the_store_spells_otherwise_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """Orbax saves such a leaf under the key `w/.zarray`, or `.zarray`, so nothing was lost in a copy."""
    item = write_item(tmp_path / "item", {("w",): np.ones(3, np.float32)})
    (item / "_METADATA").write_bytes(tree((name,)))

    with pytest.raises(UnsupportedCheckpointError, match=f"has the name `{name}` in the store"):
        open_reader(item)
