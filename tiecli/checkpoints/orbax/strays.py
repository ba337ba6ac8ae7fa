"""Strays: what a store holds and the tree of its item does not name, such as arrays of types that a program made up."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.orbax.item import StoredItem
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS

_ENDS = tuple(f"/{key}" for key in METADATA_KEYS.values())


def name_strays(item: StoredItem) -> tuple[str, ...]:
    """Names the arrays that a store holds and the tree does not name, in the order of the store."""
    if _holds_leaves_only(item):
        return ()
    named = {node.name for node in item.tree.nodes}
    return tuple(name for name in _name_arrays(item) if name not in named)


def list_strays(item: StoredItem, leaves: Collection[str]) -> Mapping[str, Value]:
    """Lists the values of a database that belong to no leaf: a program that stores more may look for them.

    Args:
        item: The item; one without a database has files in place of such values.
        leaves: Names of the leaves that the next state of the item will hold.

    Raises:
        MissingChunkError: Some of them are not there, or cut short.
    """
    if not item.use_ocdbt or _holds_leaves_only(item):
        return {}
    held, known = _name_arrays(item), {array.node.name for array in item.arrays.values()}
    strays: dict[str, Value] = {}
    sizes: dict[str, int] = {}
    for key, value in item.values.items():
        owner = next((name for name in _names_above(key) if name in held), None)
        if owner not in known and owner not in leaves:
            if value.file:
                item.data.check_holds(value, key, sizes)
            strays[key] = value
    return strays


def _holds_leaves_only(item: StoredItem) -> bool:
    return len(item.values) == sum(1 + len(parts) for parts in item.parts.values())


def _name_arrays(item: StoredItem) -> Mapping[str, None]:
    """Names all arrays that the store holds, in its order."""
    # Names of leaves may hold slashes; those of the metadata do not.
    return dict.fromkeys(key.rpartition("/")[0] for key in item.values if key.endswith(_ENDS))


def _names_above(key: str) -> Iterator[str]:
    """Yields what may be the name of the leaf that a key belongs to, the longest first."""
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)
