"""Which files of an index are surveyed, whatever the index names."""

from __future__ import annotations

from pathlib import Path

from tests.lint.building import write_file, write_json, write_shards
from tiecli.checkpoints.survey.safetensors import SafetensorsSurvey, survey_safetensors
from tiecli.checkpoints.survey.units import Unit

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHARDS = {FIRST: {"a": ("F32", (2,))}, SECOND: {"b": ("F32", (2,))}}


def survey(directory: Path) -> SafetensorsSurvey:
    """Surveys the checkpoint of an index."""
    return survey_safetensors(Unit(directory, "safetensors", directory, (), INDEX))


def test_files_come_in_the_order_of_the_index(tmp_path: Path) -> None:
    """All that are there are read, none is missing."""
    told = survey(write_shards(tmp_path, SHARDS, weight_map={"b": SECOND, "a": FIRST}))

    assert [file.name for file in told.files] == [SECOND, FIRST]
    assert told.missing == ()


def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    """A directory, a link to nothing and names that no system takes are files that are not there."""
    write_shards(tmp_path, SHARDS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    absurd = ["folder", "link", "gone", "x/" + "y" * 5_000, "a\0", "z" * 5_000]
    rows = {"a": FIRST, **{f"row{n}": name for n, name in enumerate(absurd)}}
    write_json(tmp_path / INDEX, {"metadata": {}, "weight_map": rows})

    told = survey(tmp_path)

    assert [file.name for file in told.files] == [FIRST]
    assert list(told.missing) == absurd


def test_files_outside_are_not_opened(tmp_path: Path) -> None:
    """A file that an index names in another directory is there, and is left alone all the same."""
    outside = write_file(tmp_path / "outside.safetensors", {"a": ("F32", (2,))})
    write_shards(tmp_path / "m", SHARDS, weight_map={"a": "../outside.safetensors", "b": str(outside)})

    told = survey(tmp_path / "m")

    assert told.files == ()
    assert told.shard_index is not None
    assert told.missing == told.shard_index.escapes == ("../outside.safetensors", str(outside))


def test_files_of_a_subdirectory_are_read(tmp_path: Path) -> None:
    """A name with a slash in it may well stay inside."""
    write_shards(tmp_path, {"parts/1.safetensors": SHARDS[FIRST]})

    assert [file.name for file in survey(tmp_path).files] == ["parts/1.safetensors"]


def test_an_index_that_names_nothing_stands_for_the_set_of_its_name(tmp_path: Path) -> None:
    """With a damaged index, the numbered files beside it are what it was about; others are not."""
    write_shards(tmp_path, SHARDS)
    write_file(tmp_path / "other-00001-of-00001.safetensors", {"c": ("F32", (2,))})
    (tmp_path / INDEX).write_text('{"weight_map": ')

    told = survey(tmp_path)

    assert [file.name for file in told.files] == [FIRST, SECOND]
    assert told.shard_index is not None
    assert len(told.shard_index.problems) == 1
