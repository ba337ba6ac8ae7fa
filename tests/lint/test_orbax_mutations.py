"""Orbax checkpoints spoilt at random: no rule fails, and what the reader refuses is found by one."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import tiecli
from tests.e2e.orbax_damages import EMBED, FIXTURES, REFUSED, REFUSED_FILES, find_values, put_inline
from tests.e2e.test_orbax_mutations import alter, list_spoilable, mutate
from tests.lint.test_orbax_layouts import find
from tiecli.errors import CheckpointError, UnsupportedCheckpointError

# What is wrong there concerns tiecli's manifest, and not what Orbax reads.
OURS = {"a manifest that is none"}


@pytest.mark.parametrize("name", sorted({*REFUSED} - OURS))
def test_every_damage_is_found(name: str, tmp_path: Path) -> None:
    """What every command refuses, some rule explains."""
    item = Path(shutil.copytree(FIXTURES / "pytree", tmp_path / "ckpt"))
    REFUSED[name].act(item)
    if name == "saving":
        item = item.with_name("ckpt.orbax-checkpoint-tmp")

    # A codec that tiecli does not know is nobody's damage.
    assert bool(find(item)) == (name != "array of a strange codec")


@pytest.mark.parametrize("layout", ["files-zarr2", "files-zarr3"])
@pytest.mark.parametrize("name", sorted(REFUSED_FILES))
def test_every_damage_of_files_is_found(name: str, layout: str, tmp_path: Path) -> None:
    """The same where every chunk is a file."""
    item = Path(shutil.copytree(FIXTURES / layout, tmp_path / "ckpt"))
    spell = {".zarray": "zarr.json", "0.0": "c/0/0"} if layout == "files-zarr3" else {}
    for old, new in spell.items():
        (item / EMBED / new).rename(item / EMBED / old)
    REFUSED_FILES[name].act(item)
    for old, new in spell.items():
        if (item / EMBED / old).exists():
            (item / EMBED / old).rename(item / EMBED / new)

    assert find(item)


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3", "one-item-and-json", "optax"])
def test_whatever_is_spoilt_no_rule_fails(layout: str, tmp_path: Path) -> None:
    """Bits, bytes and ends of files; what makes the reader refuse is always found."""
    random_ = random.Random(layout)
    checkpoint = Path(shutil.copytree(FIXTURES / layout, tmp_path / "ckpt"))
    refused = 0
    for file, tries in list_spoilable(checkpoint):
        raw = file.read_bytes()
        for _ in range(tries):
            file.write_bytes(mutate(raw, random_))
            refused += check(checkpoint)
        file.write_bytes(raw)
    assert refused > 5


@pytest.mark.parametrize("layout", ["pytree", "optax", "files-zarr3", "rich"])
def test_whatever_the_json_says_no_rule_fails(layout: str, tmp_path: Path) -> None:
    """Valid JSON of another form than Orbax's, in files and in the database."""
    random_ = random.Random(layout)
    refused = 0
    for number in range(60):
        work = Path(shutil.copytree(FIXTURES / layout, tmp_path / str(number)))
        name = ("_METADATA", "_METADATA", "_CHECKPOINT_METADATA", "array")[number % 4]
        if name != "array":
            (work / name).write_bytes(alter((work / name).read_bytes(), random_))
        elif layout == "files-zarr3":
            (work / EMBED / "zarr.json").write_bytes(alter((work / EMBED / "zarr.json").read_bytes(), random_))
        else:
            key = next(key for key in find_values(work) if key.endswith("/.zarray"))
            put_inline(work, key, alter(find_values(work)[key].inline, random_))
        refused += check(work)
        shutil.rmtree(work)
    assert refused > 5


def check(checkpoint: Path) -> bool:
    """Checks that rules find something if the reader refuses; whether it does."""
    found = find(checkpoint)
    try:
        tiecli.open_reader(checkpoint).close()
    except UnsupportedCheckpointError:
        return True
    except CheckpointError:
        assert found
        return True
    return False
