"""JSON texts: setting one member of an object, and leaving every other character alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = " \t\n\r"


@dataclass(frozen=True, slots=True)
class _Member:
    """One member of an object: where its key, and its value, stand in the text."""

    key: str
    key_start: int
    key_end: int
    value_start: int
    value_end: int


def set_member(text: str, place: tuple[str, ...], key: str, value: str) -> str:
    """Sets one member of an object to a JSON value, changing no other character.

    A new member takes the spacing of its neighbour, and stands in alphabetical order where
    the others do, else last.

    Args:
        text: Valid JSON whose root is an object.
        place: Keys from the root to the object that gets the member; `()` is the root.
        key: The member's key.
        value: Its value, as JSON.

    Raises:
        ValueError: There is no such object, or a key on the way stands there twice.

    Example:
        >>> set_member('{"a": 1,  "c": [2]}', (), "a", "true")
        '{"a": true,  "c": [2]}'
        >>> set_member('{"a": 1, "c": {"x":0}}', ("c",), "b", "true")
        '{"a": 1, "c": {"b":true,"x":0}}'
    """
    start = _skip_space(text, 0)
    for step in place:
        found = _find_one(list(_members(text, start)), step)
        if found is None:
            raise ValueError(f"no `{step}`")
        start = found.value_start
    if text[start] != "{":
        raise ValueError(f"`{'.'.join(place)}` is no object")
    members = list(_members(text, start))
    found = _find_one(members, key)
    if found is not None:
        return text[: found.value_start] + value + text[found.value_end :]
    if not members:
        return f"{text[: start + 1]}{json.dumps(key)}: {value}{text[start + 1 :]}"
    return _insert(text, members, key, value, start)


def _insert(text: str, members: list[_Member], key: str, value: str, start: int) -> str:
    names = [member.key for member in members]
    before = [member for member in members if member.key < key] if names == sorted(names) else members
    neighbour = before[-1] if before else members[0]
    previous = members.index(neighbour) - 1
    delimiter = text.index(",", members[previous].value_end) if previous >= 0 else start
    space = text[delimiter + 1 : neighbour.key_start]
    written = json.dumps(key) + text[neighbour.key_end : neighbour.value_start] + value
    if before:
        return text[: neighbour.value_end] + "," + space + written + text[neighbour.value_end :]
    return text[: neighbour.key_start] + written + "," + space + text[neighbour.key_start :]


def _members(text: str, start: int) -> Iterator[_Member]:
    decoder = json.JSONDecoder()
    position = _skip_space(text, start + 1)
    while text[start] == "{" and text[position] != "}":
        key, key_end = decoder.raw_decode(text, position)
        value_start = _skip_space(text, text.index(":", key_end) + 1)
        _, value_end = decoder.raw_decode(text, value_start)
        yield _Member(key, position, key_end, value_start, value_end)
        position = _skip_space(text, value_end)
        position = _skip_space(text, position + 1) if text[position] == "," else position


def _find_one(members: list[_Member], key: str) -> _Member | None:
    found = [member for member in members if member.key == key]
    if len(found) > 1:
        raise ValueError(f"`{key}` stands there {len(found)} times")
    return found[0] if found else None


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position
