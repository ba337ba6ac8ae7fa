"""Mending as the tests of it share: edits carried out at once, and what safetensors itself then reads."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open

from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.edits import Edit
from tiecli.linting.rule import Fix
from tiecli.verbs.fixing import CodedFix, Mended, mend_round


def fix(*edits: Edit, safe: bool = True) -> CodedFix:
    """A fix of some rule."""
    return "STF000", Fix("as asked", edits, safe)


def mend_at(path: Path, *fixes: CodedFix) -> Mended:
    """Carries out fixes of the only checkpoint at a path, in one round."""
    (unit,) = find_units(path)
    mended = Mended(unit)
    mend_round(mended, fixes, sync=False)
    return mended


def edit_at(path: Path, *edits: Edit) -> Mended:
    """Carries out one fix, which must not be refused."""
    mended = mend_at(path, fix(*edits))
    assert not mended.refused, mended.refused
    assert len(mended.applied) == 1
    return mended


def refuse_at(path: Path, *edits: Edit) -> str:
    """Carries out one fix, which must be refused; gives the reason."""
    mended = mend_at(path, fix(*edits))
    assert mended.done == []
    (reason,) = mended.refused
    return reason.removeprefix("STF000: as asked: ")


def read_leaves(file: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """What stock safetensors reads of a file: dtype, shape and bytes of each leaf."""
    leaves = {}
    with safe_open(file, "numpy") as opened:
        for name in opened.keys():  # noqa: SIM118  # it is no mapping
            part = opened.get_slice(name)
            leaves[name] = part.get_dtype(), part.get_shape(), b""
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    for name, (dtype, shape, _) in leaves.items():
        begin, end = header[name]["data_offsets"]
        leaves[name] = dtype, shape, raw[start + begin : start + end]
    return leaves


def read_metadata(file: Path) -> dict[str, str] | None:
    """What stock safetensors reads of a file's metadata."""
    with safe_open(file, "numpy") as opened:
        found: dict[str, str] | None = opened.metadata()
    return found
