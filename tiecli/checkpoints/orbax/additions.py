"""Additions: the JSON files of an item with leaves that it never had."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.checkpoints.orbax.documents import describe_leaf, entry_key
from tiecli.checkpoints.orbax.jsonfiles import decode_object, encode_like
from tiecli.errors import UnsupportedCheckpointError
from tiecli.keypaths import KeyPath


def add_leaves(documents: Mapping[str, bytes], added: Collection[KeyPath]) -> Mapping[str, bytes]:
    """Adds leaves to the tree of an item, as plain arrays: nobody has said how they are spread over devices.

    Args:
        documents: The JSON files of the item, by name.
        added: Where the new leaves stand.

    Raises:
        OrbaxMetadataError: A file is damaged.
        UnsupportedCheckpointError: The tree says more of its nodes than an array can.
    """
    if not added:
        return documents
    document = decode_object(documents[TREE], TREE)
    if document.get("value_metadata_tree") is not None:
        raise UnsupportedCheckpointError(
            f"`{TREE}` describes rich types, so that no leaf can be added to it",
            "Restore the checkpoint, add the leaf in the program, and save it again.",
        )
    entries = {**document["tree_metadata"], **{entry_key(path): describe_leaf(path) for path in added}}
    derived = {**document, "tree_metadata": entries}
    return {**documents, TREE: encode_like(derived, documents[TREE], document)}
