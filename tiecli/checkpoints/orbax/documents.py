"""Documents: the JSON files of an Orbax item, derived from those of another state of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from tiecli.checkpoints.jsonfiles import damaged, decode_object, encode_like
from tiecli.checkpoints.orbax.directories import TREE
from tiecli.checkpoints.orbax.richtree import RichTree
from tiecli.checkpoints.orbax.sidecars import ARRAYS, SHARDING, encode_name, list_arrays
from tiecli.checkpoints.orbax.treemetadata import EMPTY_TYPES, MAPPING, NOTHING, SEQUENCE, parse_tree
from tiecli.errors import UnsupportedCheckpointError
from tiecli.keypaths import KeyPath, find_emptied

_CUSTOM = "custom_metadata"
_RICH = "value_metadata_tree"


class LeafChange(NamedTuple):
    """How a leaf that stays is stored from now on, along the axes that it always had.

    Its sharding stays too: that says how the program spread it, not how its bytes lie.

    Attributes:
        write_shape: Shape of the pieces that it is stored in.
    """

    write_shape: tuple[int, ...]


def derive_documents(
    originals: Mapping[str, bytes],
    omitted: Collection[KeyPath],
    changed: Mapping[KeyPath, LeafChange],
    added: Collection[KeyPath] = (),
) -> Mapping[str, bytes]:
    """Derives the JSON files of an item from which leaves are left out, changed and added.

    An omitted leaf that is all there is of an element of a sequence stays as a None, since
    Orbax reads no sequence with a hole. An added leaf is a numpy array to Orbax, which needs
    to know of no device then.

    Args:
        originals: The files by their names within the item: `_METADATA`, and `_sharding`
            and `array_metadatas/process_N` where there are any; others pass through.
        omitted: Leaves to leave out; those that the files do not list are left out already.
        changed: Leaves that stay and are stored in pieces of another shape now.
        added: Leaves to list; those that the files list already stay as they are.

    Returns:
        The same files; one in which nothing changes is returned as it is.

    Raises:
        OrbaxMetadataError: A file is damaged, or does not list a changed leaf.
        UnsupportedCheckpointError: Leaves are added to a tree with rich types.
    """
    dropped = {store_name(path) for path in omitted}
    shapes = {store_name(path): list(change.write_shape) for path, change in changed.items()}
    derived: dict[str, bytes] = {}
    for name, raw in originals.items():
        if name == TREE:
            derived[name] = _derive_tree(raw, omitted, changed, added)
        elif name == SHARDING:
            derived[name] = _derive_sharding(raw, dropped)
        elif name.startswith(ARRAYS + "/"):
            derived[name] = _derive_arrays(raw, name, dropped, shapes)
        else:
            derived[name] = raw
    return derived


def _derive_tree(
    raw: bytes, omitted: Collection[KeyPath], changed: Mapping[KeyPath, LeafChange], added: Collection[KeyPath]
) -> bytes:
    if not omitted and not changed and not added:
        return raw
    tree = parse_tree(raw, TREE)
    document: dict[str, Any] = dict(tree.document)
    entries = document["tree_metadata"] = dict(document["tree_metadata"])
    rich = RichTree(document[_RICH], TREE) if document.get(_RICH) is not None else None
    emptied = find_emptied((node.path for node in tree.nodes), omitted)
    for path in omitted:
        key = entry_key(path)
        if key not in entries:
            continue
        if path in emptied:
            entries[key] = entries[key] | {"value_metadata": dict(NOTHING)}
        else:
            del entries[key]
        if rich is not None:
            rich.omit(path, keep_place=path in emptied)
    for path, change in changed.items():
        key = entry_key(path)
        if key not in entries:
            raise damaged(TREE, f"it does not list `{path.spelling}`")
        value = entries[key]["value_metadata"]
        if "write_shape" in value:
            entries[key] = entries[key] | {"value_metadata": value | {"write_shape": list(change.write_shape)}}
            if rich is not None:
                rich.set_write_shape(path, change.write_shape)
    fresh = {key: describe_leaf(path) for path in added if _is_vacant(entries.get(key := entry_key(path)))}
    if fresh and rich is not None:
        raise UnsupportedCheckpointError(
            f"`{TREE}` keeps rich types of its tree, to which tiecli adds no leaf",
            "Save the checkpoint again with `support_rich_types` off.",
        )
    entries.update(fresh)
    if rich is not None:
        document[_RICH] = rich.to_text()
    return raw if document == tree.document else encode_like(document, raw, tree.document)


def _is_vacant(entry: Mapping[str, Any] | None) -> bool:
    """Whether no leaf stands in a place: at most the None that another left."""
    return entry is None or entry["value_metadata"]["value_type"] == NOTHING["value_type"]


def _derive_sharding(raw: bytes, dropped: Collection[str]) -> bytes:
    document = decode_object(raw, SHARDING)
    keys = {encode_name(name) for name in dropped}
    derived = {key: value for key, value in document.items() if key not in keys}
    return raw if len(derived) == len(document) else encode_like(derived, raw, document)


def _derive_arrays(raw: bytes, name: str, dropped: Collection[str], shapes: Mapping[str, list[int]]) -> bytes:
    document = decode_object(raw, name)
    arrays: list[dict[str, Any]] = []
    for array in list_arrays(document, name):
        shape = shapes.get(array["param_name"])
        if array["param_name"] not in dropped:
            arrays.append(array if shape is None else array | {"write_shape": shape, "chunk_shape": shape})
    derived = document | {"array_metadatas": [{"array_metadata": array} for array in arrays]}
    return raw if derived == document else encode_like(derived, raw, document)


def set_custom(raw_metadata: bytes, key: str, value: object | None, label: str = TREE) -> bytes:
    """Sets a member of the user's own metadata, and leaves everything else as it is.

    Args:
        raw_metadata: A `_METADATA` or `_CHECKPOINT_METADATA`.
        key: The member.
        value: What JSON can hold; None removes the member.
        label: What errors call the file.

    Raises:
        OrbaxMetadataError: The file is damaged.
        UnsupportedCheckpointError: The user keeps something else there than an object.
    """
    document = decode_object(raw_metadata, label)
    custom = document.get(_CUSTOM)
    if custom is not None and not isinstance(custom, dict):
        if value is None:
            return raw_metadata
        raise UnsupportedCheckpointError(
            f"`{label}` has a `{_CUSTOM}` that is no object, so that no manifest can be put there",
            "Save the checkpoint again with a dict as its custom metadata.",
        )
    members = {name: member for name, member in (custom or {}).items() if name != key}
    if value is None and len(members) == len(custom or {}):
        return raw_metadata
    if value is not None:
        members[key] = value
    # Without any, Orbax writes null into the tree and an empty object into the step.
    nothing = None if "tree_metadata" in document else members
    return encode_like(document | {_CUSTOM: members or nothing}, raw_metadata, document)


def compose_tree(
    leaves: Iterable[KeyPath], *, use_zarr3: bool, value_types: Mapping[KeyPath, str] | None = None
) -> bytes:
    """Composes the `_METADATA` of a new item in an OCDBT database.

    Args:
        leaves: Where its leaves stand.
        use_zarr3: Whether they are zarr 3 arrays, not zarr 2.
        value_types: What Orbax is to call those that are no numpy arrays.

    Example:
        >>> parse_tree(compose_tree([KeyPath(("layers", 0, "w"))], use_zarr3=False), TREE).nodes[0].name
        'layers.0.w'
    """
    types = value_types or {}
    document = {
        "tree_metadata": {entry_key(path): describe_leaf(path, types.get(path, "np.ndarray")) for path in leaves},
        "use_ocdbt": True,
        "use_zarr3": use_zarr3,
        "store_array_data_equal_to_fill_value": True,
        _CUSTOM: None,
    }
    return json.dumps(document).encode("utf-8")


def store_name(path: KeyPath) -> str:
    """Spells a path as the store does, which tells no index from a digit, and no dot in a key from one between."""
    return ".".join(map(str, path.keys))


def entry_key(path: KeyPath) -> str:
    """Spells a path as `_METADATA` does: as Python prints a tuple of strings."""
    return str(tuple(map(str, path.keys)))


def describe_leaf(path: KeyPath, value_type: str = "np.ndarray") -> dict[str, Any]:
    """Describes a leaf, or an empty node, as `_METADATA` does."""
    keys = [{"key": str(key), "key_type": SEQUENCE if isinstance(key, int) else MAPPING} for key in path.keys]
    value = {"value_type": value_type, "skip_deserialize": value_type in EMPTY_TYPES}
    return {"key_metadata": keys, "value_metadata": value}
