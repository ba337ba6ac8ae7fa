"""Sidecars: the JSON files beside the tree of an item, which say how arrays were spread and which are random keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tiecli.checkpoints.jsonfiles import damaged, decode_object
from tiecli.checkpoints.storedfile import read_text_file

SHARDING = "_sharding"
ARRAYS = "array_metadatas"


class Sidecars(NamedTuple):
    """What the files beside the tree tell a person, by the names that leaves have in the store.

    Attributes:
        shardings: How an array was spread over devices: `4×2 mesh, PartitionSpec('x', None)`.
        kinds: What an array is, where it is more than its numbers: `PRNG key (threefry2x32)`.
    """

    shardings: Mapping[str, str]
    kinds: Mapping[str, str]


def read_sidecars(item: Path) -> Sidecars:
    """Reads the files beside the tree; either may be missing.

    Raises:
        OrbaxMetadataError: One is damaged.
        UnreadableFileError: The system refuses.
    """
    sharding, arrays = read_texts(item)
    return Sidecars(
        {} if sharding is None else parse_sharding(sharding, SHARDING),
        {} if arrays is None else parse_kinds(*arrays),
    )


def read_texts(item: Path) -> tuple[bytes | None, tuple[bytes, str] | None]:
    """Reads the files beside the tree as they are: the sharding, and the arrays with the name of that file.

    Raises:
        UnreadableFileError: The system refuses.
    """
    sharding = read_text_file(item / SHARDING, SHARDING)
    # Orbax sees to it that the file of every process lists the same arrays, with the same keys.
    names = sorted((path.name for path in (item / ARRAYS).glob("process_*")), key=lambda name: (len(name), name))
    label = f"{ARRAYS}/{names[0]}" if names else ARRAYS
    arrays = read_text_file(item / label, label) if names else None
    return sharding, None if arrays is None else (arrays, label)


def encode_name(name: str) -> str:
    """Spells the name of a leaf as `_sharding` does.

    Example:
        >>> encode_name("a.b")
        'YS5i'
    """
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def parse_sharding(raw: bytes, label: str) -> Mapping[str, str]:
    """Reads how each array was spread over devices, in words.

    Args:
        raw: A `_sharding` file.
        label: What errors call it.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    words: dict[str, str] = {}
    # Most leaves are spread like others.
    seen: dict[str, str] = {}
    for name, text in list_shardings(raw, label).items():
        if text not in seen:
            seen[text] = _describe_sharding(decode_object(text.encode("utf-8"), f"{label}: {name}"), label, name)
        words[name] = seen[text]
    return words


def list_shardings(raw: bytes, label: str) -> Mapping[str, str]:
    """Lists the shardings of a `_sharding` file by the names of the arrays, each as the JSON text that it is there.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    texts: dict[str, str] = {}
    for key, text in decode_object(raw, label).items():
        try:
            name = base64.b64decode(key, altchars=b"-_", validate=True).decode("utf-8")
        except ValueError:
            raise damaged(label, f"`{key[:60]}` is no name of a leaf in base64") from None
        if not isinstance(text, str):
            raise damaged(label, f"the sharding of `{name}` is no text")
        texts[name] = text
    return texts


def _describe_sharding(sharding: Mapping[str, Any], label: str, name: str) -> str:
    kind = sharding.get("sharding_type")
    if kind == "SingleDeviceSharding":
        return str(sharding.get("device_str", ""))
    if kind != "NamedSharding":
        return str(kind)
    shape, spec = sharding.get("shape"), sharding.get("partition_spec")
    if not isinstance(shape, list) or not isinstance(spec, list):
        raise damaged(label, f"the sharding of `{name}` has no `shape` and `partition_spec`")
    axes = [tuple(axis) if isinstance(axis, list) else axis for axis in spec]
    if not all(type(length) is int for length in shape) or not all(_is_axis(axis) for axis in axes):
        raise damaged(label, f"the sharding of `{name}` has an odd `shape` or `partition_spec`")
    return f"{'×'.join(map(str, shape))} mesh, PartitionSpec({', '.join(map(repr, axes))})"


def _is_axis(axis: object) -> bool:
    """Whether an axis is spread over none, one or several axes of the mesh."""
    return isinstance(axis, str | None) or (isinstance(axis, tuple) and all(isinstance(name, str) for name in axis))


def list_arrays(document: Mapping[str, Any], label: str) -> list[dict[str, Any]]:
    """Lists the arrays that a parsed `array_metadatas` file describes.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    entries = document.get("array_metadatas")
    if not isinstance(entries, list):
        raise damaged(label, "it has no list `array_metadatas`")
    arrays = [entry.get("array_metadata") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(array, dict) and isinstance(array.get("param_name"), str) for array in arrays):
        raise damaged(label, "an entry names no array")
    return [array for array in arrays if isinstance(array, dict)]


def parse_kinds(raw: bytes, label: str) -> Mapping[str, str]:
    """Reads which arrays are random keys, in words.

    Args:
        raw: A file of `array_metadatas`.
        label: What errors call it.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    return {name: f"PRNG key ({impl})" for name, impl in list_key_impls(raw, label).items()}


def list_key_impls(raw: bytes, label: str) -> Mapping[str, str]:
    """Lists the arrays that are random keys, each with the name of its generator.

    Raises:
        OrbaxMetadataError: The file is damaged.
    """
    impls: dict[str, str] = {}
    for array in list_arrays(decode_object(raw, label), label):
        extra = array.get("ext_metadata")
        if isinstance(extra, dict) and "random_key_impl" in extra:
            impls[array["param_name"]] = str(extra["random_key_impl"])
    return impls
