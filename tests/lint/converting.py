"""Converting: the linter's small checkpoints as Orbax items."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lint.building import Leaf, write_file
from tiecli.checkpoints.protocol import Target
from tiecli.verbs.convert import convert


def write_item(directory: Path, leaves: Mapping[str, Leaf], *, compress: bool = False) -> Path:
    """Writes leaves as an Orbax item, and nothing else; gives its directory."""
    file = write_file(directory / "source.safetensors", leaves)
    convert(file, Target(directory / "item"), compress=compress)
    file.unlink()
    return directory / "item"
