"""New tree: checks that places make up a tree that Orbax can hold, and writes the JSON files of a new item."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tiecli.checkpoints.orbax.directories import STEP, TREE
from tiecli.checkpoints.orbax.documents import compose_tree, derive_documents, store_name
from tiecli.checkpoints.orbax.sidecars import ARRAYS, SHARDING, encode_name
from tiecli.checkpoints.orbax.treerecord import PLAIN, ArrayKind, TreeRecord
from tiecli.errors import ConversionError
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import LeafSpec

STRINGS = "_strings.json"

# Source: orbax-checkpoint 0.12.8, what its `PyTreeCheckpointer` writes.
_HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
# Readers of trees go down by recursion.
_MOST_KEYS = 200


def check_places(leaves: Iterable[KeyPath], others: Iterable[KeyPath] = ()) -> None:
    """Checks that places make up one tree, and that the store can tell its leaves apart.

    Args:
        leaves: Where arrays stand, or are left out.
        others: Places that hold something else.

    Raises:
        ConversionError: They do not; names the leaf.
    """
    ends = {path.keys: path for path in (*others, *leaves)}
    if not ends:
        raise ConversionError(
            "there is no leaf, and Orbax restores no tree without any", "Convert one that has leaves."
        )
    children: dict[tuple[Key, ...], dict[Key, KeyPath]] = {}
    names: dict[str, KeyPath] = {}
    for path in ends.values():
        _check_path(path)
        for depth, key in enumerate(path.keys):
            above = path.keys[:depth]
            if above in ends:
                raise ConversionError(
                    f"`{ends[above]}` is a leaf, so that `{path}` cannot stand below it in a tree",
                    "Rename one of the two; in an Orbax tree a place is a leaf or a branch.",
                )
            children.setdefault(above, {}).setdefault(key, path)
        other = names.setdefault(store_name(path), path)
        if other != path:
            raise ConversionError(
                f"`{other}` and `{path}` would both be stored as `{store_name(path)}`, and one would be lost",
                "Rename one of the two.",
            )
    for above, below in children.items():
        _check_keys(above, below)


def _check_path(path: KeyPath) -> None:
    """Checks that a leaf is found again under the name that it is stored by."""
    name = store_name(path)
    if len(path.keys) > _MOST_KEYS:
        raise ConversionError(
            f"`{name[:60]}…` is {len(path.keys)} keys deep, expected at most {_MOST_KEYS}", "Rename the leaf."
        )
    # Source: tensorstore 0.1.86, measured: it looks for `a/` in the place of `a`.
    if not name or name.endswith("/"):
        raise ConversionError(
            f"`{path}` would be stored as `{name}`, which the store spells otherwise",
            "Rename the leaf: the name may neither be empty nor end in a slash.",
        )


def _check_keys(above: tuple[Key, ...], below: Mapping[Key, KeyPath]) -> None:
    """Checks that the keys of one node are those of a dict, or those of a list."""
    indices = {key: path for key, path in below.items() if isinstance(key, int)}
    if not indices:
        return
    if len(indices) < len(below):
        named = next(path for key, path in below.items() if key not in indices)
        indexed = next(iter(indices.values()))
        raise ConversionError(
            f"`{indexed}` stands in a list, and `{named}` makes a dict of the same place",
            "Rename one of the two; a node has either names or indices.",
        )
    missing = next((index for index in range(len(indices)) if index not in indices), None)
    if missing is not None:
        gap = KeyPath((*above, missing))
        raise ConversionError(
            f"`{indices[max(indices)]}` is in a list that has no `{gap}`",
            "Orbax reads no list with a hole: rename the leaves so that indices count from 0.",
        )


def prune_record(record: TreeRecord, leaves: Collection[KeyPath]) -> TreeRecord:
    """Forgets nodes in whose place, above which or below which leaves stand by now."""
    ends = {path.keys for path in leaves}
    branches = {keys[:depth] for keys in ends for depth in range(len(keys))}

    def is_free(keys: tuple[Key, ...]) -> bool:
        """Whether no leaf stands at a place, above it or below it."""
        return keys not in branches and not any(keys[: depth + 1] in ends for depth in range(-1, len(keys)))

    nodes = {path: kind for path, kind in record.nodes.items() if is_free(path.keys)}
    return replace(
        record, nodes=nodes, strings={path: record.strings[path] for path in nodes if path in record.strings}
    )


def compose_documents(
    arrays: Mapping[KeyPath, LeafSpec],
    omitted: Collection[KeyPath],
    record: TreeRecord,
    custom: Mapping[str, object],
    *,
    use_zarr3: bool,
) -> Mapping[str, bytes]:
    """Composes the JSON files of a new item.

    Args:
        arrays: The arrays that are stored.
        omitted: Aliases that are not; one that is all there is of an element of a list leaves a None.
        record: What else is known of the tree.
        custom: The metadata of the tree, the manifest with it.
        use_zarr3: Whether the arrays are zarr 3, not 2.

    Returns:
        By name within the item; the tree, without which nothing is found, last.
    """
    kinds = {path: _kind_of(record.arrays.get(path, PLAIN), spec) for path, spec in arrays.items()}
    types = {path: kind.value_type for path, kind in kinds.items()} | dict(record.nodes)
    # Readers append to a list what they meet, so its elements have to come in order.
    places = sorted({*arrays, *omitted, *record.nodes}, key=lambda path: path.keys)
    raw = compose_tree(places, use_zarr3=use_zarr3, value_types=types)
    tree = derive_documents({TREE: raw}, omitted, {})[TREE]
    document = json.loads(tree)
    document["custom_metadata"] = dict(custom) or None
    documents = {STEP: _compose_step(), **_compose_sidecars(kinds, arrays)}
    if record.strings:
        texts = {store_name(path): text for path, text in record.strings.items()}
        documents[STRINGS] = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return {**documents, TREE: json.dumps(document).encode("utf-8")}


def _kind_of(kind: ArrayKind, spec: LeafSpec) -> ArrayKind:
    """What Orbax is to call an array: what it was, if it can still be that."""
    is_device_array = kind.value_type == "jax.Array" and kind.sharding
    is_scalar = kind.value_type == "scalar" and not spec.shape
    return kind if is_device_array or is_scalar else PLAIN


def _compose_sidecars(kinds: Mapping[KeyPath, ArrayKind], arrays: Mapping[KeyPath, LeafSpec]) -> dict[str, bytes]:
    on_devices = {path: kind for path, kind in kinds.items() if kind.sharding}
    if not on_devices:
        return {}
    shardings = {encode_name(store_name(path)): kind.sharding for path, kind in on_devices.items()}
    entries: list[dict[str, Any]] = []
    for path, kind in on_devices.items():
        shape = list(arrays[path].shape)
        extra = {"random_key_impl": kind.generator} if kind.generator else None
        entry = {"param_name": store_name(path), "write_shape": shape, "chunk_shape": shape, "ext_metadata": extra}
        entries.append({"array_metadata": entry})
    return {
        SHARDING: json.dumps(shardings, separators=(",", ":")).encode("utf-8"),
        f"{ARRAYS}/process_0": json.dumps({"array_metadatas": entries}).encode("utf-8"),
    }


def _compose_step() -> bytes:
    document: dict[str, Any] = {
        "item_handlers": _HANDLER,
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": None,
        "commit_timestamp_nsecs": None,
        "custom_metadata": {},
    }
    return json.dumps(document).encode("utf-8")
