"""Diffs: what is different between two checkpoints, one entry a difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiecli.compare import Comparison
from tiecli.leaves import LeafSpec

Change = Literal[
    "added",
    "removed",
    "changed",
    "moved",
    "reshaped",
    "retyped",
    "tied",
    "untied",
    "retied",
    "metadata",
    "node",
    "resharded",
    "recoded",
]


@dataclass(frozen=True, slots=True)
class DiffEntry:
    """One difference.

    Attributes:
        path: Name of the leaf, as the right side has it if it is there, and as a safetensors file
            would have it where the formats differ; the key of a piece of metadata; empty for
            `resharded` and `recoded`.
        change: `added`, `removed`: only one side has the leaf, stored or as an alias; or the text.
            `changed`: other values. `reshaped`, `retyped`: other shape; same shape, other dtype.
            `moved`: same bytes under another name, or in another file.
            `tied`: on the left stored for itself, an alias on the right, whether left out or a
            second name of the same bytes; `untied`: the reverse.
            `retied`: another tie is stated for it, or it is an alias in another way.
            `node`: a place of the tree that holds no array, but a None or an empty container.
            `metadata`: a key of the metadata, or `config.json:` and a key of that file.
            `resharded`: the leaves are spread over other files.
            `recoded`: leaves are stored in another way: other format, codec, chunks or layout.
        left: Shape and dtype on the left; None where the leaf is not stored.
        right: The same on the right.
        before: What stands on the left: a tie, the text of a key, the old name or file, what a place holds.
        after: What stands on the right.
        comparison: How the values compare; None where they were not compared.
    """

    path: str
    change: Change
    left: LeafSpec | None = None
    right: LeafSpec | None = None
    before: str | None = None
    after: str | None = None
    comparison: Comparison | None = None

    @property
    def keeps_value(self) -> bool:
        """Whether whoever asks for this leaf by name gets the same bits on either side."""
        if self.change in ("node", "metadata", "resharded", "recoded"):
            return True
        if self.change == "moved":
            return self.after != self.path
        return self.comparison is not None and self.comparison.equal


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What is different between two checkpoints.

    Attributes:
        left: The one checkpoint.
        right: The other.
        entries: Leaves in the order of the left, then those only the right has, then other
            places of the tree, then metadata, then how all is stored.
        leaves_compared: Leaves of one name, shape and dtype on both sides.
        bytes_compared: Their size, on one side.
    """

    left: Path
    right: Path
    entries: tuple[DiffEntry, ...]
    leaves_compared: int
    bytes_compared: int

    @property
    def equal(self) -> bool:
        """Whether nothing at all is different; a tie against its own copy is a difference."""
        return not self.entries

    @property
    def same_values(self) -> bool:
        """Whether each name stands for the same bits on either side, stored or followed through a tie."""
        return all(entry.keeps_value for entry in self.entries)
