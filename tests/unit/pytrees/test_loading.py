"""Loading: a checkpoint becomes the tree that its names spell, with its aliases or without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tiecli
from tiecli.errors import LeafNotFoundError, ManifestError, TransformMismatchError, TreeError
from tiecli.pytrees import contract, expand, list_leaves, load, read_ties, save, tie_names

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


class Model(NamedTuple):
    wte: Any
    layers: Any
    head: Any = None
    note: Any = None


def arrays() -> dict[str, Any]:
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    return {"wte": table, "layers": [{"w": table[:2] + 1}, {"w": table[2:] + 1}], "head": table.T.copy()}


HEAD = {"head": "wte | transpose"}


@pytest.fixture(params=["file.safetensors", "shards", "orbax"])
def tied(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same tree, tied, in each kind of checkpoint."""
    tree = arrays()
    shards = 64 if request.param == "shards" else None
    save(tree, tmp_path / request.param, tie_names(tree, HEAD), shard_nbytes=shards, mode="omit", sync=False)
    return tmp_path / request.param


def same(left: Any, right: Any) -> bool:
    """Whether two trees have the same leaves in the same places."""
    places = list_leaves(left), list_leaves(right)
    return places[0].keys() == places[1].keys() and all(
        np.array_equal(leaf, places[1][path]) for path, leaf in places[0].items()
    )


def test_into_a_tree_of_ones_own(tied: Path) -> None:
    """Arrays take the place of arrays, aliases are made; what is no array stays, and None stays None."""
    zeros = np.zeros((2, 3), np.float32)
    like = Model(np.zeros((4, 3), np.float32), ({"w": zeros, "extra": None}, {"w": zeros}), zeros[:1].T, note="kept")
    like = like._replace(head=np.zeros((3, 4), np.float32))
    ties = read_ties(tied, like)

    full, stored = load(tied, like=like), load(tied, like=like, expanded=False)

    assert [str(tie) for tie in ties] == ["head = wte | transpose"]
    assert type(full) is type(stored) is Model
    assert full.note == "kept"
    assert full.layers[0]["extra"] is None
    assert stored.head is None
    assert same(full._replace(note=None), Model(**{**arrays(), "layers": tuple(arrays()["layers"])}))
    assert same(expand(stored, ties), full)
    # A tree that was contracted is filled likewise.
    assert same(load(tied, like=stored), full)
    assert same(load(tied, like=stored, expanded=False), stored)


def test_into_shapes(tied: Path) -> None:
    """Shapes will do where there are no arrays yet; positions may be spelled as names."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    like = jax.eval_shape(lambda: {"wte": jax.numpy.ones((4, 3)), "layers": {"1": {"w": jax.numpy.ones((2, 3))}}})

    assert same(load(tied, like=like), {"wte": arrays()["wte"], "layers": {"1": {"w": arrays()["layers"][1]["w"]}}})
    assert len(read_ties(tied, like)) == 0


def test_an_alias_without_its_canonical_leaf_is_made_all_the_same(tied: Path) -> None:
    """A part of a model that has only the head gets it, whether or not aliases are asked for."""
    like = {"head": np.zeros((3, 4), np.float32)}
    for expanded in (True, False):
        assert same(load(tied, like=like, expanded=expanded), {"head": arrays()["head"]})
    assert len(read_ties(tied, like)) == 0


@pytest.mark.parametrize(
    ("like", "error", "message"),
    [
        ({"wte": np.zeros((3, 4), "f4")}, TransformMismatchError, "`wte` is F32 4×3 in the checkpoint, and F32 3×4"),
        ({"wte": np.zeros((4, 3), "f2")}, TransformMismatchError, "F32 4×3 in the checkpoint, and F16 4×3 in `like`"),
        (
            {"wte": np.zeros((4, 3), np.float32), "head": np.zeros((4, 3), np.float32)},
            TransformMismatchError,
            "`head` is F32 3×4 in the checkpoint, and F32 4×3 in `like`",
        ),
        ({"head": np.zeros((4, 3), np.float32)}, TransformMismatchError, "`head` is F32 3×4"),
        ({"wte": {"w": np.zeros(1)}}, LeafNotFoundError, r"the checkpoint has no leaf `wte\.w`"),
        ({"layers": np.zeros(1)}, LeafNotFoundError, "the checkpoint has no leaf `layers`"),
    ],
)  # fmt: skip
def test_trees_that_do_not_fit(tied: Path, like: Any, error: type[Exception], message: str) -> None:
    """The leaf is named, with what was found and what was expected."""
    with pytest.raises(error, match=message):
        load(tied, like=like)


def test_names_that_read_alike(tmp_path: Path) -> None:
    """A file may hold both; each goes where its very keys stand, and neither where it could be either."""
    from safetensors.numpy import save_file

    one, two = np.ones(1, np.float32), np.full(1, 2, np.float32)
    save_file({"a[0]": one, "a.0": two}, tmp_path / "x.safetensors")

    assert load(tmp_path / "x.safetensors", like={"a": [one]}) == {"a": [one]}
    assert load(tmp_path / "x.safetensors", like={"a": {"0": one}}) == {"a": {"0": two}}
    with pytest.raises(LeafNotFoundError, match=r'no leaf `"a.0"`'):
        load(tmp_path / "x.safetensors", like={"a.0": one})
    with pytest.raises(TreeError, match=r"has no place in a tree whose `a` holds names"):
        load(tmp_path / "x.safetensors")


def test_names_with_dots_and_quotes_come_back(tmp_path: Path) -> None:
    """Keys that hold dots or brackets are spelled exactly, and read as what they were."""
    tree = {"a.b": {"c[0]": np.ones(1)}, "d": [np.ones(2), {"e": np.ones(3)}], '"': np.ones(4)}
    save(tree, tmp_path / "x.safetensors", sync=False)

    assert same(load(tmp_path / "x.safetensors"), tree)


def test_a_lost_canonical_leaf_is_told(tmp_path: Path) -> None:
    """Somebody renamed it after the alias was dropped."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    tree = arrays()
    save(tree, tmp_path / "x.safetensors", tie_names(tree, HEAD), sync=False)
    leaves = load_file(tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "numpy") as file:
        metadata = file.metadata()
    save_file(
        {"wte2" if name == "wte" else name: leaf for name, leaf in leaves.items()}, tmp_path / "y.safetensors", metadata
    )

    for read in (load, read_ties):
        with pytest.raises(ManifestError, match="`head` follows from `wte`, but stores no such leaf"):
            read(tmp_path / "y.safetensors")


def test_blocks_are_read_once_to_where_they_go(tmp_path: Path) -> None:
    """On eight devices each part of a leaf is read by itself, and a part that several hold once."""
    pytest.importorskip("jax", reason="jax is not installed")
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    tree = {"wte": np.arange(64, dtype=np.float32).reshape(16, 4), "b": np.arange(4, dtype=np.float32)}
    tree["head"] = tree["wte"].T.copy()
    save(tree, tmp_path / "x.safetensors", tie_names(tree, HEAD), sync=False)
    save(tree, tmp_path / "orbax", tie_names(tree, HEAD), sync=False)

    done = subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["x.safetensors", "9", "orbax", "9"]


SHARDED = """
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from tiecli import open_reader
from tiecli.pytrees import contract, expand, load, read_ties

mesh = jax.make_mesh((4, 2), ("x", "y"), **(
    {"axis_types": (jax.sharding.AxisType.Auto,) * 2} if hasattr(jax.sharding, "AxisType") else {}
))
rows = NamedSharding(mesh, P("x", "y"))
copies = NamedSharding(mesh, P())

for name in ("x.safetensors", "orbax"):
    path = Path(sys.argv[1]) / name
    boxes = []
    with open_reader(path) as reader:
        read_block = reader.read_block
        reader.read_block = lambda path, box: (boxes.append((path, box)), read_block(path, box))[1]
        tree = load(reader, sharding=lambda path, spec: rows if path.keys == ("wte",) else copies, expanded=False)
    assert len(set(boxes)) == len(boxes), boxes
    print(name, len(boxes))
    assert tree["wte"].sharding == rows and tree["b"].sharding == copies
    assert {shard.data.shape for shard in tree["wte"].addressable_shards} == {(4, 2)}
    assert np.array_equal(tree["wte"], np.arange(64).reshape(16, 4))
    ties = read_ties(path)
    full = expand(tree, ties)
    assert np.array_equal(full["head"], tree["wte"].T)
    assert len(full["head"].sharding.device_set) == 8
    assert np.array_equal(contract(full, ties)["wte"], tree["wte"])
    everywhere = load(path, sharding=copies)
    assert everywhere["head"].is_fully_replicated

    def loss(tree):
        return (jax.numpy.sin(expand(tree, ties)["head"]) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(tree)
    assert gradient["wte"].sharding.is_equivalent_to(rows, 2)
    assert np.allclose(gradient["wte"], np.sin(2 * np.arange(64.0)).reshape(16, 4), atol=1e-5)
"""
