"""`orbax/describing.py`: what is known of a tree beside its arrays' values, and what of it stays behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.checkpoints.orbax.items import write_item
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.creating import describe_source
from tiecli.checkpoints.orbax.treerecord import ArrayKind
from tiecli.errors import OrbaxMetadataError
from tiecli.keypaths import KeyPath

ORBAX = Path(__file__).parents[4] / "fixtures" / "orbax"
DEVICE = '{"sharding_type": "SingleDeviceSharding", "device_str": "cpu:0"}'
ARRAY = {("w",): np.ones((2, 3), np.float32)}


def describe(path: Path) -> Any:
    """Describes the tree of an item."""
    with open_reader(path) as reader:
        return describe_source(reader)


def test_a_tree_of_every_kind_of_node() -> None:
    """Scalars, random keys, strings, empty nodes, arrays of the host and of a device."""
    record, notices = describe(ORBAX / "nodes")

    assert notices == ()
    assert KeyPath(("arrays", "copy")) not in record.arrays
    assert record.arrays[KeyPath(("layers", 0, "kernel"))] == ArrayKind("jax.Array", DEVICE)
    assert record.arrays[KeyPath(("rng", "dropout"))] == ArrayKind("jax.Array", DEVICE, "threefry2x32")
    assert record.arrays[KeyPath(("scalars", "int"))] == ArrayKind("scalar")
    assert {str(path): kind for path, kind in record.nodes.items()} == {
        "empty.dict": "Dict",
        "empty.list": "List",
        "empty.none": "None",
        "empty.tuple": "Tuple",
        "strings.name": "string",
        "strings.unicode": "string",
    }
    assert record.strings[KeyPath(("strings", "unicode"))] == "größer"


def test_what_no_record_can_hold_is_named(tmp_path: Path) -> None:
    """Nodes of unknown types, strings without a text, rich types, metadata that is no object."""
    others = {("own", str(number)): "MyType" for number in range(6)} | {("lost",): "string"}
    item = write_item(tmp_path / "item", ARRAY, others=others)
    tree = json.loads((item / "_METADATA").read_text())
    (item / "_METADATA").write_text(json.dumps(tree | {"custom_metadata": [1], "value_metadata_tree": "{}"}))

    record, notices = describe(item)

    assert record.nodes == {}
    assert notices == (
        "left behind: `own.0`, `own.1`, `own.2`, `own.3` and 2 more, since a `MyType` is no array",
        "left behind: `lost`, since a `string` is no array",
        "tuples and named tuples become lists and dicts, as they do where Orbax keeps no rich types",
        "left behind: the `custom_metadata` of the tree, since it is no object",
    )


def test_arrays_that_the_tree_does_not_name_stay_behind(tmp_path: Path) -> None:
    """They lie in the store, and nobody restores them by the tree."""
    item = write_item(tmp_path / "item", ARRAY | {("stray",): np.ones(3, np.float32)})
    tree = json.loads((item / "_METADATA").read_text())
    del tree["tree_metadata"]["('stray',)"]
    (item / "_METADATA").write_text(json.dumps(tree))

    assert describe(item)[1] == ("left behind: `stray`, since the tree does not name it",)


@pytest.mark.parametrize(
    ("name", "text"),
    [("_strings.json", "[]"), ("_strings.json", '{"a": 1}'), ("_strings.json", "{"), ("_sharding", '{"dw==": 1}')],
)
def test_a_damaged_side_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """As everything of a checkpoint that does not say what it should."""
    item = write_item(tmp_path / "item", ARRAY)
    (item / name).write_text(text)

    with pytest.raises(OrbaxMetadataError, match=name):
        describe(item)
