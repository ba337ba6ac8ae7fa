"""Texts: members of JSON files set or removed, every other character left alone."""

from __future__ import annotations

import json

from tiecli.architectures.jsontexts import Edits, edit_members
from tiecli.errors import FixError


def edit_text(raw: bytes, name: str, members: Edits) -> bytes:
    """Changes members of a JSON file.

    Args:
        raw: The file.
        name: What errors call it.
        members: What to change.

    Raises:
        FixError: It is no JSON object, has no such place, or a key that leads there twice.
    """
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    try:
        text = raw[len(mark) :].decode("utf-8")
        if not isinstance(json.loads(text), dict):
            raise FixError(f"`{name}` is no JSON object")
        text = edit_members(text, members)
        json.loads(text)
        return mark + text.encode("utf-8")
    except RecursionError as error:
        raise FixError(f"`{name}` is nested too deep") from error
    except ValueError as error:
        raise FixError(f"`{name}` cannot be edited: {error}") from error
