"""What fixes make of damaged Orbax items, stock Orbax restores; what was damaged, it refuses, or restores wrongly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.orbax_damages import EMBED, on_tree
from tests.lint.cases_orb import add_key, drop_keys, on_entry, on_flags, remove
from tests.lint.test_orbax_layouts import find
from tests.peer.orbax_restores import Attempt, OrbaxRefusedError, Restorer
from tests.peer.orbax_ties import ROOT, find_part
from tiecli.checkpoints.survey.units import Unit
from tiecli.verbs.fixing import mend

ASKED = Attempt("arguments", "found")
ENTRY = "('params', 'token_embedder', 'embedding')"
FIRST = "('layers', '0', 'kernel')"

Act = Callable[[Path], object]


@pytest.mark.parametrize(
    ("layout", "code", "act"),
    [
        ("two-processes", "ORB005", remove("manifest.ocdbt", "d")),
        ("pytree", "ORB007", on_tree(lambda tree: tree["tree_metadata"].pop(ENTRY))),
        ("files-zarr3", "ORB007", on_tree(lambda tree: tree["tree_metadata"].pop(ENTRY))),
        ("nnx", "ORB007", on_tree(lambda tree: tree["tree_metadata"].pop(FIRST))),
        ("pytree", "ORB008", on_entry(ENTRY, write_shape=[64, 16])),
        ("pytree", "ORB010", on_flags(use_zarr3=True)),
        ("pytree", "ORB010", on_flags(use_ocdbt=False)),
        ("files-zarr2", "ORB010", on_flags(use_ocdbt=True)),
        ("v1/state", "ORB010", on_flags(use_zarr3=False)),
    ],
)
def test_a_safe_fix_gives_back_what_was_saved(
    layout: str, code: str, act: Act, restorer: Restorer, tmp_path: Path
) -> None:
    """Every leaf, bit for bit, and nothing is left to find."""
    item = damage(layout, act, tmp_path)
    fix_all(item, code, safe=True)

    saved, mended = (restorer.restore(find_part(path, None), ASKED) for path in (ROOT / layout, item))
    assert {name: (leaf.shape, leaf.data) for name, leaf in mended.items()} == {
        name: (leaf.shape, leaf.data) for name, leaf in saved.items()
    }


@pytest.mark.parametrize("layout", ["pytree", "nodes"])
def test_a_leaf_without_an_array_is_dropped(layout: str, restorer: Restorer, tmp_path: Path) -> None:
    """The others restore then; of a list, what was dropped leaves a None."""
    lost = EMBED if layout == "pytree" else "layers.0.kernel"
    item = damage(layout, drop_keys(f"{lost}/.zarray", f"{lost}/0.0"), tmp_path)
    with pytest.raises(OrbaxRefusedError):
        restorer.restore(find_part(item, None), ASKED)
    fix_all(item, "ORB006", safe=False)

    saved, mended = (restorer.restore(find_part(path, None), ASKED) for path in (ROOT / layout, item))
    name = EMBED if layout == "pytree" else "layers[0].kernel"
    kept = {path: leaf for path, leaf in mended.items() if leaf.dtype not in ("None", "empty")}
    assert kept == {path: leaf for path, leaf in saved.items() if path != name and leaf.dtype not in ("None", "empty")}


def test_an_array_that_no_tree_lists_is_listed(restorer: Restorer, tmp_path: Path) -> None:
    """Orbax leaves it out without a word, and gives it back once it is listed."""
    item = damage("pytree", add_key("params.adapter.kernel"), tmp_path)
    before = restorer.restore(find_part(item, None), ASKED)
    copy = Path(shutil.copytree(item, tmp_path / "mended"))
    fix_all(copy, "ORB007", safe=True)
    after = restorer.restore(find_part(copy, None), ASKED)

    assert {*after} - {*before} == {"params.adapter.kernel"}
    assert after["params.adapter.kernel"].data == before[EMBED].data


def damage(layout: str, act: Act, directory: Path) -> Path:
    """Copies a layout and spoils it."""
    item = Path(shutil.copytree(ROOT / layout, directory / "ckpt"))
    act(item)
    return item


def fix_all(item: Path, code: str, *, safe: bool) -> None:
    """Carries out the fixes of what a rule finds, and insists that nothing is found afterwards."""
    fixes = [(found, finding.fix) for found, finding in find(item) if finding.fix is not None]
    assert {(found, fix.safe) for found, fix in fixes} == {(code, safe)}
    assert len(mend(Unit(item, "orbax", item), fixes, sync=False)) == len(fixes)
    assert find(item) == []
