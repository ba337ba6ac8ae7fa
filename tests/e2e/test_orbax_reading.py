"""`tiecli inspect` and `tiecli find` on Orbax checkpoints, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiecli.checkpoints import open_reader
from tiecli.patterns import select_leaves

ORBAX = Path(__file__).parents[2] / "fixtures" / "orbax"
# One has several items, the other elements smaller than a byte.
READABLE = sorted(path.name for path in ORBAX.iterdir() if path.name not in ("items", "packed"))
Run = Callable[..., Any]


@pytest.mark.parametrize("layout", READABLE)
def test_every_leaf_is_found_by_every_spelling(layout: str) -> None:
    """What is shown, the exact form, the name in the store and JAX's own spelling select one leaf each."""
    with open_reader(ORBAX / layout) as reader:
        paths = tuple(reader.specs())

    assert len({path.spelling for path in paths}) == len(paths)
    for path in paths:
        keystr = "".join(f"[{key!r}]" for key in path.keys)
        for text in (path.spelling, str(path), ".".join(map(str, path.keys)), keystr):
            assert select_leaves(text, paths) == (path,), text


def test_the_head_names_the_part(run: Run) -> None:
    """The latest step, its item, the layout, and what is no array."""
    lines = run("inspect", ORBAX / "named-steps").stdout.splitlines()
    nodes = run("inspect", ORBAX / "nodes").stdout.splitlines()

    assert "orbax (step 100, item default; OCDBT, zarr2), 7 leaves" in lines[0]
    assert " stored, F32×6 I64×1" in lines[0]
    assert nodes[1] == "also  4 empty nodes, 2 strings"


def test_a_part_is_chosen_by_option_or_by_path(run: Run) -> None:
    """Both ways show the same leaves; what is not there is refused with what is."""
    by_option = run("inspect", ORBAX / "items", "--item", "params", "--step", "2", "--json").json
    by_path = run("inspect", ORBAX / "items" / "2" / "params", "--json").json
    earlier = run("inspect", ORBAX / "named-steps", "--step", "90").stdout
    refused = run("inspect", ORBAX / "items", "--item", "weights")

    assert by_option["leaves"] == by_path["leaves"] != []
    assert "(step 90, item default;" in earlier
    assert refused.code == 2
    assert "`params`" in refused.stderr


def test_the_table_tells_how_leaves_are_stored(run: Run) -> None:
    """Chunks and sharding of leaves that were spread over devices; nothing of that for those that were not."""
    spread = run("inspect", ORBAX / "sharded-zarr3", "--table").stdout.splitlines()
    raw = run("inspect", ORBAX / "raw", "--table").stdout.splitlines()

    assert spread[2].split() == ["leaf", "dtype", "shape", "size", "stored", "chunks", "codec", "sharding"]
    assert any(" 8 of " in row and "4×2 mesh, PartitionSpec(" in row for row in spread)
    assert raw[2].split() == ["leaf", "dtype", "shape", "size"]


def test_json_tells_everything(run: Run) -> None:
    """Kinds of leaves, and nodes that are no arrays, by place."""
    document = run("inspect", ORBAX / "nodes", "--json").json
    kinds = {leaf["path"]: leaf["kind"] for leaf in document["leaves"]}

    assert document["format"] == "orbax"
    assert document["totals"]["stored_nbytes"] == sum(leaf["stored_nbytes"] for leaf in document["leaves"])
    assert kinds["arrays.head"] == "np.ndarray"
    assert kinds["layers[0].kernel"] == "jax.Array"
    assert kinds["scalars.int"] == "scalar"
    assert "threefry" in kinds["rng.params"]
    assert {"path": "strings.name", "kind": "string"} in document["other_nodes"]


def test_indices_fold_and_filter(run: Run) -> None:
    """A list of layers takes one line, which can be typed as a pattern."""
    assert "layers[{0,1}]" in run("inspect", ORBAX / "nodes").stdout
    for pattern in ("layers[{0..1}].kernel", "layers[*].*", "layers.*.kernel", "layers"):
        document = run("inspect", ORBAX / "nodes", "--filter", pattern, "--json").json
        assert [leaf["path"] for leaf in document["leaves"]] == ["layers[0].kernel", "layers[1].kernel"]


def test_find_gives_commands_for_the_part_it_looked_at(run: Run, tmp_path: Path) -> None:
    """The proposed commands name step and item as they were given, and the plan ties what was found."""
    plan = tmp_path / "ties.json"
    part = ["--step", "2", "--item", "params"]

    outcome = run("find", ORBAX / "items", *part, "--plan", plan)
    tied = run("tie", ORBAX / "items", *part, "--plan", plan, "--json")
    auto = run("tie", ORBAX / "items", *part, "--auto", "--json")

    assert outcome.code == 0
    assert f"tiecli tie {ORBAX / 'items'} --step 2 --item params --src embed.embedding " in outcome.stdout
    assert [tie["alias"] for tie in tied.json["ties"]] == ["tied.embedding", "lm_head.kernel"]
    assert tied.json["ties"] == auto.json["ties"]


def test_shared_ties_are_shown_and_not_found_again(run: Run, tmp_path: Path) -> None:
    """A tie by alias is stored once and restores both leaves; `find` has nothing to say of it."""
    out = tmp_path / "out"
    pairs = ["--src", "embed.embedding", "--dst", "tied.embedding"]
    assert run("tie", ORBAX / "items", "--item", "params", *pairs, "--mode", "alias", "-o", out).code == 0
    part = ["--item", "params"] if run("inspect", out).code else []

    shown = run("inspect", out, *part)
    document = run("inspect", out, *part, "--json").json
    hits = run("find", out, *part, "--json").json["hits"]

    assert "tied.embedding = embed.embedding  written down by tiecli  stored once, both restore" in shown.stdout
    assert document["ties"] == [
        {
            "alias": "tied.embedding",
            "canonical": "embed.embedding",
            "transform": "same",
            "source": "manifest",
            "stored_twice": False,
            "shares_bytes": True,
        }
    ]
    stored = {leaf["path"]: leaf["stored_nbytes"] for leaf in document["leaves"]}
    assert document["totals"]["stored_nbytes"] == sum(stored.values()) - stored["tied.embedding"]
    assert [hit["dst"] for hit in hits] == ["lm_head.kernel"]
    assert json.dumps(document["metadata"]).count("tiecli") == 0
