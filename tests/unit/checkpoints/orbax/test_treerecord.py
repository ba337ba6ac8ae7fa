"""`orbax/treerecord.py`: what a safetensors file carries along of a tree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiecli.checkpoints.orbax.treerecord import ArrayKind, TreeRecord
from tiecli.errors import ManifestError
from tiecli.keypaths import KeyPath

DEVICE = ArrayKind("jax.Array", '{"sharding_type": "SingleDeviceSharding"}')
RECORD = TreeRecord(
    arrays={
        KeyPath(("w",)): DEVICE,
        KeyPath(("layers", 0, "a.b")): DEVICE,
        KeyPath(("rng",)): DEVICE._replace(generator="threefry2x32"),
        KeyPath(("step",)): ArrayKind("scalar"),
    },
    nodes={KeyPath(("opt", 0)): "None", KeyPath(("note",)): "string"},
    strings={KeyPath(("note",)): "größer"},
    encoded=("lr",),
    added=("format",),
)


def test_written_and_read_back() -> None:
    """Every field; each kind of array is written once."""
    text = RECORD.to_json()

    assert TreeRecord.from_json(text) == RECORD
    assert text.count("SingleDeviceSharding") == 2
    assert json.loads(text)["arrays"][0]["leaves"] == ["w", 'layers[0]."a.b"']


DAMAGES: dict[str, Any] = {
    "schema": ["tiecli.orbax/2", None, 1],
    "arrays": [
        None,
        {},
        [1],
        [{"value_type": "jax.Array", "sharding": "", "generator": ""}],
        [{"value_type": "list", "sharding": "", "generator": "", "leaves": []}],
        [{"value_type": [], "sharding": "", "generator": "", "leaves": []}],
        [{"value_type": "scalar", "sharding": None, "generator": "", "leaves": []}],
        [{"value_type": "scalar", "sharding": "", "generator": "", "leaves": ["a..b"]}],
        [{"value_type": "scalar", "sharding": "", "generator": "", "leaves": [1]}],
    ],
    "nodes": [
        "None",
        [{"name": "a", "type": "np.ndarray"}],
        [{"name": "a", "type": ["None"]}],
        [{"name": 1, "type": "None"}],
        [{"name": "[", "type": "None"}],
        [{"name": "a", "type": "string"}],
        [{"name": "a", "type": "None", "text": "b"}],
    ],
    "encoded": [None, [1], "lr"],
    "added": [None, [[]], {"format": 1}],
}


@pytest.mark.parametrize(
    ("member", "value"), [(member, value) for member, values in DAMAGES.items() for value in values]
)
def test_a_damaged_record_is_refused(member: str, value: object) -> None:
    """Members of another type, missing ones, places that are none."""
    with pytest.raises(ManifestError, match=r"the metadata entry `tiecli\.orbax`"):
        TreeRecord.from_json(json.dumps(json.loads(RECORD.to_json()) | {member: value}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": "tiecli.orbax/1"}', "\ud800"])
def test_what_is_no_record_is_refused(text: str) -> None:
    """No JSON, JSON that is no object, nesting without end."""
    with pytest.raises(ManifestError, match=r"the metadata entry `tiecli\.orbax`"):
        TreeRecord.from_json(text)
