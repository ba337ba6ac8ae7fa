"""JSON files: how those of an Orbax checkpoint are read strictly, and written in the style they were found in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tiecli.errors import OrbaxMetadataError

AGAIN = "Copy the checkpoint again from where it is whole: `cp -a`."

# How Orbax and tensorstore write: by Python's json, or without spaces; letters escaped, or as they are.
_STYLES: tuple[Mapping[str, Any], ...] = (
    {},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"separators": (",", ":")},
    {"ensure_ascii": False},
)


def decode_object(raw: bytes, label: str) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        raw: The file.
        label: What errors call it.

    Raises:
        OrbaxMetadataError: It is damaged; says how.
    """
    try:
        # A lone surrogate can be read, but neither written nor shown.
        document = json.loads(raw.decode("utf-8"), object_hook=_share_keys())
        if b"\\ud" in raw or b"\\uD" in raw:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise OrbaxMetadataError(f"`{label}` is not UTF-8", AGAIN) from error
    except RecursionError as error:
        raise OrbaxMetadataError(f"`{label}` is nested too deep", AGAIN) from error
    except ValueError as error:
        if not raw.strip(b"\0 \r\n\t"):
            raise OrbaxMetadataError(f"`{label}` is empty", AGAIN) from error
        problem = str(error).split(";")[0].lower()
        raise OrbaxMetadataError(f"`{label}` is not JSON, or is cut short: {problem}", AGAIN) from error
    if not isinstance(document, dict):
        raise damaged(label, "it is no JSON object")
    return document


def _share_keys() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Gives a hook by which equal keys of a tree are one object: there are thousands of few kinds.

    Whoever changes a document puts new objects into it.
    """
    held: dict[tuple[str, int], dict[str, Any]] = {}

    def share(found: dict[str, Any]) -> dict[str, Any]:
        """Gives the first object that is equal, if this is a key of a tree."""
        if len(found) != 2 or next(iter(found)) != "key":
            return found
        key, kind = found.get("key"), found.get("key_type")
        # True and 1.0 are equal to 1, and not the same in a file.
        return held.setdefault((key, kind), found) if type(key) is str and type(kind) is int else found

    return share


def damaged(label: str, how: str) -> OrbaxMetadataError:
    """Words what is wrong with a JSON file."""
    return OrbaxMetadataError(f"`{label}` is damaged: {how}", AGAIN)


def encode_like(document: object, raw: bytes, original: object) -> bytes:
    """Writes JSON in the style of a file that holds another version of it.

    Args:
        document: What to write.
        raw: The file.
        original: What it holds.
    """
    for style in _STYLES:
        if json.dumps(original, **style).encode("utf-8", "surrogatepass") == raw:
            return json.dumps(document, **style).encode("utf-8")
    return json.dumps(document).encode("utf-8")
