"""Nodes: the places of a tree that hold no array, whichever format tells of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath


class Nodes(NamedTuple):
    """What a checkpoint knows of a tree beside its arrays.

    Attributes:
        kinds: Places that hold no array, each with what it holds: `None`, `Dict`, …; a text in quotes.
        keys: Metadata that stands for this, or that a format has to have, and that means nothing else.
    """

    kinds: Mapping[KeyPath, str]
    keys: tuple[str, ...] = ()


def read_nodes(reader: CheckpointReader) -> Nodes:
    """Reads what a checkpoint knows of a tree beside its arrays.

    Raises:
        OrbaxMetadataError: The texts of the tree are damaged.
        ManifestError: What a safetensors checkpoint carries of a tree is damaged.
        UnreadableFileError: The system refuses.
    """
    kinds = dict(reader.other_nodes)
    if reader.format == "orbax":
        from tiecli.checkpoints.orbax.describing import read_strings
        from tiecli.checkpoints.orbax.reader import OrbaxReader

        assert isinstance(reader, OrbaxReader)
        return Nodes(kinds | _quote(read_strings(reader)))
    from tiecli.checkpoints.orbax.treerecord import KEY, TreeRecord

    text = reader.metadata().get(KEY)
    if text is None:
        return Nodes(kinds)
    record = TreeRecord.from_json(text)
    return Nodes({**kinds, **record.nodes, **_quote(record.strings)}, (KEY, *record.added))


def _quote(texts: Mapping[KeyPath, str]) -> dict[KeyPath, str]:
    return {path: json.dumps(text, ensure_ascii=False) for path, text in texts.items()}
