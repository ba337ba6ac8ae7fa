"""Leaf drafts: what is to be stored for each leaf of the next item, before a byte is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.protocol import Extent
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS, ArrayMetadata


@dataclass(frozen=True, slots=True)
class Stored:
    """Chunks that the source holds already.

    Attributes:
        chunks: By their keys within the leaf, where they lie.
        again: Store them once more, though another leaf may have them too.
    """

    chunks: Mapping[str, Value]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The one chunk of a leaf whose stored bytes lie, as they are, in a file of another checkpoint.

    Attributes:
        chunk: Its key within the leaf.
        extent: Where its bytes lie.
    """

    chunk: str
    extent: Extent


@dataclass(frozen=True, slots=True)
class Encoded:
    """Chunks that are made of the leaf's bytes in C order."""

    blocks: Iterable[memoryview] = field(compare=False)


@dataclass(frozen=True, slots=True)
class View:
    """Chunks that another leaf of the next item holds.

    Attributes:
        of: Its name in the store.
        chunks: The keys within this leaf, and what they are called within the other.
    """

    of: str
    chunks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LeafDraft:
    """One leaf of the next item.

    Attributes:
        name: Its name in the store.
        metadata: What its chunks mean.
        raw: The same as it is stored.
        source: Where the chunks come from.
    """

    name: str
    metadata: ArrayMetadata
    raw: bytes
    source: Stored | Taken | Encoded | View

    @property
    def metadata_key(self) -> str:
        """The key of its metadata in the store."""
        return f"{self.name}/{METADATA_KEYS[self.metadata.version]}"
