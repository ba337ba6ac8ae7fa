"""Where index and files disagree is found, and nowhere else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.lint.building import write_raw
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.rules.idx005 import RULE as TOTALS
from tiecli.linting.subject import Subject

INDEX = "model.safetensors.index.json"
FILES = ("1.safetensors", "2.safetensors", "3.safetensors")
leaves = st.lists(st.sampled_from("abcdef"), max_size=4, unique=True)
contents = st.fixed_dictionaries(dict.fromkeys(FILES, leaves))
rows = st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from([*FILES, "4.safetensors"]), min_size=1)


def build(directory: Path, held: dict[str, list[str]], index: dict[str, object]) -> Subject:
    """Writes files that hold leaves of one byte each, and an index."""
    for file, names in held.items():
        header = {
            name: {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n, name in enumerate(sorted(names))
        }
        write_raw(directory / file, header, b"x" * len(names))
    (directory / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return Subject(Unit(directory, "safetensors", directory, (), INDEX))


@given(contents, rows)
def test_every_disagreement_is_found(held: dict[str, list[str]], placed: dict[str, str]) -> None:
    """Leaves that are absent, doubled or without a row are those that plain counting finds."""
    with tempfile.TemporaryDirectory() as name:
        placement = build(Path(name), held, {"metadata": {}, "weight_map": placed}).placement
    named = {file: set(names) for file, names in held.items() if file in placed.values()}
    homes = {leaf: [file for file in named if leaf in named[file]] for leaf in "abcdefg"}

    absent = {leaf for leaf, file in placed.items() if file in named and leaf not in named[file]}
    assert {leaf for group in placement.absent.values() for leaf in group} == absent
    assert all(placed[leaf] == file for file, group in placement.absent.items() for leaf in group)
    doubled = {leaf: set(files) for leaf, files in homes.items() if len(files) > 1}
    assert {leaf: set(files) for files, group in placement.doubled.items() for leaf in group} == doubled
    unindexed = {leaf for leaf, files in homes.items() if len(files) == 1 and leaf not in placed}
    assert {leaf for group in placement.unindexed.values() for leaf in group} == unindexed
    assert all(set(placement.homes[leaf]) == set(homes[leaf]) for leaf in placement.homes)


@given(contents, st.integers(0, 12))
def test_a_total_is_right_or_told(held: dict[str, list[str]], stated: int) -> None:
    """Of leaves that are each in one file and in the index, the sum is the only right total."""
    names = [leaf for each in held.values() for leaf in each]
    if len(set(names)) < len(names) or not names:
        return
    placed = {leaf: file for file, each in held.items() for leaf in each}
    with tempfile.TemporaryDirectory() as name:
        subject = build(Path(name), held, {"metadata": {"total_size": stated}, "weight_map": placed})
        assert bool(list(TOTALS.check(subject))) == (stated != len(names))
