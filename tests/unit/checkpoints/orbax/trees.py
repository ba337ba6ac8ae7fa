"""Tree metadata, written as Orbax writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tiecli.keypaths import Key


def entry(keys: tuple[Key, ...], value_type: str = "jax.Array", **value: Any) -> tuple[str, dict[str, Any]]:
    """Makes one entry of `tree_metadata`, and its key."""
    skipped = value_type in ("None", "Dict", "List", "Tuple", "NamedTuple")
    parts = [{"key": str(key), "key_type": 1 if isinstance(key, int) else 2} for key in keys]
    described = {"value_type": value_type, "skip_deserialize": skipped} | value
    return str(tuple(map(str, keys))), {"key_metadata": parts, "value_metadata": described}


def tree(*keys: tuple[Key, ...], **members: Any) -> bytes:
    """Makes a `_METADATA` with jax arrays of shape 4×2 in some places."""
    return tree_of(dict.fromkeys(keys, "jax.Array"), **members)


def tree_of(types: Mapping[tuple[Key, ...], str], **members: Any) -> bytes:
    """Makes a `_METADATA` from what stands where."""
    shapes: dict[str, Any] = {"jax.Array": {"write_shape": [4, 2]}}
    entries = dict(entry(keys, kind, **shapes.get(kind, {})) for keys, kind in types.items())
    document: dict[str, Any] = {"tree_metadata": entries, "use_ocdbt": True, "use_zarr3": False}
    document |= {"store_array_data_equal_to_fill_value": True, "custom_metadata": None}
    return json.dumps(document | members).encode()
