"""Contents: what a new checkpoint is to hold, and how it is to be laid out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tiecli.checkpoints.orbax.treerecord import TreeRecord
    from tiecli.keypaths import KeyPath
    from tiecli.manifest import Manifest
    from tiecli.ties import Tie


class SafetensorsForm(NamedTuple):
    """How a new safetensors checkpoint is laid out.

    Attributes:
        single: It is one file, not a directory.
        shard_nbytes: Begin another shard where one would grow beyond this; None for one file.
    """

    single: bool
    shard_nbytes: int | None = None


class OrbaxForm(NamedTuple):
    """How a new Orbax item is laid out.

    Attributes:
        zarr: Which version of zarr describes its arrays.
        compressed: Whether they are compressed, as Orbax does by default.
    """

    zarr: Literal[2, 3] = 2
    compressed: bool = False


Form = SafetensorsForm | OrbaxForm


@dataclass(frozen=True, slots=True)
class Contents:
    """What a new checkpoint is to hold, in its own names.

    Attributes:
        leaves: Each stored leaf, and the leaf of the source that it is.
        record: What an Orbax tree has beside them.
        manifest: The ties, or None if there are none.
        shared: Aliases that are second names of their canonical leaves' bytes.
        omitted: Aliases that are not stored.
        conventional: `alias -> canonical` names for plain `same` ties, in the convention of
            `safetensors.torch.save_model`.
        custom: The metadata, as JSON values; texts only for safetensors.
    """

    leaves: Mapping[KeyPath, KeyPath]
    record: TreeRecord
    manifest: Manifest | None = None
    shared: Mapping[KeyPath, Tie] = field(default_factory=dict)
    omitted: Collection[KeyPath] = ()
    conventional: Mapping[str, str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)
