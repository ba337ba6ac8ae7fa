"""`tiecli diff`, as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[..., Any]
Write = Callable[..., Path]


def test_equal_checkpoints_exit_0(run: Run, model: Path, tmp_path: Path) -> None:
    """A copy is equal."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model.read_bytes())
    outcome = run("diff", model, copy)

    assert outcome.code == 0
    assert outcome.stdout.startswith("equal: 9 leaves compared")


def test_every_kind_of_change_is_named(run: Run, write: Write, tmp_path: Path, rng: np.random.Generator) -> None:
    """Added, removed, changed, reshaped, retyped and moved leaves are told apart."""
    a, b, c = (rng.normal(size=(6, 4)).astype(np.float32) for _ in range(3))
    changed = a.copy()
    changed[2, 1] += 0.5
    left = write(tmp_path / "l.safetensors", {"same": b, "w": a, "old": c, "gone": b + 1, "s": a, "t": b})
    right = write(
        tmp_path / "r.safetensors",
        {"same": b, "w": changed, "new": c, "fresh": a * 3, "s": a.reshape(4, 6), "t": b.astype(np.float16)},
    )
    outcome = run("diff", left, right, "--values", "--json")

    assert outcome.code == 1
    found = {entry["path"]: entry for entry in outcome.json["entries"]}
    assert {path: entry["change"] for path, entry in found.items()} == {
        "w": "changed", "new": "moved", "gone": "removed", "fresh": "added", "s": "reshaped", "t": "retyped"
    }  # fmt: skip
    assert found["w"]["values"]["differing"] == 1
    assert found["w"]["values"]["first"] == [2, 1]
    assert found["w"]["values"]["max_abs"] == float(changed[2, 1]) - float(a[2, 1])


def test_tied_against_original_keeps_every_value(run: Run, model: Path, tmp_path: Path) -> None:
    """A tie is a difference of storage, and said to be no more than that."""
    tied = tmp_path / "tied.safetensors"
    assert run("tie", model, "--auto", "-o", tied).code == 0
    outcome = run("diff", model, tied)

    assert outcome.code == 1
    assert "every leaf keeps its value" in outcome.stdout
    assert "lm_head.weight" in outcome.stdout
