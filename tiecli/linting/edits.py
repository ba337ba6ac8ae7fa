"""Edits: what a fix would change in a checkpoint, as data; `fixing` carries them out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SetMember:
    """Sets one member of an object in a JSON file, every other character left alone.

    Attributes:
        file: Name within the checkpoint's directory.
        place: Keys from the root to the object; `()` is the root.
        key: The member's key.
        value: Its new value, as JSON.
    """

    file: str
    place: tuple[str, ...]
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DropMember:
    """Removes one member of an object in a JSON file."""

    file: str
    place: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Sets one string of a safetensors file's `__metadata__`; None removes it."""

    file: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class RenameLeaf:
    """Gives a stored leaf another name, in headers, index and metadata; no array bytes change."""

    leaf: str
    name: str


@dataclass(frozen=True, slots=True)
class DropLeaf:
    """Leaves a stored leaf out, of its file and of the index.

    Attributes:
        leaf: Its name.
        file: From which file; empty for the only one that has it.
    """

    leaf: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Repack:
    """Writes a safetensors file anew: its tensors side by side, aligned, each with bytes of its own, nothing else."""

    file: str


@dataclass(frozen=True, slots=True)
class RebuildIndex:
    """Writes the shard index anew from the headers of the shards, other metadata kept."""

    file: str


@dataclass(frozen=True, slots=True)
class IndexLeaf:
    """Sets the row of a leaf in the shard index; an empty `shard` removes the row."""

    leaf: str
    shard: str


@dataclass(frozen=True, slots=True)
class TieLeaves:
    """Ties two leaves that are equal under a transform, as `tiecli tie` does."""

    canonical: str
    alias: str
    transform: str = "same"


@dataclass(frozen=True, slots=True)
class UntieLeaf:
    """Stores an alias again, as `tiecli untie` does."""

    alias: str
    canonical: str


@dataclass(frozen=True, slots=True)
class RenameFile:
    """Gives a file another name, in the directory and in the index."""

    file: str
    name: str


@dataclass(frozen=True, slots=True)
class RemovePath:
    """Removes a file, or a directory with all that is in it.

    Attributes:
        path: Relative to the checkpoint's root.
    """

    path: str


@dataclass(frozen=True, slots=True)
class WriteText:
    """Writes a small file that is not there yet.

    Attributes:
        path: Relative to the checkpoint's root.
        text: Its contents.
    """

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class JoinDatabases:
    """Writes the manifest that joins the databases of several processes, which Orbax's last step did not write.

    Attributes:
        item: The item's directory, relative to the checkpoint's root; `.` for the root itself.
    """

    item: str


Edit = (
    SetMember
    | DropMember
    | SetMetadata
    | RenameLeaf
    | DropLeaf
    | Repack
    | RebuildIndex
    | IndexLeaf
    | TieLeaves
    | UntieLeaf
    | RenameFile
    | RemovePath
    | WriteText
    | JoinDatabases
)
