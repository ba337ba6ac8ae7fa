"""`tiecli/checkpoints/survey/walking.py` and `units.py`: every path leads to checkpoints, each found once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.lint.building import write_file, write_json, write_llama, write_shards
from tiecli.checkpoints.survey.walking import find_all, find_units
from tiecli.errors import CheckpointNotFoundError

FIXTURES = Path(__file__).parents[4] / "fixtures"
LEAF = {"w": ("F32", (2,))}


def shards(count: int, total: int) -> list[str]:
    """Names the files of a set."""
    return [f"model-{number:05}-of-{total:05}.safetensors" for number in range(1, count + 1)]


def roots(*paths: object) -> list[str]:
    """Names the roots of what is found, relative to the first path if that is a directory."""
    found = find_all([str(path) for path in paths])
    assert found.problems == ()
    return [str(unit.root) for unit in found.units]


def test_every_file_of_a_sharded_checkpoint_leads_to_it(tmp_path: Path) -> None:
    """Shards, index, config and directory are one checkpoint, named by its directory."""
    write_shards(tmp_path, {name: {name: ("F32", (2,))} for name in shards(2, 2)})
    write_json(tmp_path / "config.json", {})

    assert roots(tmp_path, *sorted(tmp_path.iterdir())) == [str(tmp_path)]
    for path in tmp_path.iterdir():
        assert find_units(path)[0].index_name == "model.safetensors.index.json"


def test_shards_without_an_index_are_one_checkpoint(tmp_path: Path) -> None:
    """Two sets side by side are two; other files stand for themselves."""
    for name in (*shards(2, 2), *shards(3, 3), "extra.safetensors", "._extra.safetensors"):
        write_file(tmp_path / name, LEAF)

    units = find_units(tmp_path)

    assert [unit.files for unit in units] == [("extra.safetensors",), tuple(shards(2, 2)), tuple(shards(3, 3))]
    assert find_units(tmp_path / shards(3, 3)[2])[0] == units[2]


def test_optimizer_files_belong_to_the_model_beside_them(tmp_path: Path) -> None:
    """They are linted by themselves when somebody names them, or nothing else is there."""
    write_llama(tmp_path)
    write_file(tmp_path / "optimizer.safetensors", LEAF)

    assert [unit.files for unit in find_units(tmp_path)] == [("model.safetensors",)]
    assert find_units(tmp_path / "optimizer.safetensors")[0].files == ("optimizer.safetensors",)
    (tmp_path / "model.safetensors").unlink()
    assert [unit.files for unit in find_units(tmp_path)] == [("optimizer.safetensors",)]


def test_strays_beside_an_index_are_no_checkpoints(tmp_path: Path) -> None:
    """But a whole model of the same name is one, and an adapter is."""
    write_shards(tmp_path, {name: {name: ("F32", (2,))} for name in shards(2, 2)})
    for name in ("consolidated.safetensors", "model.safetensors", "adapter_model.safetensors"):
        write_file(tmp_path / name, LEAF)
    write_json(tmp_path / "adapter_config.json", {})

    found = [(unit.root.name, unit.files) for unit in find_units(tmp_path)]

    assert found == [
        (tmp_path.name, ()),
        ("adapter_model.safetensors", ("adapter_model.safetensors",)),
        ("model.safetensors", ("model.safetensors",)),
    ]
    assert find_units(tmp_path / "consolidated.safetensors")[0].files == ("consolidated.safetensors",)


def test_several_indexes_are_several_checkpoints(tmp_path: Path) -> None:
    """Each is named by its index."""
    write_shards(tmp_path, {"model-00001-of-00001.safetensors": LEAF})
    write_json(tmp_path / "ema.safetensors.index.json", {"weight_map": {"w": "model-00001-of-00001.safetensors"}})

    assert [Path(root).name for root in roots(tmp_path)] == [
        "ema.safetensors.index.json",
        "model.safetensors.index.json",
    ]


def test_an_index_that_cannot_be_read_still_has_its_shards(tmp_path: Path) -> None:
    """Otherwise a damaged index would hide behind the shards that it names."""
    write_file(tmp_path / "a.safetensors", LEAF)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors"')

    assert find_units(tmp_path / "a.safetensors")[0].index_name == "model.safetensors.index.json"


def test_directories_are_walked_and_hidden_ones_left_out(tmp_path: Path) -> None:
    """Models lie at any depth, also below other models."""
    for place in ("a", "a/checkpoint-10", "b/c/d", ".git/lfs", ".cache/e"):
        write_llama(tmp_path / place)
    (tmp_path / "empty").mkdir()

    assert roots(tmp_path) == [str(tmp_path / place) for place in ("a", "a/checkpoint-10", "b/c/d")]
    assert roots(tmp_path / ".git") == [str(tmp_path / ".git" / "lfs")]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    """A loop of directories, a link to itself, and a link to nothing."""
    write_llama(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "gone").symlink_to("nowhere")

    assert roots(tmp_path) == [str(tmp_path / "a")]
    assert roots(f"{tmp_path}/**/model*") == [str(tmp_path / "a")]


def test_revisions_in_the_hub_cache_that_share_their_blobs_are_one(tmp_path: Path) -> None:
    """One whose config differs is another checkpoint, though its weights are the same."""
    model = tmp_path / "models--org--name"
    write_llama(tmp_path / "plain")
    (model / "blobs").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("aaa")
    shutil.move(tmp_path / "plain" / "model.safetensors", model / "blobs" / "0001")
    shutil.move(tmp_path / "plain" / "config.json", model / "blobs" / "0002")
    write_json(model / "blobs" / "0003", {"model_type": "llama"})
    (tmp_path / "plain").rmdir()
    for revision, config in (("aaa", "0002"), ("bbb", "0002"), ("ccc", "0003")):
        snapshot = model / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to("../../blobs/0001")
        (snapshot / "config.json").symlink_to(f"../../blobs/{config}")

    assert [Path(root).name for root in roots(tmp_path)] == ["aaa", "ccc"]
    assert roots(model / "snapshots" / "bbb") == [str(model / "snapshots" / "bbb")]


def test_globs_are_expanded_where_the_shell_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A match that is no checkpoint is passed over; a directory of that very name wins."""
    monkeypatch.chdir(tmp_path)
    for place in ("m/a/best", "m/b/best", "m/b/last", "m/[x]"):
        write_llama(Path(place))
    Path("m/notes.bin").write_text("nothing")

    assert roots("m/**/best") == ["m/a/best", "m/b/best"]
    assert roots("m/**") == roots("m") == roots("m/*") == ["m/[x]", "m/a/best", "m/b/best", "m/b/last"]
    assert roots("m/?/l*/model.safetensors") == ["m/b/last"]
    assert roots("m/[x]") == ["m/[x]"]
    assert roots(f"{tmp_path}/m/*/last") == [f"{tmp_path}/m/b/last"]
    assert find_all(["m/*.bin"]).problems[0].path == "m/*.bin"
    assert find_all(["n/*"]).units == ()


def test_what_stands_for_nothing_is_named(tmp_path: Path) -> None:
    """Missing paths, directories and texts without weights, files of another format; the others are found."""
    write_llama(tmp_path / "a")
    (tmp_path / "empty" / "config.json").parent.mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04rest")
    paths = [tmp_path / name for name in ("gone", "empty", "empty/config.json", "model.bin", "a", "x" * 300)]

    found = find_all([*map(str, paths), "a\0b"])

    assert [unit.root for unit in found.units] == [tmp_path / "a"]
    assert [problem.path for problem in found.problems] == [*(str(p) for p in paths if p.name != "a"), "a\0b"]
    assert "zip archive" in found.problems[3].error.message
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        find_units(tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    """It could hold anything."""
    write_llama(tmp_path / "a")
    write_llama(tmp_path / "b")
    (tmp_path / "b").chmod(0)
    try:
        found = find_all([str(tmp_path)])
    finally:
        (tmp_path / "b").chmod(0o755)

    assert [unit.root for unit in found.units] == [tmp_path / "a"]
    assert [problem.path for problem in found.problems] == [str(tmp_path / "b")]


def test_orbax_roots_steps_and_files(tmp_path: Path) -> None:
    """A root of steps is one checkpoint, a step by itself is one, and a file leads to the step it lies in."""
    root = shutil.copytree(FIXTURES / "orbax" / "named-steps", tmp_path / "runs" / "r")
    steps = sorted(path.name for path in root.iterdir() if path.is_dir())
    write_llama(tmp_path / "runs" / "model")

    assert roots(tmp_path) == roots(f"{tmp_path}/**/*") == [str(root.parent / "model"), str(root)]
    assert roots(root / steps[0]) == [str(root / steps[0])]
    for file in (root / steps[0]).rglob("*"):
        if file.is_file():
            assert roots(file) == [str(root / steps[0])], file
    assert roots(root, root / steps[0]) == [str(root)]


def test_trees_that_only_look_like_orbax_are_none(tmp_path: Path) -> None:
    """Empty directories named by dates, and arrays of zarr that are no item."""
    for year in ("2024", "2025"):
        (tmp_path / "logs" / year / "01").mkdir(parents=True)
    (tmp_path / "data.zarr" / "x").mkdir(parents=True)
    (tmp_path / "data.zarr" / ".zgroup").write_text("{}")
    (tmp_path / "data.zarr" / "x" / ".zarray").write_text("{}")
    write_llama(tmp_path / "model")

    assert roots(tmp_path) == [str(tmp_path / "model")]


def test_models_beside_orbax_checkpoints_are_found(tmp_path: Path) -> None:
    """A directory that holds an item, and others that are none; a root of steps with an export in it."""
    shutil.copytree(FIXTURES / "orbax" / "nodes", tmp_path / "mixed" / "item")
    shutil.copytree(FIXTURES / "orbax" / "named-steps", tmp_path / "root")
    for place in ("mixed/model", "root/export"):
        write_llama(tmp_path / place)

    assert roots(tmp_path) == [str(tmp_path / it) for it in ("mixed/item", "mixed/model", "root", "root/export")]
    assert roots(tmp_path / "mixed") == [str(tmp_path / it) for it in ("mixed/item", "mixed/model")]


@pytest.mark.parametrize("fixture", sorted(path.name for path in (FIXTURES / "orbax").iterdir()))
def test_every_orbax_fixture_is_one_checkpoint(fixture: str) -> None:
    """Whatever its layout, and whether or not it lies in a directory of others."""
    assert roots(FIXTURES / "orbax" / fixture) == [str(FIXTURES / "orbax" / fixture)]
    assert str(FIXTURES / "orbax" / fixture) in roots(FIXTURES)
