"""The training code that docs/orbax.md shows runs as it stands there."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tiecli.checkpoints.protocol import Target
from tiecli.plan import Mode, TieRequest
from tiecli.transforms import TRANSPOSE

pytest.importorskip("orbax.checkpoint")

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"(?<=^```python\n)(.*?)(?=^```$)", (ROOT / "docs/orbax.md").read_text(), re.M | re.S)


def tie(target: Path, mode: Mode) -> str:
    """Ties the fixture that the page ties."""
    request = TieRequest("params.token_embedder.embedding", "params.decoder.logits_dense.kernel", TRANSPOSE)
    tiecli.tie(ROOT / "fixtures/orbax/pytree", [request], Target(target), mode=mode)
    return str(target)


def describe_steps() -> dict[str, Any]:
    """Gives the shapes of what the steps of the fixture hold, as a model would."""
    import jax

    def shape(*lengths: int) -> Any:
        return jax.ShapeDtypeStruct(lengths, np.float32, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))

    layer = {"kernel": shape(16, 16), "bias": shape(16)}
    state = {"wte": {"embedding": shape(32, 16)}, "lm_head": {"kernel": shape(16, 32)}}
    return {**state, "layers": {"0": layer, "1": layer}, "step": 0}


@pytest.mark.parametrize("number", range(2))
def test_snippets_run(tmp_path: Path, number: int) -> None:
    """Each restores with stock Orbax, and its own assertions hold."""
    names = {"tied": tie(tmp_path / "tied", "alias"), "omitted": tie(tmp_path / "omitted", "omit")}
    assert len(SNIPPETS) == 3
    with warnings.catch_warnings():
        # Orbax warns of its own future.
        warnings.simplefilter("ignore")
        exec(compile(SNIPPETS[number], "docs/orbax.md", "exec"), names)
    assert "restored" in names


def test_a_manager_restores_what_was_tied_in_place(tmp_path: Path) -> None:
    """The target of the model, without the alias, restores a step, and the head is the original's."""
    steps = tmp_path / "steps"
    original = ROOT / "fixtures/orbax/named-steps"
    shutil.copytree(original, steps)
    request = TieRequest("wte.embedding", "lm_head.kernel", TRANSPOSE)
    tiecli.tie(steps, [request], Target(steps, in_place=True), mode="omit")
    names: dict[str, Any] = {"steps": steps, "abstract_state": describe_steps}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(SNIPPETS[2], "docs/orbax.md", "exec"), names)

    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        before = checkpointer.restore(original / "step_00000100/default")
    assert np.array_equal(names["state"]["lm_head"]["kernel"], before["lm_head"]["kernel"])
    assert names["state"]["step"] == 100
