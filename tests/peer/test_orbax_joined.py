"""Stock Orbax restores items whose databases were joined by tiecli, bit for bit, in every way that it offers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.peer.orbax_restores import OrbaxRefusedError, Restorer
from tests.peer.orbax_ties import ROOT, can_restore, find_part
from tiecli.checkpoints.orbax.joining import join_databases


@pytest.mark.parametrize("layout", ["two-processes", "pytree", "v1", "sharded-zarr3", "nodes", "named-steps"])
def test_orbax_restores_a_joined_item(layout: str, restorer: Restorer, tmp_path: Path) -> None:
    """Refused without the manifest; with the joined one everything is as it was saved."""
    source = find_part(ROOT / layout, None)
    part = find_part(Path(shutil.copytree(ROOT / layout, tmp_path / "ckpt")), source.item)
    (part.path / "manifest.ocdbt").unlink()
    shutil.rmtree(part.path / "d")
    attempts = [attempt for attempt in part.attempts if can_restore(layout, attempt)]
    with pytest.raises(OrbaxRefusedError):
        restorer.restore(part, attempts[0])

    for name, raw in join_databases(part.path).items():
        (part.path / name).parent.mkdir(exist_ok=True)
        (part.path / name).write_bytes(raw)

    for attempt in attempts:
        assert restorer.restore(part, attempt) == restorer.restore(source, attempt), attempt
