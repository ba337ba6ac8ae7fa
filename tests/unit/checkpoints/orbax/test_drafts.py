"""Drafts: what becomes of JSON files that others changed between `tie` and `untie`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiecli
from tiecli.plan import TieRequest
from tiecli.transforms import Transform

ORBAX = Path(__file__).parents[4] / "fixtures" / "orbax"
ALIAS = "encoder.embed_tokens.embedding"


@pytest.mark.parametrize("mode", ["omit", "alias"])
def test_a_changed_tree_gets_its_leaf_back(tmp_path: Path, mode: str) -> None:
    """What others added stays, and the alias is listed and stored again."""
    tied, back = tmp_path / "tied", tmp_path / "back"
    request = TieRequest("shared.embedding", ALIAS, Transform.parse("same"))
    tiecli.tie(ORBAX / "standard", (request,), tiecli.Target(tied), mode=mode)
    document = json.loads((tied / "_METADATA").read_bytes())
    key, value = "('note',)", {"value_type": "None", "skip_deserialize": True}
    document["tree_metadata"][key] = {"key_metadata": [{"key": "note", "key_type": 2}], "value_metadata": value}
    (tied / "_METADATA").write_text(json.dumps(document))

    report = tiecli.untie(tied, target=tiecli.Target(back))

    assert report.restored is False
    with tiecli.open_reader(back) as reader, tiecli.open_reader(ORBAX / "standard") as original:
        assert {str(path): spec for path, spec in reader.specs().items()} == {
            str(path): spec for path, spec in original.specs().items()
        }
    assert key in json.loads((back / "_METADATA").read_bytes())["tree_metadata"]
