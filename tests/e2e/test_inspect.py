"""`tiecli inspect`, as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
Write = Callable[..., Path]


@pytest.fixture
def layered(write: Write, tmp_path: Path) -> Path:
    """Twelve alike layers and one that is not."""
    leaves: dict[str, np.ndarray] = {"embed.weight": np.zeros((10, 4), np.float32)}
    for layer in range(12):
        leaves[f"h.{layer}.ln.weight"] = np.ones(4, np.float32)
        leaves[f"h.{layer}.ln.bias"] = np.zeros(4, np.float32)
    leaves["h.12.ln.weight"] = np.ones(8, np.float16)
    return write(tmp_path / "layered.safetensors", leaves)


def test_repeated_layers_are_folded(run: Run, layered: Path) -> None:
    """Twelve alike layers take one line, the odd one its own."""
    outcome = run("inspect", layered)

    assert outcome.code == 0
    assert "{0..11}" in outcome.stdout
    assert "12.ln.weight" in outcome.stdout
    assert "25 leaves" not in outcome.stdout
    assert "26 leaves" in outcome.stdout
    assert len(outcome.stdout.splitlines()) < 12


def test_depth_closes_the_tree(run: Run, layered: Path) -> None:
    """`--depth 0` gives one line a top-level name."""
    lines = run("inspect", layered, "--depth", "0").stdout.splitlines()

    assert [line.split()[0] for line in lines[2:]] == ["embed.weight", "h"]


def test_filter_and_sort(run: Run, layered: Path) -> None:
    """A pattern selects, and an order shows a table."""
    outcome = run("inspect", layered, "--filter", "h.{0..1}.**", "--sort", "name")

    names = [line.split()[0] for line in outcome.stdout.splitlines() if line.startswith("h.")]
    assert names == ["h.0.ln.bias", "h.0.ln.weight", "h.1.ln.bias", "h.1.ln.weight"]


def test_filter_that_matches_nothing_is_an_error(run: Run, layered: Path) -> None:
    """Silence would look like an empty checkpoint."""
    outcome = run("inspect", layered, "--filter", "layers.**")

    assert outcome.code == 2
    assert outcome.stdout == ""


def test_json_lists_every_leaf(run: Run, layered: Path) -> None:
    """Programs get what the file says, in stored order."""
    document = run("inspect", layered, "--json").json

    assert document["totals"]["leaves"] == len(document["leaves"]) == 26
    assert document["totals"]["stored_nbytes"] == document["totals"]["nbytes"]
    assert document["leaves"][0] == {
        "path": "embed.weight", "shape": [10, 4], "dtype": "F32", "nbytes": 160, "shard": "layered.safetensors",
        "stored_nbytes": 160, "codec": "none", "chunk_shape": None, "chunks": 1, "sharding": "", "kind": "",
    }  # fmt: skip


def test_only_the_header_is_read(run: Run, write: Write, tmp_path: Path) -> None:
    """A hole of a terabyte costs nothing to inspect."""
    path = write(tmp_path / "big.safetensors", {"w": np.zeros(1, np.float32)})
    header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}  '
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4398046511104)
    outcome = run("inspect", path)

    assert outcome.code == 0
    assert "4.0 TiB" in outcome.stdout
