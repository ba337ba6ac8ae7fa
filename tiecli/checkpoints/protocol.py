"""The door's protocol: what every checkpoint format can do for the verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Only for the checker: it brings the transforms along, which `inspect` seldom needs.
    from tiecli.manifest import Manifest
    from tiecli.ties import Tie

from tiecli.boxes import Box
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

Piece = tuple[int, int]
"""Some bytes of a leaf in C order: where they begin, and how many they are."""

Progress = Callable[[int], None]
"""Told how many more bytes have been dealt with."""

KeptFiles = Literal["copy", "reflink", "hardlink"]


Tracker = Callable[[str, int], AbstractContextManager[Progress]]
"""Opens a progress display for a task of so many bytes, or so many checkpoints."""


def ignore_progress(_: int) -> None:
    """Takes a progress report and does nothing with it."""


def track_nothing(_: str, __: int) -> AbstractContextManager[Progress]:
    """Shows no progress."""
    return nullcontext(ignore_progress)


# Named tuples, since every start waits for their making: a dataclass takes eight times as long.
class LeafStorage(NamedTuple):
    """How a leaf is stored, for people.

    Attributes:
        file: Name of the file inside the checkpoint that holds it; "several" for many.
        nbytes: Stored bytes, compressed if they are.
        codec: How they are compressed: `none`, `zstd`, ….
        chunk_shape: Shape of the pieces it is stored in; None where the format knows none.
        chunks: How many pieces.
        sharding: How it was spread over devices when it was saved; empty if that is not known.
        kind: What it was in the program that saved it, such as `jax.Array`; empty if that is not known.
    """

    file: str
    nbytes: int
    codec: str = "none"
    chunk_shape: tuple[int, ...] | None = None
    chunks: int = 1
    sharding: str = ""
    kind: str = ""


Place = tuple[int, int, int, int]
"""Where some stored bytes lie, whatever the path to them: device, inode, offset, length."""


class StoredForm(NamedTuple):
    """A leaf as it is stored: leaves of one encoding whose stored bytes are equal have equal values.

    Attributes:
        encoding: `raw` where the stored bytes are the leaf's own in C order, else what they mean.
        lengths: The stored bytes of each part.
        places: Where each part lies; empty where a part lies inside the metadata.
    """

    encoding: str
    lengths: tuple[int, ...]
    places: tuple[Place, ...]


def is_same_place(form: StoredForm, other: StoredForm) -> bool:
    """Whether two leaves are the very same stored bytes, so that none need be read to compare them."""
    return form.encoding == other.encoding and form.places == other.places and len(form.places) == len(form.lengths)


class Extent(NamedTuple):
    """Where the bytes of a leaf lie in a file, in C order and one after another.

    Attributes:
        file: Name of the file inside the checkpoint.
        descriptor: An open, read-only file descriptor, owned by the reader.
        offset: First byte, counted from the start of the file.
        nbytes: How many bytes.
    """

    file: str
    descriptor: int
    offset: int
    nbytes: int


RAW = "raw"
"""The encoding of a leaf whose stored bytes are its values in C order."""


class Selection(NamedTuple):
    """Which part of an Orbax checkpoint is meant.

    Attributes:
        step: A step of a CheckpointManager root; None for the latest.
        item: An item of a step; None for the only one.
    """

    step: int | None = None
    item: str | None = None


class Target(NamedTuple):
    """Where a rewritten checkpoint goes, and how carefully.

    Attributes:
        path: The file or directory to create; for `in_place`, the source itself, or any
            file of it.
        in_place: Replace the source instead of creating something new.
        kept_files: What to do with files that are not rewritten: `copy` lets the
            kernel share blocks where it can, `reflink` insists on it, `hardlink` links.
        sync: Flush to the disk before publishing.
    """

    path: Path
    in_place: bool = False
    kept_files: KeptFiles = "copy"
    sync: bool = True


class WrittenFile(NamedTuple):
    """One file of a committed checkpoint: `how` is `written`, `copied`, `reflinked` or `linked`."""

    name: str
    nbytes: int
    how: Literal["written", "copied", "reflinked", "linked", "kept"]


class CommitReport(NamedTuple):
    """What a commit published.

    Attributes:
        target: The published file or directory.
        files: Every file of the checkpoint that the commit dealt with.
        restored: After an untie of everything: whether the original header, index and
            config came back byte for byte. None when nothing was to be restored.
        notices: One line each, for the person at the terminal.
    """

    target: Path
    files: tuple[WrittenFile, ...]
    restored: bool | None = None
    notices: tuple[str, ...] = ()


class Metadata(NamedTuple):
    """What a commit records beside the leaves.

    Attributes:
        manifest: The ties of the new checkpoint, or None when it has none.
        conventional: `alias -> canonical` names for plain `same` ties, in the convention of
            `safetensors.torch.save_model`.
        texts: New contents of text files of the checkpoint, such as `config.json`.
    """

    manifest: Manifest | None
    conventional: Mapping[str, str] = MappingProxyType({})
    texts: Mapping[str, str] = MappingProxyType({})


class CheckpointReader(Protocol):
    """Reads a checkpoint; owns open files until closed."""

    @property
    def format(self) -> str:
        """`safetensors` or `orbax`."""

    @property
    def root(self) -> Path:
        """The file or directory that is the checkpoint, as the user spelled it."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that hold leaves."""

    @property
    def other_nodes(self) -> tuple[tuple[KeyPath, str], ...]:
        """Places of the tree that hold no array, each with what it holds: `None`, `string`, …."""

    def describe(self) -> str:
        """Words which part of the checkpoint this is and how it is laid out; empty if there is nothing to say."""

    def specs(self) -> Mapping[KeyPath, LeafSpec]:
        """Returns every stored leaf, in stored order; headers only."""

    def metadata(self) -> Mapping[str, str]:
        """Returns the free-form metadata, without tiecli's own."""

    def custom_metadata(self) -> Mapping[str, object]:
        """Returns the same as JSON values, and without what speaks of files and their sizes."""

    def manifest(self) -> Manifest | None:
        """Returns the ties that tiecli wrote down, or None.

        Raises:
            ManifestError: The manifest is damaged, or newer than this tiecli.
        """

    def text(self, name: str) -> str | None:
        """Returns a text file of the checkpoint, such as `config.json`; None if absent."""

    def file_of(self, path: KeyPath) -> str:
        """Returns the name of the file that holds a leaf."""

    def storage(self, path: KeyPath) -> LeafStorage:
        """Returns how a leaf is stored, for people."""

    def stored_form(self, path: KeyPath) -> StoredForm:
        """Returns how and where a leaf is stored, for comparing."""

    def extent(self, path: KeyPath) -> Extent | None:
        """Returns where the bytes of a leaf can be copied from as they are; None where they have to be read."""

    def shares_bytes(self, path: KeyPath, other: KeyPath) -> bool:
        """Whether two leaves are stored once: both names lead to the same bytes."""

    def read_stored(self, path: KeyPath, part: int, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the stored bytes of one part of a leaf, from byte `offset` of the part on.

        Raises:
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the bytes of a leaf in C order, from its byte `offset` on.

        Raises:
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        """Reads many short pieces of a leaf's bytes in C order, one after another.

        Raises:
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused a read.
        """

    def expect_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> None:
        """Tells the system which pieces will be read soon, so that it fetches them from the disk together."""

    def read_block(self, path: KeyPath, box: Box) -> NDArray[np.generic]:
        """Reads one block of a leaf, as a fresh C-ordered array of its own dtype."""

    def can_share(self, tie: Tie) -> bool:
        """Whether the format can store an alias as a second name of its canonical leaf's bytes."""

    def check_unchanged(self) -> None:
        """Checks that no file changed since it was opened.

        Raises:
            SourceChangedError: One did.
        """

    def close(self) -> None:
        """Closes all files."""

    def __enter__(self) -> Self:
        """Returns itself."""

    def __exit__(self, *exc: object) -> None:
        """Closes."""


class CheckpointWriter(Protocol):
    """Builds a new checkpoint from an open one; nothing is visible before `commit`."""

    def keep(self, path: KeyPath) -> None:
        """Takes a leaf over from the source, stored bytes unchanged."""

    def write(self, path: KeyPath, spec: LeafSpec, blocks: Iterable[memoryview], beside: KeyPath | None = None) -> None:
        """Stores a leaf whose bytes `blocks` yields in C order; consumed at commit.

        Args:
            path: Where the leaf stands: a leaf of the source gets new values, an alias
                returns to its original place, any other leaf is added at the end.
            spec: Its shape and dtype.
            blocks: Its bytes, in pieces of any size.
            beside: A leaf in whose file to put one that is new; the last file without it.
        """

    def repeat(self, path: KeyPath, of: KeyPath) -> None:
        """Stores a leaf of the source again, under another name."""

    def alias(self, path: KeyPath, tie: Tie) -> None:
        """Stores a leaf as a second name of its canonical leaf's bytes, which `can_share` says is possible."""

    def commit(self, metadata: Metadata, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind."""

    def __enter__(self) -> Self:
        """Returns itself."""

    def __exit__(self, *exc: object) -> None:
        """Discards whatever was not committed."""
