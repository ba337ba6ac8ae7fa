"""The code that docs/optimizer-state.md and docs/copy.md show runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peer.trained_torch import MORE, STEPS, TIE, Training, largest_difference
from tests.peer.trained_torch import train as train_tied
from tiecli.cli.entry import main
from tiecli.pytrees import save

ROOT = Path(__file__).parents[2]


def read_blocks(page: str) -> list[str]:
    """Reads the Python blocks of a page."""
    return re.findall(
        r"(?<=^```python\n)(.*?)(?=^```$)", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.M | re.S
    )


def run_block(block: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs a block with some names given, and gives all names after it."""
    exec(compile(block, "docs", "exec"), names)
    return names


@pytest.mark.parametrize("ending", ["", ".safetensors"])
def test_a_tied_state_of_optax(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is restored by the target of a tied program, from either format."""
    jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")
    optax = pytest.importorskip("optax", reason="optax comes with the extra `verify`")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    embed, mix, moment = (jax.numpy.asarray(rng.standard_normal((6, 6)), "float32") for _ in range(3))
    optimizer = optax.adam(1e-3)
    params = {"embed": embed, "mix": mix, "head": embed}
    _, state = optimizer.update({"embed": moment, "mix": mix, "head": moment}, optimizer.init(params))
    save({"params": params, "opt_state": state}, Path(f"model{ending}"), sync=False)
    tie = ["tie", f"model{ending}", "--src", "params.embed", "--dst", "params.head", "-o", f"tied{ending}"]
    assert main(tie) == 0

    block = read_blocks("optimizer-state.md")[0].replace('"tied"', f'"tied{ending}"')
    training = run_block(block, {"embed": embed, "mix": mix, "optimizer": optimizer})["training"]
    assert training["params"].keys() == {"embed", "mix"}
    assert np.array_equal(training["opt_state"][0].mu["embed"], state[0].mu["embed"])


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_in_and_out_of_torch(torch: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas saved by the one block, tied, and loaded by the other train on as one Parameter that always was."""
    monkeypatch.chdir(tmp_path)
    _, out, back = read_blocks("optimizer-state.md")
    replicas, training = Training(torch, name, tied=False), Training(torch, name, tied=True)
    for number in range(STEPS):
        replicas.step(number, synchronised=True)
    run_block(out, {"model": replicas.model, "optimizer": replicas.optimizer})
    assert main(["tie", "model.safetensors", *TIE, "-o", "tied.safetensors"]) == 0

    run_block(back, {"model": training.model, "optimizer": training.optimizer})
    for number in range(STEPS, STEPS + MORE):
        training.step(number)
    assert largest_difference(training, train_tied(torch, name, STEPS + MORE)) == 0.0


def test_copying_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own assertions hold, and the result is there."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    (block,) = read_blocks("copy.md")
    run_block(block, {})

    assert (tmp_path / "python" / "model.safetensors").exists()
