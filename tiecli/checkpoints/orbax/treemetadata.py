"""Tree metadata: which nodes the tree of an Orbax item has, from its `_METADATA`."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from tiecli.checkpoints.collecting import pause_collecting
from tiecli.checkpoints.jsonfiles import damaged, decode_object
from tiecli.errors import NameCollisionError, UnsupportedCheckpointError
from tiecli.keypaths import Key, KeyPath

ARRAY_TYPES = frozenset({"jax.Array", "np.ndarray", "scalar"})
EMPTY_TYPES = frozenset({"None", "Dict", "List", "Tuple", "NamedTuple"})

# Source: orbax-checkpoint 0.12.8, `KeyType`.
SEQUENCE, MAPPING = 1, 2

# Below the depth at which Python itself gives up.
_DEPTH_LIMIT = 200

# What Orbax says of a place that holds None.
NOTHING: Mapping[str, Any] = MappingProxyType({"value_type": "None", "skip_deserialize": True})


# A named tuple, since a checkpoint has tens of thousands: it is made in C.
class TreeNode(NamedTuple):
    """One place of the tree that holds a value, or is empty.

    Attributes:
        path: Where it stands; keys of sequences are integers.
        value_type: What Orbax calls its value: `jax.Array`, `np.ndarray`, `scalar`,
            `string`, `None`, `Dict`, ...
        is_array: Whether the store holds an array for it.
        name: What the store calls it.
    """

    path: KeyPath
    value_type: str
    is_array: bool
    name: str


@dataclass(frozen=True, slots=True)
class TreeMetadata:
    """A parsed `_METADATA`.

    Attributes:
        nodes: Every node, in stored order; without the placeholders that a partial save
            leaves where it later stored something.
        use_ocdbt: Whether the arrays are in an OCDBT database. None where an older Orbax
            did not say: they are if there is a `manifest.ocdbt`.
        use_zarr3: Whether the arrays are zarr 3, not 2.
        custom: The user's own metadata; empty if there is none, or no object.
        document: The whole JSON, key order kept.
    """

    nodes: tuple[TreeNode, ...]
    use_ocdbt: bool | None
    use_zarr3: bool
    custom: Mapping[str, Any]
    document: Mapping[str, Any]


def parse_tree(raw: bytes, label: str) -> TreeMetadata:
    """Parses a `_METADATA`.

    Args:
        raw: The file.
        label: What errors call it.

    Raises:
        OrbaxMetadataError: It is damaged, or contradicts itself; says where.
        NameCollisionError: Two leaves share one name.
        UnsupportedCheckpointError: The tree is a single leaf, which has no name.
    """
    with pause_collecting():
        return _parse(raw, label)


def _parse(raw: bytes, label: str) -> TreeMetadata:
    document = decode_object(raw, label)
    entries = document.get("tree_metadata")
    if not isinstance(entries, dict):
        raise damaged(label, "it has no `tree_metadata` object, which lists the leaves")
    # The standard reader keeps one of two equal keys; this is the cheap way to notice.
    if raw.count(b'"key_metadata"') > len(entries) and _repeats(raw, label):
        raise damaged(label, "it lists a leaf twice")
    nodes, hidden = _parse_nodes(entries, label)
    _check_names(nodes)
    custom = document.get("custom_metadata")
    return TreeMetadata(
        tuple(node for node in nodes if node.path not in hidden) if hidden else tuple(nodes),
        _flag(document, "use_ocdbt", None, label),
        bool(_flag(document, "use_zarr3", False, label)),
        custom if isinstance(custom, dict) else {},
        document,
    )


def _read_path(text: str, names: tuple[str, ...], entry: Mapping[str, Any], label: str) -> KeyPath:
    """Checks the keys of an entry against its own key, and gives sequences their indices."""
    # Orbax writes the text of a Python tuple, quotes and escapes as Python has them; the join is five times faster.
    if ("', '".join(names) != text[2:-2] or len(names) < 2) and str(names) != text:
        raise damaged(label, f"the entry `{_cut(text)}` calls itself `{_cut(str(names))}` in its `key_metadata`")
    if len(names) > _DEPTH_LIMIT:
        raise damaged(label, f"an entry is {len(names):,} keys deep")
    types = [part["key_type"] for part in entry["key_metadata"]]
    if types.count(MAPPING) == len(types):
        return KeyPath(names)
    return KeyPath(tuple(_typed(name, kind, text, label) for name, kind in zip(names, types, strict=True)))


def _typed(name: str, kind: int, text: str, label: str) -> Key:
    if kind == MAPPING:
        return name
    if kind != SEQUENCE or kind is True:
        raise damaged(label, f"the entry `{_cut(text)}` has a key of the unknown type `{_cut(str(kind))}`")
    if not (name.isascii() and name.isdigit() and len(name) < 10 and (name == "0" or name[0] != "0")):
        raise damaged(label, f"the entry `{_cut(text)}` has the index `{_cut(name)}` in a sequence")
    return int(name)


def _parse_nodes(entries: Mapping[str, Any], label: str) -> tuple[list[TreeNode], frozenset[KeyPath]]:
    """Parses all entries; also tells which are mere placeholders for something below them."""
    nodes: list[TreeNode] = []
    empty: list[tuple[str, KeyPath]] = []
    for text, entry in entries.items():
        try:
            names = tuple([part["key"] for part in entry["key_metadata"]])
            name = ".".join(names)
            path = _read_path(text, names, entry, label)
            value = entry["value_metadata"]
            value_type, skipped = value["value_type"], value["skip_deserialize"]
            is_array = not skipped and value_type in ARRAY_TYPES
        except (KeyError, TypeError, IndexError):
            raise damaged(
                label, f"the entry `{_cut(text)}` has no proper `key_metadata` and `value_metadata`"
            ) from None
        if type(value_type) is not str or type(skipped) is not bool:
            raise damaged(label, f"the entry `{_cut(text)}` has no proper `value_metadata`")
        nodes.append(TreeNode(path, value_type, is_array, name))
        if skipped:
            empty.append((text, path))
    return nodes, _find_placeholders(entries, empty)


def _find_placeholders(entries: Mapping[str, Any], empty: Iterable[tuple[str, KeyPath]]) -> frozenset[KeyPath]:
    ordered: list[str] | None = None
    found: set[KeyPath] = set()
    for text, path in empty:
        ordered = ordered or sorted(entries)
        # `('a', 'b')` stands above whatever begins with `('a', 'b', `; `()` above everything.
        start = text[:-1].rstrip(",") + ", " if path.keys else "("
        after = bisect_right(ordered, start)
        if any(below.startswith(start) and below != text for below in ordered[after : after + 2]):
            found.add(path)
    return frozenset(found)


def _check_names(nodes: list[TreeNode]) -> None:
    """Refuses leaves of which the store, or a person, could not tell one from the other."""
    stored = [node for node in nodes if node.value_type not in EMPTY_TYPES]
    names = {node.name for node in stored}
    spellings = {node.path.spelling for node in stored}
    if any(not node.path.keys for node in stored):
        raise UnsupportedCheckpointError(
            "the tree is one leaf without a name", "Save it as a dict: `{'params': array}` instead of `array`."
        )
    if len(names) == len(spellings) == len(stored):
        return
    seen: dict[tuple[str, str], KeyPath] = {}
    for node in stored:
        other = seen.setdefault(("store", node.name), node.path)
        if other != node.path:
            raise NameCollisionError(
                f"`{other}` and `{node.path}` are both stored as `{node.name}`, so one overwrote the other when saved",
                "One of the values is lost; rename one of the leaves in the program that saves, and save again.",
            )
        other = seen.setdefault(("spelling", node.path.spelling), node.path)
        if other != node.path:
            raise NameCollisionError(
                f"`{other}` and `{node.path}` cannot be told apart by a name: both read `{node.path.spelling}`",
                "Rename one of the leaves in the program that saves, and save again.",
            )


def _repeats(raw: bytes, label: str) -> bool:
    repeats: list[bool] = []
    try:
        json.loads(raw, object_pairs_hook=lambda pairs: repeats.append(len(dict(pairs)) < len(pairs)))
    except RecursionError as error:
        raise damaged(label, "it is nested too deep") from error
    return any(repeats)


def _flag(document: Mapping[str, Any], key: str, default: bool | None, label: str) -> bool | None:
    value = document.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise damaged(label, f"`{key}` is `{_cut(str(value))}`, expected true or false")
    return value


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
