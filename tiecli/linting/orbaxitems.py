"""Orbax items: those of a checkpoint whose tree and store can both be read, as rules about leaves see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.checkpoints.orbax.documents import entry_key
from tiecli.checkpoints.survey.orbax import ItemSurvey

if TYPE_CHECKING:
    from tiecli.checkpoints.orbax.treemetadata import TreeMetadata, TreeNode
    from tiecli.checkpoints.survey.orbaxstores import StoredLeaf, StoreSurvey
    from tiecli.keypaths import KeyPath
    from tiecli.linting.subject import Subject

ENTRIES = "tree_metadata"
"""Where `_METADATA` lists the leaves."""

VALUE = "value_metadata"
"""Where an entry of that says what the leaf is."""

_RICH = "value_metadata_tree"


class ReadItem(NamedTuple):
    """An item whose tree and store can be read.

    Attributes:
        item: Which.
        tree: Its tree.
        store: Its arrays.
    """

    item: ItemSurvey
    tree: TreeMetadata
    store: StoreSurvey

    @property
    def metadata_file(self) -> str:
        """The name of its `_METADATA`, relative to the checkpoint's root."""
        return self.item.file(TREE)

    @property
    def is_rich(self) -> bool:
        """Whether `_METADATA` states the tree once more, as a text that no edit of one member changes."""
        return self.tree.document.get(_RICH) is not None

    def arrays(self) -> Iterator[tuple[TreeNode, StoredLeaf | None]]:
        """Yields the leaves of the tree that are arrays, each with what the store holds for it."""
        leaves = self.store.leaves
        return ((node, leaves.get(node.name)) for node in self.tree.nodes if node.is_array)

    def entry(self, path: KeyPath) -> tuple[str, Mapping[str, Any]]:
        """Gives the entry of a leaf in `_METADATA`, with its key."""
        key = entry_key(path)
        return key, self.tree.document[ENTRIES].get(key, {})


def list_read(subject: Subject) -> Iterator[ReadItem]:
    """Yields the items that were looked into and can be read; none of which nothing makes one database yet."""
    for item in subject.orbax.items:
        tree = item.tree.tree if item.tree is not None else None
        store = item.store
        if tree is not None and store is not None and not store.problem and store.form != "processes":
            yield ReadItem(item, tree, store)
