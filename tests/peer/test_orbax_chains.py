"""Stock Orbax restores what two ties in a row made, where the second took the source of the first away."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiecli
from tests.peer.orbax_restores import Restorer
from tests.peer.orbax_ties import ROOT, can_restore, find_part
from tiecli.plan import Mode, TieRequest
from tiecli.transforms import TRANSPOSE

EMBED, DRAFT = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
HEAD = "params.decoder.logits_dense.kernel"


@pytest.mark.parametrize("then", ["alias", "omit"])
@pytest.mark.parametrize("layout", ["pytree", "raw", "files-zarr2", "files-zarr3", "v1"])
def test_second_names_move_on_with_their_leaf(layout: str, then: Mode, restorer: Restorer, tmp_path: Path) -> None:
    """The alias restores as before, from bytes that lie along other axes now."""
    one, two = tmp_path / "one", tmp_path / "two"
    tiecli.tie(ROOT / layout, [TieRequest(EMBED, DRAFT)], tiecli.Target(one, sync=False), mode="alias")
    tiecli.tie(one, [TieRequest(HEAD, EMBED, TRANSPOSE)], tiecli.Target(two, sync=False), mode=then)

    source, part = find_part(ROOT / layout, None), find_part(two, None)
    for attempt in part.attempts:
        if can_restore(layout, attempt) and (then == "alias" or attempt.form == "found"):
            before = restorer.restore(source, attempt)
            expected = {path: leaf for path, leaf in before.items() if then == "alias" or path != EMBED}
            after = restorer.restore(part, attempt, like=source)
            assert {path: leaf for path, leaf in after.items() if leaf.dtype not in ("None", "empty")} == expected
