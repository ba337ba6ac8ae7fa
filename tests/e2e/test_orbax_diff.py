"""`tiecli diff` and `find` on real Orbax checkpoints, as a user types them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

ORBAX = Path(__file__).parents[2] / "fixtures" / "orbax"

# What was saved from the same values, in other ways.
ALIKE = [
    ("pytree", "raw"),
    ("pytree", "files-zarr2"),
    ("pytree", "files-zarr3"),
    ("pytree", "v1"),
    ("sharded-zarr3", "many-chunks-zarr3"),
    ("dtypes", "dtypes-zarr3"),
]


@pytest.mark.parametrize(("left", "right"), ALIKE)
def test_the_same_values_stored_in_another_way(run: Run, left: str, right: str) -> None:
    """One difference, of storage; from either side every leaf keeps its value."""
    for before, after in ((left, right), (right, left)):
        outcome = run("diff", ORBAX / before, ORBAX / after)

        assert outcome.code == 1
        assert outcome.stdout.startswith("different: 1 recoded; every leaf keeps its value; ")


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3", "nodes", "odd-names", "rich"])
def test_a_copy_is_equal(run: Run, tmp_path: Path, layout: str) -> None:
    """Copied bytes are equal, whatever inodes they have, and so is another time of saving."""
    copy = tmp_path / "copy"
    shutil.copytree(ORBAX / layout, copy)
    step = json.loads((copy / "_CHECKPOINT_METADATA").read_text())
    (copy / "_CHECKPOINT_METADATA").write_text(json.dumps({**step, "commit_timestamp_nsecs": 1}))
    outcome = run("diff", ORBAX / layout, copy)

    assert outcome.code == 0
    assert outcome.stdout.startswith("equal: ")


def test_steps_and_items_by_their_paths(run: Run) -> None:
    """A root stands for its latest step; an item of several is named by its path."""
    assert run("diff", ORBAX / "named-steps", ORBAX / "named-steps").code == 0
    assert run("diff", ORBAX / "items", ORBAX / "items").code == 2

    params, opt_state = (next((ORBAX / "items").glob(f"*/{item}")) for item in ("params", "opt_state"))
    assert run("diff", params, params).code == 0
    assert run("diff", params, opt_state).code == 1


@pytest.mark.parametrize("mode", ["omit", "alias"])
@pytest.mark.parametrize("layout", ["pytree", "files-zarr2", "sharded-zarr3", "nnx", "odd-names"])
def test_ties_are_no_changes(run: Run, tmp_path: Path, layout: str, mode: str) -> None:
    """A tied checkpoint differs from its source in ties, in either mode, and in nothing else."""
    source = ORBAX / layout.replace("files-zarr2", "files-zarr2")
    tied = tmp_path / "tied"
    ties = run("tie", source, "--auto", "--mode", mode, "-o", tied, "--json").json["ties"]
    report = run("diff", source, tied, "--json").json

    assert report["same_values"]
    assert {entry["path"]: entry["change"] for entry in report["entries"]} == {tie["alias"]: "tied" for tie in ties}
    assert len(ties) > 1
    assert run("find", tied).stdout.startswith("no tie")


@pytest.mark.parametrize("layout", ["pytree", "nodes", "odd-names", "optax", "dtypes-zarr3"])
def test_against_what_convert_made_of_it(run: Run, tmp_path: Path, layout: str) -> None:
    """Names, strings and empty nodes that went along are found again on the other side."""
    converted = tmp_path / "converted.safetensors"
    assert run("convert", ORBAX / layout, "-o", converted).code == 0
    outcome = run("diff", ORBAX / layout, converted)

    assert outcome.stdout.startswith("different: 1 recoded; every leaf keeps its value; ")
    assert "→ safetensors" in outcome.stdout


def test_a_plan_names_odd_leaves_so_that_they_are_found_again(run: Run, tmp_path: Path) -> None:
    """Dots, slashes, brackets and quotes in keys lead from `find --plan` to the same leaves in `tie --plan`."""
    plan = tmp_path / "ties.json"
    hits = run("find", ORBAX / "odd-names", "--plan", plan, "--json").json["hits"]
    ties = run("tie", ORBAX / "odd-names", "--plan", plan, "--json").json["ties"]

    assert [(tie["canonical"], tie["alias"]) for tie in ties] == [(hit["src"], hit["dst"]) for hit in hits]
    assert len(hits) == 11


def test_each_proposed_command_names_its_leaves(run: Run) -> None:
    """What `find` says to type ties the pair that it was said for."""
    import shlex

    for hit in run("find", ORBAX / "odd-names", "--json").json["hits"]:
        words = shlex.split(hit["command"])
        outcome = run(*words[1 : words.index("-o")], "--json")

        assert outcome.code == 0, outcome
        assert [(tie["canonical"], tie["alias"]) for tie in outcome.json["ties"]] == [(hit["src"], hit["dst"])]
