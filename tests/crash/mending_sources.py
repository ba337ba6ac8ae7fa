"""Damaged checkpoints to be mended by runs that do not get through: one file, several, and those of Orbax."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.crash.orbax_sources import FIXTURES
from tests.crash.sources import LEAVES, make_directory, make_file, make_sharded
from tests.unit.checkpoints.mendings import fix
from tests.unit.checkpoints.safetensors.files import describe, put_together
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.edits import (
    DropLeaf,
    Edit,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    WriteText,
)
from tiecli.verbs.fixing import Mended, mend_round

INDEX = "model.safetensors.index.json"
LEFT = "5.orbax-checkpoint-tmp-7"


class Case(NamedTuple):
    """One kind of run.

    Attributes:
        name: What it is called in the report of the tests.
        make: Puts the source into an empty directory, and gives its path.
        edits: What is to change, as one fix.
        resumes: Whether a run that was killed may have done a part: it removes what nobody wants.
        stride: Every how many calls it is stopped; more where most calls are alike.
    """

    name: str
    make: Callable[[Path], Path]
    edits: tuple[Edit, ...]
    resumes: bool = False
    stride: int = 1

    def __str__(self) -> str:
        return self.name

    def mend(self, unit: Unit) -> None:
        """Carries the fix out."""
        mended = Mended(unit)
        mend_round(mended, [fix(*self.edits)], sync=True)
        assert mended.done, mended.refused


def make_overlapping(directory: Path) -> Path:
    """A file whose tensors share bytes, and that has more of them than it needs."""
    header = {"a": describe("U8", [70, 900], 0), "b": describe("U8", [10, 900], 50), "c": describe("F64", [2], 63_001)}
    path = directory / "m.safetensors"
    path.write_bytes(put_together(header, LEAVES["embed"][2]))
    return path


def make_indexed(directory: Path) -> Path:
    """Two shards whose index knows two rows, and those wrongly."""
    source = make_sharded(directory)
    rows = {"body": "m-2.safetensors", "embed": "m-1.safetensors"}
    (source / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": rows}, indent=1))
    (source / "sub").mkdir()
    (source / "sub" / "more").write_text("more")
    (source / "sub").chmod(0o555)
    return source


def make_root(directory: Path) -> Path:
    """Steps of a run, and what a save that was interrupted left."""
    shutil.copytree(FIXTURES / "named-steps", directory / "source")
    for name in ("default/d", "default/ocdbt.process_0"):
        (directory / "source" / LEFT / name).mkdir(parents=True)
        (directory / "source" / LEFT / name / "data").write_bytes(b"half")
    return directory / "source"


def make_unjoined(directory: Path) -> Path:
    """An item whose processes were done, and the save was not."""
    shutil.copytree(FIXTURES / "two-processes", directory / "source")
    (directory / "source" / "manifest.ocdbt").unlink()
    shutil.rmtree(directory / "source" / "d")
    return directory / "source"


CASES = (
    Case("metadata", make_file, (SetMetadata("m.safetensors", "format", "pt"),)),
    Case("repack", make_overlapping, (Repack("m.safetensors"),)),
    Case("config", make_directory, (SetMember("config.json", (), "tie_word_embeddings", "true"),)),
    Case("tie", make_directory, (TieLeaves("embed", "head"),)),
    Case("index", make_indexed, (RebuildIndex(INDEX),)),
    Case("rename", make_sharded, (RenameLeaf("body", "x"), SetMember("config.json", (), "y", "1"))),
    Case(
        "all",
        make_indexed,
        (
            RebuildIndex(INDEX),
            DropLeaf("head"),
            RenameFile("m-1.safetensors", "m-2.safetensors"),
            RenameFile("m-2.safetensors", "m-1.safetensors"),
            RemovePath("sub"),
            WriteText("new.txt", "new"),
        ),
    ),
    Case("leftover", make_root, (RemovePath(LEFT),), resumes=True),
    Case("marker", make_root, (WriteText("step_00000100/done.txt", "done"),)),
    Case("tree", make_root, (SetMember("step_00000100/default/_METADATA", (), "custom", "1"),)),
    Case("join", make_unjoined, (JoinDatabases("."),), stride=5),
)
