"""Loading: a checkpoint becomes the tree that its names spell, with its aliases or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiecli
from tiecli.errors import TransformMismatchError, TreeError
from tiecli.pytrees import contract, list_leaves, load, read_ties

FIXTURES = Path(__file__).parents[3] / "fixtures"


@pytest.mark.parametrize("name", ["gpt2-untied", "flax-transposed", "orbax/pytree"])
def test_a_tied_checkpoint_loads_as_the_one_before(name: str, tmp_path: Path) -> None:
    """Expanded, it has every leaf of the original; otherwise it is that tree, contracted."""
    source = FIXTURES / name
    found = tiecli.find(source)
    requests = [
        tiecli.TieRequest(hit.canonical, hit.alias, hit.transform) for hit in found.hits if hit.kind != "drifted"
    ]
    tiecli.tie(source, requests, tiecli.Target(tmp_path / "tied"))
    ties = read_ties(tmp_path / "tied")
    assert len(ties) > 0

    before = load(source)
    expanded, contracted = load(tmp_path / "tied"), load(tmp_path / "tied", expanded=False)

    for left, right in ((expanded, before), (contracted, contract(before, ties))):
        assert list_leaves(left).keys() == list_leaves(right).keys()
        for path, leaf in list_leaves(left).items():
            assert leaf.dtype == list_leaves(right)[path].dtype
            assert leaf.tobytes() == list_leaves(right)[path].tobytes()


def test_names_that_make_no_tree(tmp_path: Path) -> None:
    """A file may hold a leaf inside another by name; a tree cannot."""
    from safetensors.numpy import save_file

    save_file({"a": np.ones(1), "a.b": np.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(TreeError, match=r"both a leaf `a` and a leaf `a\.b`"):
        load(tmp_path / "x.safetensors")


def test_elements_smaller_than_a_byte(tmp_path: Path) -> None:
    """They are in no array."""
    header = b'{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}   '
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\x21")
    with pytest.raises(TransformMismatchError, match="smaller than a byte"):
        load(tmp_path / "x.safetensors")
