"""Shard index: the JSON that says which shard of a Hugging Face checkpoint holds which leaf."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tiecli.errors import IndexFileError, ShardMismatchError

KEY = "tiecli"

SUFFIX = ".safetensors.index.json"
_AGAIN = "Download the index again, or save the checkpoint again with the library that wrote it."


class ShardIndex(NamedTuple):
    """A parsed index.

    Attributes:
        name: The file's name.
        raw: Its bytes.
        document: The whole JSON, key order kept.
    """

    name: str
    raw: bytes
    document: Mapping[str, Any]

    @property
    def weight_map(self) -> Mapping[str, str]:
        """Leaf names to shard names."""
        weight_map: Mapping[str, str] = self.document["weight_map"]
        return weight_map

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Free-form metadata; empty if there is none."""
        return self.document.get("metadata") or {}

    @property
    def shards(self) -> tuple[str, ...]:
        """Shard names, in the order of their first mention."""
        return tuple(dict.fromkeys(self.weight_map.values()))


def parse_index(raw: bytes, name: str) -> ShardIndex:
    """Parses an index and checks that it stays inside its directory.

    Raises:
        IndexFileError: It is damaged, ambiguous or unsafe; says where.
    """
    document = _decode(raw, name)
    if not isinstance(document, dict):
        raise IndexFileError(f"`{name}` is no JSON object", _AGAIN)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict):
        raise IndexFileError(f"`{name}` has no `weight_map` object, which says where each leaf is", _AGAIN)
    for leaf, shard in weight_map.items():
        if not isinstance(shard, str):
            raise IndexFileError(f"`{name}`: `{leaf}` maps to {json.dumps(shard)[:40]}, expected a file name", _AGAIN)
    if not isinstance(document.get("metadata") or {}, dict):
        raise IndexFileError(f"`{name}`: `metadata` is no object", _AGAIN)
    index = ShardIndex(name, raw, document)
    for shard in index.shards:
        _check_inside(shard, name)
    return index


def _decode(raw: bytes, name: str) -> object:
    document = _decode_plain(raw)
    if document is not None:
        return document
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=lambda pairs: _refuse_repeats(pairs, name))
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise IndexFileError(f"`{name}` is not UTF-8: {error.reason}", _AGAIN) from error  # type: ignore[attr-defined]
    except RecursionError as error:
        raise IndexFileError(f"`{name}` is nested too deep", _AGAIN) from error
    except ValueError as error:
        raise IndexFileError(f"`{name}` is not JSON: {str(error).split(';')[0].lower()}", _AGAIN) from error
    return document


def _decode_plain(raw: bytes) -> object:
    """Reads an index that shows no oddity at all; None leaves it to the careful reading, which takes thrice as long."""
    # Without escapes no string holds half a character, and each stands between two quotes, so
    # that one quote more than the parsed strings account for betrays a repeated key.
    if b"\\" in raw:
        return None
    try:
        document: object = json.loads(raw.decode("utf-8"))
        return document if raw.count(b'"') == 2 * _count_strings(document) else None
    except (ValueError, RecursionError):
        return None


def _count_strings(value: object) -> int:
    if isinstance(value, dict):
        if set(map(type, value.values())) <= {str}:
            return 2 * len(value)
        return len(value) + sum(map(_count_strings, value.values()))
    if isinstance(value, list):
        return sum(map(_count_strings, value))
    return isinstance(value, str)


def _refuse_repeats(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise IndexFileError(f"`{name}` holds the key `{key}` twice; which one holds is anybody's guess", _AGAIN)
    return members


def stays_inside(shard: str) -> bool:
    """Whether a shard name stays in the checkpoint's directory, on any system.

    Example:
        >>> stays_inside("model-00001-of-00002.safetensors"), stays_inside("../other/model.safetensors")
        (True, False)
    """
    parts = PurePosixPath(shard).parts
    astray = shard.startswith("/") or ".." in parts or "\\" in shard or "\0" in shard or shard[1:2] == ":"
    return bool(parts) and not astray


def _check_inside(shard: str, name: str) -> None:
    """Refuses a shard name that could lead out of the checkpoint's directory, or has a plainer spelling."""
    if not stays_inside(shard):
        raise IndexFileError(
            f"`{name}` names the shard {json.dumps(shard)[:80]}, which does not stay in its directory",
            "Do not trust this checkpoint; look at the index before you use it anywhere.",
        )
    if str(PurePosixPath(shard)) != shard:
        raise IndexFileError(f"`{name}` spells the shard `{shard}` in a roundabout way", _AGAIN)


def check_agreement(index: ShardIndex, holdings: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Checks that index and shards name the same leaves.

    Args:
        index: The index.
        holdings: Shard names and the leaves of each.

    Raises:
        ShardMismatchError: They do not agree; names the leaf and the shard.
    """
    found: dict[str, str] = {}
    for shard, leaves in holdings:
        for leaf in leaves:
            if leaf in found:
                raise ShardMismatchError(
                    f"`{leaf}` is stored twice: in `{found[leaf]}` and in `{shard}`",
                    "Find out which one is meant, and remove the other.",
                )
            found[leaf] = shard
    if found == index.weight_map:
        return
    for leaf, shard in index.weight_map.items():
        if found.get(leaf) != shard:
            where = f"it is in `{found[leaf]}`" if leaf in found else "it is not there"
            raise ShardMismatchError(
                f"`{index.name}` says that `{leaf}` is in `{shard}`, but {where}",
                "The index and the shards are of different versions; download all of them again.",
            )
    leaf = next(leaf for leaf in found if leaf not in index.weight_map)
    raise ShardMismatchError(
        f"`{found[leaf]}` holds `{leaf}`, which `{index.name}` does not list",
        "The index and the shards are of different versions; download all of them again.",
    )


def find_emptied(index: ShardIndex) -> tuple[str, ...]:
    """Finds shards that tying left without any leaf, and which untying fills again.

    No leaf maps to them, so only the manifest knows their names.
    """
    try:
        originals = json.loads(index.metadata.get(KEY, "{}"))["originals"]
        names = [name for name in originals if originals[name]["part"] == "header" and name not in index.shards]
        for name in names:
            _check_inside(name, index.name)
    except (ValueError, TypeError, KeyError, RecursionError):
        # Whoever asks for the manifest learns what is wrong with it.
        return ()
    return tuple(names)


def without_manifest(document: Mapping[str, Any]) -> dict[str, Any]:
    """Copies an index without tiecli's own entry."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or KEY not in metadata:
        return dict(document)
    return {**document, "metadata": {key: value for key, value in metadata.items() if key != KEY}}
