"""Orbax checkpoints spoilt at random, through every command: refused or read, and never a bug to report."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Run
from tests.e2e.orbax_damages import DRAFT, EMBED, FIXTURES, HEAD, find_values, put_inline


def mutate(raw: bytes, random_: random.Random) -> bytes:
    """Spoils a file: a bit, its end, some bytes in its midst."""
    at = random_.randrange(len(raw))
    match random_.randrange(5):
        case 0 | 1:
            return raw[:at] + bytes([raw[at] ^ 1 << random_.randrange(8)]) + raw[at + 1 :]
        case 2:
            return raw[:at]
        case 3:
            return raw[:at] + random_.randbytes(random_.randrange(1, 9)) + raw[at:]
        case _:
            return raw[:at] + random_.choice([b"{", b"[", b'"', b",", b"0", b"-1", b"\0", b"1e9"]) + raw[at + 1 :]


def list_spoilable(checkpoint: Path) -> Iterator[tuple[Path, int]]:
    """Lists the files of a checkpoint that matter, and how often to spoil each: metadata more often than values."""
    for file in sorted(checkpoint.rglob("*")):
        name = file.relative_to(checkpoint).as_posix()
        of_leaf = name.startswith(("params.", "drafter."))
        if file.is_file() and file.stat().st_size and (not of_leaf or name.startswith((EMBED, HEAD))):
            yield file, 6 if file.name.startswith(("_", "manifest", ".z", "z", "process")) else 2


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3", "one-item-and-json"])
def test_whatever_is_spoilt_there_is_no_bug_to_report(run: Run, tmp_path: Path, layout: str) -> None:
    """Only exit codes 0 and 2, and 1 where a difference was asked for; never a traceback."""
    random_ = random.Random(layout)
    plain, bound, out = tmp_path / "plain", tmp_path / "tied", tmp_path / "out"
    shutil.copytree(FIXTURES / layout, plain)
    ties = ("--src", EMBED, "--dst", DRAFT, "--src", EMBED, "--dst", HEAD)
    transforms = ("--transform", "same", "--transform", "transpose")
    assert run("tie", plain, *ties, *transforms, "-o", bound).code == 0
    refused = 0
    for checkpoint in (plain, bound):
        for file, tries in list_spoilable(checkpoint):
            raw = file.read_bytes()
            for _ in range(tries):
                spoilt = mutate(raw, random_)
                file.write_bytes(spoilt)
                for command in list_all(checkpoint, FIXTURES / layout, out):
                    outcome = run(*command)
                    expected = (0, 1, 2) if command[0] == "diff" else (0, 2)
                    assert outcome.code in expected, (file, spoilt, command, outcome)
                    assert "Traceback" not in outcome.stderr
                    refused += outcome.code == 2
                for left in tmp_path.glob("out*"):
                    shutil.rmtree(left)
            file.write_bytes(raw)
    assert refused > 20
    assert (run("diff", plain, FIXTURES / layout).code, run("untie", bound).code) == (0, 0)


def list_all(checkpoint: Path, good: Path, out: Path) -> list[list[object]]:
    """Every command, once."""
    return [
        ["inspect", checkpoint],
        ["find", checkpoint, "--json"],
        ["tie", checkpoint, "--src", DRAFT, "--dst", EMBED, "-o", f"{out}-tied", "--no-sync"],
        ["untie", checkpoint, "-o", f"{out}-untied", "--no-sync", "--json"],
        ["diff", checkpoint, good],
    ]


# What a member of a JSON file may be in place of what it is.
ODD: tuple[Any, ...] = (None, True, -1, 0, 2**64, 0.5, "", "a/b", "..", "0" * 5000, [], {}, [0], [[]], {"a": 1}, "<f8")


def list_spots(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within a JSON document but the whole."""
    members = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in members:
        yield (*at, key)
        yield from list_spots(value, (*at, key))


def alter(raw: bytes, random_: random.Random) -> bytes:
    """Replaces or removes one member of a JSON document, or puts another in its place."""
    document = json.loads(raw)
    spots = list(list_spots(document))
    *above, last = random_.choice(spots)
    holder = document
    for key in above:
        holder = holder[key]
    match random_.randrange(4):
        case 0 | 1:
            holder[last] = random_.choice(ODD)
        case 2:
            del holder[last]
        case _:
            other = document
            for key in random_.choice(spots):
                other = other[key]
            holder[last] = json.loads(json.dumps(other))
    return json.dumps(document).encode()


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3"])
def test_whatever_the_json_says_there_is_no_bug_to_report(run: Run, tmp_path: Path, layout: str) -> None:
    """Valid JSON of another form than Orbax's, in files and in the database, and in what tiecli itself wrote."""
    random_ = random.Random(layout)
    bound, work, out = tmp_path / "tied", tmp_path / "work", tmp_path / "out"
    ties = ("--src", EMBED, "--dst", DRAFT, "--src", EMBED, "--dst", HEAD)
    transforms = ("--transform", "same", "--transform", "transpose")
    assert run("tie", FIXTURES / layout, *ties, *transforms, "-o", bound).code == 0
    array = f"{EMBED}/{'zarr.json' if layout == 'files-zarr3' else '.zarray'}"
    names = ["_METADATA", "_METADATA", "_sharding", "_CHECKPOINT_METADATA", "array_metadatas/process_0", array]
    refused = 0
    for number in range(40):
        shutil.copytree(bound if number % 2 else FIXTURES / layout, work)
        name = names[number % len(names)]
        if (work / name).exists():
            (work / name).write_bytes(alter((work / name).read_bytes(), random_))
        else:
            put_inline(work, name, alter(find_values(work)[name].inline, random_))
        for command in list_all(work, FIXTURES / layout, out):
            outcome = run(*command)
            assert outcome.code in ((0, 1, 2) if command[0] == "diff" else (0, 2)), (number, command, outcome)
            assert "Traceback" not in outcome.stderr
            refused += outcome.code == 2
        for left in (work, *tmp_path.glob("out*")):
            shutil.rmtree(left)
    assert refused > 20
