"""Surveys of files: what each damage says, which one is the root of others, and that bombs take linear time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.checkpoints.safetensors.files import describe, put_together
from tiecli.checkpoints.survey.files import Damage, FileSurvey, survey_file
from tiecli.errors import CheckpointNotFoundError, UnreadableFileError

# Long enough to tell linear from quadratic time, whatever the machine.
SECONDS = 20


def survey(path: Path, header: object, data: bytes = b"") -> FileSurvey:
    """Surveys a file with a header and data."""
    file = path / "m.safetensors"
    file.write_bytes(put_together(header, data))  # type: ignore[arg-type]
    return survey_file(file, "m.safetensors")


def vector(begin: int, end: int, **fields: Any) -> dict[str, Any]:
    """What a header says of some bytes."""
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end], **fields}


def test_a_sound_file_is_parsed_once_and_has_no_damage(tmp_path: Path) -> None:
    """Header, specs and metadata are those of the strict reading."""
    found = survey(tmp_path, {"__metadata__": {"k": "v"}, "a": describe("F32", [2], 0)}, bytes(8))

    assert found.header is not None
    assert found.specs is found.header.specs
    assert (found.damages, found.legible, found.mendable, found.metadata) == ((), True, True, {"k": "v"})


def test_every_damage_is_listed(tmp_path: Path) -> None:
    """One damage does not hide another, and what can be told is told."""
    header = {
        "__metadata__": {"k": 1, "l": "text"},
        "a": vector(0, 4),
        "b": vector(2, 6),
        "c": vector(8, 12, dtype="X"),
        "d": vector(12, 16, shape=None),
        "e": vector(16, 20, shape=[9]),
        "f": vector(20, 24),
        "g": 5,
    }
    found = survey(tmp_path, header, bytes(22))

    assert [(it.kind, it.leaves) for it in found.damages] == [
        ("metadata-type", ()),
        ("unknown-dtype", ("c",)),
        ("unreadable", ("d",)),
        ("size-mismatch", ("e",)),
        ("unreadable", ("g",)),
        ("overlap", ("a", "b")),
        ("truncated", ("f",)),
    ]
    assert list(found.infos) == list("abcdefg")
    assert list(found.specs) == list("abef")
    assert found.metadata == {"k": 1, "l": "text"}
    assert (found.legible, found.mendable) == (True, False)


@pytest.mark.parametrize(
    ("header", "data", "damage"),
    [
        ({"a": vector(0, 4)}, 6, Damage("trailing", ("a",), {"count": 2})),
        ({"a": vector(2, 4)}, 4, Damage("hole", ("a",), {"start": 0, "stop": 2})),
        ({"a": vector(0, 4), "b": vector(2, 6)}, 6, Damage("overlap", ("a", "b"), {"start": 2, "stop": 4})),
        ({"a": vector(0, 4), "b": vector(2, 2)}, 4, Damage("overlap", ("a", "b"), {"start": 2, "stop": 2})),
        ({"a": vector(0, 4)}, 3, Damage("truncated", ("a",), {"part": "data", "need": 4, "have": 3})),
        (
            {"a": vector(0, 4), "b": vector(8, 8)},
            4,
            Damage("truncated", ("b",), {"part": "data", "need": 8, "have": 4}),
        ),
    ],
    ids=["tail", "hole", "overlap", "empty inside", "cut", "empty beyond"],
)
def test_facts(tmp_path: Path, header: object, data: int, damage: Damage) -> None:
    """Each damage brings the figures that a message needs."""
    assert survey(tmp_path, header, bytes(data)).damages == (damage,)


@pytest.mark.parametrize(
    ("header", "data", "kind"),
    [
        ({"a": vector(0, 6, shape=[4]), "b": vector(4, 8)}, 8, "size-mismatch"),
        ({"a": vector(0, 2, shape=[4]), "b": vector(4, 8)}, 8, "size-mismatch"),
        ({"a": vector(0, 4), "b": vector(4, 6, shape=[4])}, 8, "size-mismatch"),
        ({"a": vector(0, 4), "b": vector(4, 1 << 60, shape=[4])}, 8, "size-mismatch"),
        ({"a": vector(0, 4), "b": vector(2, 2, dtype="")}, 4, "unknown-dtype"),
        ({"a": vector(0, 4), "b": vector(4, 8, data_offsets=[4])}, 8, "unreadable"),
        ({"a": 1, "b": vector(4, 8)}, 12, "unreadable"),
        (
            '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}}',
            9,
            "repeated-key",
        ),
        ('{"a":{"shape":[],"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4, "repeated-key"),
        ('{"a":{"shape":[4],"dtype":"U8","shape":null,"data_offsets":[0,9]}}', 4, "repeated-key"),
    ],
)
def test_what_follows_from_another_damage_is_left_out(tmp_path: Path, header: object, data: int, kind: str) -> None:
    """Holes, overlaps, missing and trailing bytes beside a tensor that is wrong itself are no damages of their own."""
    assert {it.kind for it in survey(tmp_path, header, bytes(data)).damages} == {kind}


def test_half_a_surrogate_pair_never_leaves_the_survey(tmp_path: Path) -> None:
    """Names and values that cannot be written are named by their escapes, and are nowhere else."""
    tensor = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    found = survey(
        tmp_path, f'{{"__metadata__":{{"k":"\\ud800","l":""}},"\\ud800":{tensor},"\\ud800":{tensor},"b":{tensor}}}'
    )

    assert list(found.infos) == ["b"]
    assert found.metadata == {"l": ""}
    assert {it.kind for it in found.damages} == {"repeated-key", "unreadable"}
    repr([(it.leaves, dict(it.facts)) for it in found.damages]).encode("ascii")
    "".join(it.facts.get("key", "") for it in found.damages).encode()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """There is nothing to survey."""
    with pytest.raises(CheckpointNotFoundError):
        survey_file(tmp_path / "nothing", "nothing")
    with pytest.raises(UnreadableFileError):
        survey_file(tmp_path, "directory")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError):
        survey_file(tmp_path / "pipe", "pipe")


def many(entry: str, count: int) -> str:
    """A header of many entries, in which `#` stands for a number."""
    return "{" + ",".join(entry.replace("#", str(number)) for number in range(count)) + "}"


BOMBS: dict[str, Callable[[], str]] = {
    "one place": lambda: many('"l#":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', 100_000),
    "one name": lambda: many('"l":{"dtype":"U8","shape":[1],"data_offsets":[#,9999999]}', 100_000),
    "one inside another": lambda: many('"l#":{"dtype":"U8","shape":[1],"data_offsets":[#,9999999]}', 100_000),
    "no tensors": lambda: many('"l#":#', 200_000),
    "metadata": lambda: f'{{"__metadata__":{many(chr(34) + "k#" + chr(34) + ":#", 200_000)}}}',
    "half pairs": lambda: many('"\\ud800#":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', 50_000),
    "many axes": lambda: f'{{"a":{{"dtype":"U8","shape":[{",".join(["9223372036854775807"] * 300_000)}]}}}}',
    "many axes, all fields": lambda: (
        f'{{"a":{{"dtype":"U8","data_offsets":[0,1],"shape":[{",".join(["9223372036854775807"] * 300_000)}]}}}}'
    ),
    "long dtype": lambda: f'{{"a":{{"dtype":"{"x" * 5_000_000}","shape":[1],"data_offsets":[0,1]}}}}',
    "long number": lambda: f'{{"a":{"9" * 5_000_000}}}',
    "deep": lambda: "[" * 5_000_000,
    "deep in many places": lambda: f'{{"a":[{",".join(["[" * 90 + "]" * 90] * 2_000)}]}}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_linear_time(name: str, tmp_path: Path) -> None:
    """A header that was made to be slow is no slower than its length."""
    header = BOMBS[name]()
    start = time.perf_counter()
    found = survey(tmp_path, header, b"x")

    assert found.damages
    assert time.perf_counter() - start < SECONDS
