"""The training code that docs/orbax.md shows runs as it stands there."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

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


@pytest.mark.parametrize("number", range(2))
def test_snippets_run(tmp_path: Path, number: int) -> None:
    """Each restores with stock Orbax, and its own assertions hold."""
    names = {"tied": tie(tmp_path / "tied", "alias"), "omitted": tie(tmp_path / "omitted", "omit")}
    assert len(SNIPPETS) == 2
    with warnings.catch_warnings():
        # Orbax warns of its own future.
        warnings.simplefilter("ignore")
        exec(compile(SNIPPETS[number], "docs/orbax.md", "exec"), names)
    assert "restored" in names
