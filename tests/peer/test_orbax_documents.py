"""What tiecli writes into the JSON files of an item, and which item it takes, stock Orbax sees in the same way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.peer.orbax_restores import Attempt, Restorer, list_parts
from tiecli.checkpoints.orbax.documents import compose_tree, derive_documents, set_custom
from tiecli.checkpoints.orbax.location import locate
from tiecli.checkpoints.orbax.treemetadata import parse_tree
from tiecli.checkpoints.protocol import Selection
from tiecli.errors import CheckpointError
from tiecli.keypaths import KeyPath

ORBAX = Path(__file__).parents[2] / "fixtures" / "orbax"
AS_STORED = Attempt("arguments", "found")


@pytest.fixture
def ocp() -> Any:
    """Orbax, or skip."""
    return pytest.importorskip("orbax.checkpoint", reason="orbax comes with the extra `peer`")


def edit(layout: str, target: Path, omitted: list[str], added: tuple[str, ...] = ()) -> Path:
    """Copies an item, and derives its JSON files; its store still holds everything."""
    shutil.copytree(ORBAX / layout, target)
    files = [target / "_METADATA", target / "_sharding", *target.glob("array_metadatas/*")]
    originals = {path.relative_to(target).as_posix(): path.read_bytes() for path in files}
    derived = derive_documents(originals, [KeyPath.parse(name) for name in omitted], {})
    derived = derive_documents(derived, [], {}, [KeyPath.parse(name) for name in added])
    for name, raw in derived.items():
        (target / name).write_bytes(raw)
    return target


def list_restored(path: Path, restorer: Restorer) -> dict[str, Any]:
    """Restores an item, each array as it is stored."""
    return dict(restorer.restore(list_parts(path)[0], AS_STORED))


@pytest.mark.parametrize(
    ("layout", "omitted", "nones"),
    [
        ("nodes", ["layers[0].kernel", "pair[1]"], {"layers[0].kernel", "pair[1]"}),
        ("nodes", ["layers[0].kernel", "layers[1].kernel"], {"layers[0].kernel", "layers[1].kernel"}),
        ("nodes", ["arrays.head", "rng.dropout"], set()),
        ("optax", ["opt_state[1][0].mu.lm_head.kernel", "params.lm_head.kernel"], set()),
        ("rich", ["opt_state[1][0].mu.lm_head.kernel", "opt_state[1][0].count"], set()),
        ("odd-names", ['"a.b".kernel', '"[0]".kernel', "a/b.kernel"], set()),
    ],
)
def test_what_is_omitted_is_gone_or_none(
    layout: str, omitted: list[str], nones: set[str], restorer: Restorer, tmp_path: Path
) -> None:
    """All else is restored bit for bit; where an element of a sequence would be gone, Orbax finds None."""
    whole = list_restored(ORBAX / layout, restorer)

    rest = list_restored(edit(layout, tmp_path / "c", omitted), restorer)

    assert {name for name in omitted if name in rest} == nones
    assert {rest[name].dtype for name in nones} <= {"None"}
    assert {name: leaf for name, leaf in rest.items() if name not in nones} == {
        name: leaf for name, leaf in whole.items() if name not in omitted
    }


def test_a_leaf_that_was_added_is_restored(restorer: Restorer, tmp_path: Path) -> None:
    """Listed anew, as a numpy array, it is restored in every way without anything said of devices."""
    names = ("layers[0].kernel", "arrays.head")
    path = edit("nodes", tmp_path / "c", list(names), names)

    assert list_restored(path, restorer) == list_restored(ORBAX / "nodes", restorer)
    again = restorer.restore(list_parts(path)[0], Attempt("pytree", "found"))
    assert {name: again[name] for name in names} == {name: list_restored(path, restorer)[name] for name in names}


def test_a_composed_tree_is_restored(restorer: Restorer, tmp_path: Path) -> None:
    """A store with nothing beside it but a fresh tree."""
    shutil.copytree(ORBAX / "optax", tmp_path / "c")
    raw = (tmp_path / "c" / "_METADATA").read_bytes()
    types = {node.path: node.value_type for node in parse_tree(raw, "x").nodes}
    for name in ("_sharding", "array_metadatas/process_0"):
        (tmp_path / "c" / name).unlink()
    others = {path: kind for path, kind in types.items() if kind != "jax.Array"}
    (tmp_path / "c" / "_METADATA").write_bytes(compose_tree(types, use_zarr3=False, value_types=others))

    assert list_restored(tmp_path / "c", restorer) == list_restored(ORBAX / "optax", restorer)


def test_the_rich_tree_is_read_by_orbax(ocp: Any, tmp_path: Path) -> None:
    """A reader that asks for rich types finds its named tuples, with None in the place of a leaf that is gone."""
    from orbax.checkpoint._src.metadata.pytree_metadata_options import PyTreeMetadataOptions

    gone = ["opt_state[1][0].mu.lm_head.kernel", "opt_state[1][0].count"]
    path = edit("rich", tmp_path / "c", gone)
    options = PyTreeMetadataOptions(support_rich_types=True)

    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(pytree_metadata_options=options)) as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree

    adam = tree["opt_state"][1][0]
    assert isinstance(tree["opt_state"], tuple)
    assert adam._fields == ("count", "mu", "nu")
    assert adam.count is None
    assert list(adam.mu) == ["embed", "tied"]
    assert list(adam.nu) == ["embed", "lm_head", "tied"]


def test_custom_metadata_is_seen_through_orbax(ocp: Any, tmp_path: Path) -> None:
    """What is set in an item and in its step is what Orbax shows of them, beside what the user put there."""
    root = shutil.copytree(ORBAX / "items", tmp_path / "c")
    for path in (root / "2" / "params" / "_METADATA", root / "2" / "_CHECKPOINT_METADATA"):
        path.write_bytes(set_custom(path.read_bytes(), "tiecli", {"ties": ["größer"]}, path.name))

    with ocp.PyTreeCheckpointer() as checkpointer:
        item = checkpointer.metadata(root / "2" / "params").item_metadata
    with ocp.CheckpointManager(root) as manager:
        step = manager.metadata(2)
    assert item.custom_metadata == {"tiecli": {"ties": ["größer"]}}
    assert step.custom_metadata == {"note": "warm-up done", "tiecli": {"ties": ["größer"]}}


@pytest.mark.parametrize(
    ("names", "left", "latest"),
    [
        (("named-steps",), (), 100),
        (("named-steps",), ("step_00000101.orbax-checkpoint-tmp",), 100),
        (("named-steps",), (".tiecli-tmp-step_00000101-1", "step_x", "step_00000101.old"), 100),
    ],
)
def test_the_latest_step_is_that_of_a_manager(
    ocp: Any, names: tuple[str], left: tuple[str, ...], latest: int, tmp_path: Path
) -> None:
    """Saves that never ended, and what has no name of a step, count for neither."""
    root = shutil.copytree(ORBAX / names[0], tmp_path / "c")
    for name in left:
        shutil.copytree(root / "step_00000090", root / name)
    for mark in root.rglob("commit_success.txt"):
        mark.unlink()
    options = ocp.CheckpointManagerOptions(step_prefix="step", step_format_fixed_length=8, read_only=True)

    with ocp.CheckpointManager(root, options=options) as manager:
        assert manager.latest_step() == latest
    assert locate(root, Selection()).step_number == latest


def test_a_step_without_content_is_where_they_part(ocp: Any, tmp_path: Path) -> None:
    """Orbax takes the empty directory for the latest step and cannot restore it; tiecli takes the one before."""
    root = shutil.copytree(ORBAX / "v1-training", tmp_path / "c")
    (root / "7").mkdir()

    with ocp.CheckpointManager(root, options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
        assert manager.latest_step() == 7
    found = locate(root, Selection())
    assert (found.step_number, found.notices) == (3, ("unfinished and passed over: step 7",))


@pytest.mark.parametrize(
    "spoil", ["_METADATA", "manifest.ocdbt", "{rename}.orbax-checkpoint-tmp"], ids=["tree", "manifest", "temporary"]
)
def test_what_is_refused_orbax_cannot_restore(ocp: Any, spoil: str, tmp_path: Path) -> None:
    """An item without its tree or its manifest, and one whose save never ended, are lost on both."""
    item = shutil.copytree(ORBAX / "pytree", tmp_path / "c")
    if "{rename}" in spoil:
        item = item.rename(tmp_path / spoil.format(rename="c"))
    else:
        (item / spoil).unlink()

    with ocp.PyTreeCheckpointer() as checkpointer, pytest.raises((ValueError, FileNotFoundError)):
        checkpointer.restore(item)
    with pytest.raises(CheckpointError):
        locate(item, Selection())
