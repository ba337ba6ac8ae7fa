"""Rich tree: the second form of an item's tree, which tells tuples and named tuples from lists and dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiecli.checkpoints.jsonfiles import damaged, decode_object, encode_like
from tiecli.checkpoints.orbax.treemetadata import NOTHING
from tiecli.keypaths import Key, KeyPath

_LEAF = "ValueMetadataEntry"


class RichTree:
    """The tree in a `value_metadata_tree`, a JSON text within the JSON of `_METADATA`, for editing.

    Dicts and lists stand for themselves, unless a dict has a `category`: then it is a tuple
    with `entries`, a named tuple whose `entries` have keys, or a leaf with `data`.
    """

    def __init__(self, text: object, label: str) -> None:
        """Reads it.

        Raises:
            OrbaxMetadataError: It is damaged.
        """
        if not isinstance(text, str):
            raise damaged(label, "`value_metadata_tree` is no text")
        self._label = label
        self._raw = text.encode("utf-8")
        self._original = decode_object(self._raw, f"{label}: value_metadata_tree")
        self._root: Any = decode_object(self._raw, f"{label}: value_metadata_tree")

    def to_text(self) -> str:
        """Writes it."""
        return encode_like(self._root, self._raw, self._original).decode("utf-8")

    def omit(self, path: KeyPath, *, keep_place: bool) -> None:
        """Takes a leaf out.

        A dict that is left empty goes with it; in a tuple, a named tuple or a list a None
        stays, since these cannot do without an element.

        Args:
            path: The leaf.
            keep_place: Leave a None in its place in any case.

        Raises:
            OrbaxMetadataError: There is no such leaf.
        """
        nodes = [self._root]
        for key in path.keys:
            nodes.append(self._child(nodes[-1], key, path))
        for node, key in zip(reversed(nodes[:-1]), reversed(path.keys), strict=True):
            if keep_place or not isinstance(node, dict) or "category" in node:
                self._replace(node, key, {"category": "custom", "clazz": _LEAF, "data": dict(NOTHING)})
                return
            del node[str(key)]
            if node:
                return

    def set_write_shape(self, path: KeyPath, shape: Sequence[int]) -> None:
        """Changes the shape of the pieces that a leaf is stored in.

        Raises:
            OrbaxMetadataError: There is no such leaf.
        """
        node = self._root
        for key in path.keys:
            node = self._child(node, key, path)
        data = node.get("data") if isinstance(node, dict) else None
        if not isinstance(data, dict):
            raise self._missing(path)
        data["write_shape"] = list(shape)

    def _child(self, node: Any, key: Key, path: KeyPath) -> Any:
        """Goes one key down."""
        try:
            if isinstance(node, list):
                return node[int(key)]
            if node.get("category") == "namedtuple":
                return self._field(node, key)["value"]
            if node.get("category") == "custom":
                return node["entries"][int(key)]
            return node[str(key)]
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, StopIteration):
            raise self._missing(path) from None

    @staticmethod
    def _field(node: Any, key: Key) -> Any:
        return next(entry for entry in node["entries"] if entry["key"] == str(key))

    def _replace(self, node: Any, key: Key, child: Any) -> None:
        """Puts another node in the place of one that is there."""
        if isinstance(node, list):
            node[int(key)] = child
        elif node.get("category") == "namedtuple":
            self._field(node, key)["value"] = child
        elif node.get("category") == "custom":
            node["entries"][int(key)] = child
        else:
            node[str(key)] = child

    def _missing(self, path: KeyPath) -> Exception:
        return damaged(self._label, f"its `value_metadata_tree` does not hold `{path.spelling}`")
