"""Edits with names from anywhere: they are carried out inside the checkpoint, or refused in words."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lint.building import write_json, write_shards
from tests.unit.checkpoints.mendings import fix
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints.staging import is_stage
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import TiecliError
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    UntieLeaf,
    WriteText,
)
from tiecli.verbs.fixing import CodedFix, Mended, mend_round

INDEX = "model.safetensors.index.json"
ORBAX = Path(__file__).parents[2] / "fixtures" / "orbax" / "files-zarr2"

parts = st.sampled_from(
    ["..", ".", "", "~", "link", "sub", "a.safetensors", "config.json", INDEX, "_METADATA", "up", "C:"]
)
names = st.one_of(
    st.lists(parts | st.text(max_size=3), max_size=4).map("/".join),
    st.text(max_size=6),
    st.sampled_from(["a\0b", "\ud800", "/etc/hostname", "..\\out", "p", "q", "x" * 300, "link/out", "up/out"]),
)
values = st.sampled_from(["1", "{", "NaN", "[" * 5000, '{"p": "../out"}', '"\ud800"', ""])
places = st.lists(names, max_size=3).map(tuple)
edits: st.SearchStrategy[Edit] = st.one_of(
    st.builds(SetMember, names, places, names, values),
    st.builds(DropMember, names, places, names),
    st.builds(SetMetadata, names, names, st.none() | names),
    st.builds(RenameLeaf, names, names),
    st.builds(DropLeaf, names, names),
    st.builds(IndexLeaf, names, names),
    st.builds(RenameFile, names, names),
    *(st.builds(kind, names) for kind in (Repack, RebuildIndex, RemovePath, JoinDatabases)),
    st.builds(WriteText, names, names),
    st.builds(TieLeaves, names, names, st.sampled_from(["same", "transpose", "[", "cast(x)"])),
    st.builds(UntieLeaf, names, names),
)
fixes = st.lists(st.lists(edits, min_size=1, max_size=2).map(lambda edits: fix(*edits)), min_size=1, max_size=6)


def make_shards(directory: Path) -> Unit:
    """Two shards and a config."""
    write_shards(directory, {"a.safetensors": {"p": ("F32", (2,))}, "sub/b.safetensors": {"q": ("U8", (3,))}})
    write_json(directory / "config.json", {"p": {}, "": 1})
    return Unit(directory, "safetensors", directory, (), INDEX)


def make_item(directory: Path) -> Unit:
    """An Orbax item."""
    shutil.copytree(ORBAX, directory)
    (directory / "sub").mkdir()
    return Unit(directory, "orbax", directory)


@pytest.mark.parametrize("make", [make_shards, make_item])
@settings(max_examples=40)
@given(fixes=fixes)
def test_nothing_outside_changes_and_nothing_crashes(make: Callable[[Path], Unit], fixes: list[CodedFix]) -> None:
    """Whatever an edit names: what lies beside the checkpoint, or behind its links, is as it was."""
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        unit = make(top / "inner" / "model")
        (top / "out").write_text('{"p": 1}')
        (top / "inner" / "out").write_text('{"p": 1}')
        (unit.directory / "link").symlink_to(top)
        (unit.directory / "up").symlink_to("..")
        before = {name: it for name, it in take_stock(top).items() if not name.startswith("inner/model")}
        mended = Mended(unit)

        with contextlib.suppress(TiecliError):
            mend_round(mended, fixes, sync=False)

        after = {name: it for name, it in take_stock(top).items() if not name.startswith("inner/model")}
        assert after == before
        assert not any(is_stage(path.name) for path in top.rglob("*"))
        assert unit.directory.is_dir()
