"""Locating: which item a path means, and what is said where it means none."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tiecli.checkpoints.orbax.location import Location, is_orbax, locate
from tiecli.checkpoints.protocol import Selection
from tiecli.errors import (
    CheckpointNotFoundError,
    PartNotFoundError,
    TiecliError,
    UnfinishedCheckpointError,
    UnreadableFileError,
    UnsupportedCheckpointError,
)

FIXTURES = Path(__file__).parents[4] / "fixtures"
ORBAX = FIXTURES / "orbax"
ANY = Selection()


def make(root: Path, *names: str) -> Path:
    """Makes empty files, and directories where a name ends in a slash."""
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def fail(path: Path, kind: type[TiecliError], selection: Selection = ANY) -> TiecliError:
    """Locates, and gives the refusal, which has a hint."""
    with pytest.raises(kind) as caught:
        locate(path, selection)
    assert type(caught.value) is kind
    assert all(hint.endswith(".") for hint in caught.value.hints)
    return caught.value


@pytest.mark.parametrize(
    ("path", "level", "item", "step", "number"),
    [
        ("pytree", "item", "pytree", None, None),
        ("files-zarr3", "item", "files-zarr3", None, None),
        ("v1", "step", "v1/state", "v1", None),
        ("v1/state", "item", "v1/state", "v1", None),
        ("v1-training", "root", "v1-training/3/state", "v1-training/3", 3),
        ("v1-training/1", "step", "v1-training/1/state", "v1-training/1", 1),
        ("named-steps", "root", "named-steps/step_00000100/default", "named-steps/step_00000100", 100),
        ("one-item-and-json", "root", "one-item-and-json/1/state", "one-item-and-json/1", 1),
        ("items/2/params", "item", "items/2/params", "items/2", 2),
        ("pytree/_METADATA", "item", "pytree", None, None),
        ("pytree/manifest.ocdbt", "item", "pytree", None, None),
        ("pytree/array_metadatas/process_0", "item", "pytree", None, None),
        ("files-zarr3/params.token_embedder.embedding/c/0/0", "item", "files-zarr3", None, None),
        ("items/2/params/_sharding", "item", "items/2/params", "items/2", 2),
        ("v1/_CHECKPOINT_METADATA", "step", "v1/state", "v1", None),
        ("v1/orbax.checkpoint", "step", "v1/state", "v1", None),
    ],
)
def test_finds_the_item_of_every_layout(path: str, level: str, item: str, step: str | None, number: int | None) -> None:
    """A path of any level, and any file below it, leads to the item that stock Orbax would restore."""
    found = locate(ORBAX / path, ANY)

    assert is_orbax(ORBAX / path)
    assert (found.level, found.item, found.step_number) == (level, ORBAX / item, number)
    assert found.step == (None if step is None else ORBAX / step)
    assert found.item_name == ("" if step is None else found.item.name)
    assert (found.item / "_METADATA").is_file()


@pytest.mark.parametrize(
    ("selection", "item"),
    [
        (Selection(step=90), "step_00000090/default"),
        (Selection(step=100), "step_00000100/default"),
        (Selection(item="default"), "step_00000100/default"),
        (Selection(90, "default"), "step_00000090/default"),
    ],
)
def test_a_step_and_an_item_may_be_named(selection: Selection, item: str) -> None:
    """A step goes by its number, however its directory is called."""
    root = ORBAX / "named-steps"

    assert locate(root, selection).item == root / item


def test_the_latest_step_is_the_largest_number(tmp_path: Path) -> None:
    """Ten comes after nine; what is no step, or not finished, does not count."""
    root = make(tmp_path / "root", "9/default/_METADATA", "10/default/_METADATA", "notes.txt", "logs/", "eval_x/")
    make(root, "11.orbax-checkpoint-tmp/default/", "10/_CHECKPOINT_METADATA")

    assert locate(root, ANY) == Location(root, "root", root / "10/default", "default", root / "10", 10)


@pytest.mark.parametrize(
    "left",
    [
        ("12/",),
        ("12/default/",),
        ("12/_CHECKPOINT_METADATA",),
        ("12/default/manifest.ocdbt", "12/default/d/0"),
        ("12/default/_METADATA", "12/default/ocdbt.process_0/manifest.ocdbt"),
        ("12/default.orbax-checkpoint-tmp/", "12/other/_METADATA"),
        ("12/default/w/.zarray",),
    ],
)
def test_an_unfinished_step_is_passed_over_and_told(tmp_path: Path, left: tuple[str, ...]) -> None:
    """The latest finished step is taken, with a notice; named, the unfinished one is refused."""
    root = make(tmp_path / "root", "7/default/_METADATA", *left)

    assert locate(root, ANY) == Location(
        root, "root", root / "7/default", "default", root / "7", 7, ("unfinished and passed over: step 12",)
    )
    with pytest.raises((UnfinishedCheckpointError, PartNotFoundError)):
        locate(root, Selection(step=12))


def test_orbax_needs_no_commit_marker_on_a_local_disk(tmp_path: Path) -> None:
    """A step without `commit_success.txt` and `_CHECKPOINT_METADATA` is one, as it is for stock Orbax."""
    shutil.copytree(ORBAX / "named-steps", tmp_path / "c")
    for mark in [*(tmp_path / "c").rglob("commit_success.txt"), *(tmp_path / "c").rglob("_CHECKPOINT_METADATA")]:
        mark.unlink()

    assert locate(tmp_path / "c", ANY).step_number == 100
    step = tmp_path / "c" / "step_00000090"
    assert locate(step, ANY).item_name == "default"
    assert locate(step / "default", ANY) == Location(step / "default", "item", step / "default", "default", step, 90)


def test_steps_that_are_items_themselves(tmp_path: Path) -> None:
    """Flax and early Orbax saved a tree right into the directory of its step."""
    root = make(tmp_path / "root", "checkpoint_1/_METADATA", "checkpoint_20/_METADATA", "checkpoint_3/_METADATA")

    step = root / "checkpoint_20"
    assert locate(root, ANY) == Location(root, "root", step, "", step, 20)
    assert locate(step, ANY) == Location(step, "item", step, "", None, None)
    assert "is itself an item" in fail(root, PartNotFoundError, Selection(item="params")).message


def test_a_name_may_end_in_digits_and_mean_no_step(tmp_path: Path) -> None:
    """What the new API's `save` wrote stands alone, whatever it is called; only steps have a number."""
    shutil.copytree(ORBAX / "v1", tmp_path / "gemma_2")

    found = locate(tmp_path / "gemma_2", ANY)
    assert (found.level, found.step_number) == ("step", None)
    assert locate(tmp_path / "gemma_2" / "state", ANY).step_number is None


def test_links_are_followed(tmp_path: Path) -> None:
    """A step may be a link, as a kept best step often is; a dangling one is no step."""
    root = make(tmp_path / "root", "other/")
    (root / "5").symlink_to(ORBAX / "named-steps" / "step_00000090")
    (root / "6").symlink_to(tmp_path / "gone")
    link = tmp_path / "link"
    link.symlink_to(root)

    assert locate(link, ANY).item == link / "5" / "default"
    assert locate(link, ANY).root == link


def test_a_path_may_be_spelled_by_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` and `..` know their names, and are shown as they were given."""
    monkeypatch.chdir(ORBAX / "named-steps" / "step_00000090" / "default")

    assert locate(Path(), ANY) == Location(Path(), "item", Path(), "default", Path.cwd().parent, 90)
    assert locate(Path(".."), ANY).step_number == 90
    monkeypatch.chdir(make(tmp_path / "8.orbax-checkpoint-tmp"))
    fail(Path(), UnfinishedCheckpointError)


@pytest.mark.parametrize("path", ["items", "items/2"])
def test_several_items_are_listed(path: str) -> None:
    """With several trees one must be named; the refusal says which there are, and what each is."""
    error = fail(ORBAX / path, PartNotFoundError)

    assert error.message.endswith("/items/2` has several items: `opt_state`, `params` (trees), `cfg` (JSON)")
    assert error.hints[0] == "Give --item opt_state or --item params."
    assert error.hints[1] == f"Or give its path, as any command takes it: `{ORBAX / 'items/2/opt_state'}`."
    assert locate(ORBAX / path, Selection(item="params")).item == ORBAX / "items/2/params"


@pytest.mark.parametrize(
    ("path", "selection", "message", "hint"),
    [
        (
            "items",
            Selection(item="parms"),
            "has no item `parms`, but `opt_state`, `params` (trees), `cfg` (JSON)",
            "--item",
        ),
        ("items", Selection(step=3), "has no step 3, but 2", "Give --step 2."),
        ("v1", Selection(step=3), "is no step of many, so it has no step 3", "Leave out --step."),
        ("items/2", Selection(step=3), "is step 2, so it has no step 3", "Leave out --step."),
        ("items/2/params", Selection(item="opt_state"), "is one item already", "Leave out"),
        ("pytree", Selection(step=0), "is one item already", "Leave out"),
        ("pytree", Selection(item="default"), "is one item already", "Leave out"),
    ],
)
def test_no_such_part(path: str, selection: Selection, message: str, hint: str) -> None:
    """A step or item that is not there is refused with those that are."""
    error = fail(ORBAX / path, PartNotFoundError, selection)

    assert error.message.endswith(message)
    assert hint in error.hints[0]


def test_a_path_below_the_root_may_repeat_what_it_says() -> None:
    """The number of the step, and the name of the item, may be given again."""
    path = ORBAX / "items/2/params"

    assert locate(path, Selection(2, "params")).item == path
    assert locate(path.parent, Selection(2, "params")).item == path


@pytest.mark.parametrize(("path", "item"), [("items", "cfg"), ("items/2", "cfg"), ("items/2/cfg", None)])
def test_a_json_item_is_refused_by_name(path: str, item: str | None) -> None:
    """It is there, and holds no leaves."""
    error = fail(ORBAX / path, UnsupportedCheckpointError, Selection(item=item))

    assert error.message.endswith("/items/2/cfg` is a JSON item, which holds no leaves")
    assert error.hints[0] == "Give --item opt_state or --item params."
    assert error.hints[1] == f"Or give its path, as any command takes it: `{ORBAX / 'items/2/opt_state'}`."


def test_a_step_without_any_tree(tmp_path: Path) -> None:
    """Only JSON, or things of other handlers: nothing to read."""
    step = make(tmp_path / "c", "_CHECKPOINT_METADATA", "cfg/metadata", "data/process_0-of-1.json")

    error = fail(step, UnsupportedCheckpointError)
    assert error.message.endswith("holds no tree of arrays, only `cfg` (JSON), `data` (no tree)")
    fail(step, UnsupportedCheckpointError, Selection(item="data"))


@pytest.mark.parametrize("file", ["metadata", "jax_random_key", "np_random_key"])
def test_an_item_without_a_tree_that_stands_alone(tmp_path: Path, file: str) -> None:
    """As `Checkpointer(JsonCheckpointHandler())` and those of random keys save it: finished, and without leaves."""
    item = make(tmp_path / "c", "_CHECKPOINT_METADATA", "commit_success.txt", file)

    assert f"holds no leaves, only `{file}`" in fail(item, UnsupportedCheckpointError).message


@pytest.mark.parametrize(
    "names", [("c/checkpoint",), ("c/checkpoint", "c/w/.zarray"), ("c/_CHECKPOINT_METADATA", "c/s/checkpoint")]
)
def test_an_aggregate_is_refused_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    """The single msgpack file of early Orbax."""
    make(tmp_path, *names)

    assert "one msgpack file" in fail(tmp_path / "c", UnsupportedCheckpointError).message


def test_a_save_in_place_that_was_never_committed(tmp_path: Path) -> None:
    """As in a bucket: its metadata says when it began and not when it ended, and the marker is not there."""
    shutil.copytree(ORBAX / "named-steps", tmp_path / "c")
    earlier, latest = tmp_path / "c/step_00000090", tmp_path / "c/step_00000100"
    text = (latest / "_CHECKPOINT_METADATA").read_text()
    running = re.sub(r'("commit_timestamp_nsecs": )\d+', r"\1null", text)
    (latest / "_CHECKPOINT_METADATA").write_text(running)

    assert locate(tmp_path / "c", ANY).step == latest  # the marker has the last word
    (latest / "commit_success.txt").unlink()

    passed = locate(tmp_path / "c", ANY)
    assert (passed.step, passed.notices) == (earlier, ("unfinished and passed over: step 100",))
    for path in (latest, latest / "default", latest / "default/_METADATA"):
        assert fail(path, UnfinishedCheckpointError).message.startswith(f"`{latest}` was never committed")
    fail(tmp_path / "c", UnfinishedCheckpointError, Selection(step=100))

    (latest / "_CHECKPOINT_METADATA").write_text(text)
    assert locate(tmp_path / "c", ANY).step == latest


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (("c.orbax-checkpoint-tmp/_METADATA",), "c.orbax-checkpoint-tmp", "is a save that never ended"),
        (("c.orbax-checkpoint-tmp/_METADATA",), "c", "c.orbax-checkpoint-tmp` is a save that never ended"),
        (("7.orbax-checkpoint-tmp-1700/default/_METADATA",), "7.orbax-checkpoint-tmp-1700/default", "never ended"),
        (("c/7.orbax-checkpoint-tmp/", "c/metadata/"), "c", "only saves that never ended: `7.orbax-checkpoint-tmp`"),
        (("c/7/",), "c", "holds no finished step, only `7`"),
        (("c/7/", "c/8/default/"), "c", "holds no finished step, only `7`, `8`"),
        (("c/1/default/_METADATA", "c/7/"), "c/7", "is empty: its save, or its copy, never ended"),
        (("c/_CHECKPOINT_METADATA",), "c", "holds no item; its save, or its copy, never ended"),
        (("c/_CHECKPOINT_METADATA", "c/default/"), "c", "holds only empty items: `default` (empty)"),
        (
            ("c/_CHECKPOINT_METADATA", "c/s.orbax-checkpoint-tmp/_METADATA", "c/s.orbax-checkpoint-tmp/manifest.ocdbt"),
            "c",
            "c/s.orbax-checkpoint-tmp` is a save that never ended",
        ),
        (("c/manifest.ocdbt", "c/d/0"), "c", "but no `_METADATA`"),
        (("c/_sharding",), "c", "is unfinished"),
        (("c/_METADATA", "c/ocdbt.process_0/manifest.ocdbt"), "c", "is unfinished"),
        (("c/7/default/manifest.ocdbt",), "c/7", "/7/default` is unfinished"),
        (("c/orbax.checkpoint", "c/_CHECKPOINT_DELETION", "c/a/_METADATA"), "c", "the deletion of an item"),
    ],
)
def test_what_was_never_finished(tmp_path: Path, names: tuple[str, ...], given: str, message: str) -> None:
    """Each way of being unfinished is told, and counts as Orbax's."""
    make(tmp_path, *names)

    assert is_orbax(tmp_path / given)
    assert message in fail(tmp_path / given, UnfinishedCheckpointError).message


def test_a_running_save_of_the_wanted_step(tmp_path: Path) -> None:
    """It is told apart from a step that never was."""
    root = make(tmp_path / "c", "3/default/_METADATA", "step_7.orbax-checkpoint-tmp/")

    error = fail(root, UnfinishedCheckpointError, Selection(step=7))
    assert error.message == f"the save of step 7 never ended: `{root}/step_7.orbax-checkpoint-tmp`"
    assert "--step 3" in error.hints[0]


def test_one_number_twice(tmp_path: Path) -> None:
    """Two directories for one step are refused, and told."""
    root = make(tmp_path / "c", "7/default/_METADATA", "step_7/default/_METADATA")

    error = fail(root, CheckpointNotFoundError)
    assert error.message.endswith("holds step 7 more than once: `7`, `step_7`")
    assert error.hints == (f"Name one: `{root}/7`.",)


def test_a_directory_of_checkpoints_is_none(tmp_path: Path) -> None:
    """Checkpoints side by side, each complete in itself, are no items of one step."""
    root = make(
        tmp_path / "c", "llama/_METADATA", "llama/_CHECKPOINT_METADATA", "gemma/_METADATA", "gemma/_CHECKPOINT_METADATA"
    )

    assert is_orbax(root)
    assert fail(root, CheckpointNotFoundError).hints == (f"Name one: `{root}/gemma`.",)


def test_a_manager_without_steps(tmp_path: Path) -> None:
    """A root that has metadata, and nothing else yet."""
    root = make(tmp_path / "c", "metadata/_ROOT_METADATA")

    assert is_orbax(root)
    assert "holds no step and no item" in fail(root, CheckpointNotFoundError).message


def test_nothing_there(tmp_path: Path) -> None:
    """A path that leads nowhere."""
    assert not is_orbax(tmp_path / "no")
    assert "no such file" in fail(tmp_path / "no", CheckpointNotFoundError).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_the_system_refuses(tmp_path: Path) -> None:
    """A directory that may not be listed."""
    root = make(tmp_path / "c", "1/default/_METADATA")
    (root / "1").chmod(0)

    fail(root, UnreadableFileError)
    (root / "1").chmod(0o700)


@pytest.mark.parametrize("path", sorted(path for path in FIXTURES.iterdir() if path.name != "orbax"), ids=str)
def test_safetensors_are_never_taken_for_orbax(path: Path) -> None:
    """Neither a Hugging Face directory, nor any file of one."""
    assert not is_orbax(path)
    assert not any(is_orbax(file) for file in path.rglob("*"))


def test_what_merely_lies_about_is_not_orbax(tmp_path: Path) -> None:
    """Numbered directories, TensorFlow's `checkpoint`, a trainer's directory, an empty one."""
    make(
        tmp_path, "digits/0/a.png", "digits/1/b.png", "tf/checkpoint", "run/checkpoint-500/model.safetensors", "empty/"
    )
    make(tmp_path, "hf/model.safetensors", "hf/7/", "hf/config.json")

    assert [path.name for path in sorted(tmp_path.iterdir()) if is_orbax(path)] == []
    assert not is_orbax(Path("a\0b"))
