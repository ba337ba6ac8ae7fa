"""JSON texts: changing members of an object, and leaving every other character alone."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

Edits = Mapping[tuple[str, ...], Mapping[str, str | None]]
"""By the keys from the root to an object, its members to change: the value as JSON, or None to remove it."""

_SPACE = " \t\n\r"


@dataclass(slots=True)
class _Member:
    """One member of an object, by its texts: joined by commas, those of all members are what its braces hold.

    Attributes:
        key: What the text of the key spells.
        lead: Space before the key.
        name: The text of the key.
        colon: What stands between key and value.
        value: The text of the value.
        trail: Space behind the value.
    """

    key: str
    lead: str
    name: str
    colon: str
    value: str
    trail: str

    def __str__(self) -> str:
        return f"{self.lead}{self.name}{self.colon}{self.value}{self.trail}"


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
    return edit_members(text, {place: {key: value}})


def edit_members(text: str, edits: Edits) -> str:
    """Sets and removes members of objects, as `set_member` does, all of them in one pass.

    Args:
        text: Valid JSON whose root is an object.
        edits: What to change.

    Raises:
        ValueError: There is no such object, or a key on the way or to be changed stands there twice.

    Example:
        >>> edit_members('{"a": 1, "b": {"x": 2, "y": 3}, "d": 4}', {(): {"d": None, "c": "[]"}, ("b",): {"x": None}})
        '{"a": 1, "b": {"y": 3}, "c": []}'
    """
    start = _skip_space(text, 0)
    edited, end = _edit_object(text, start, edits, ())
    return text[:start] + edited + text[end:]


def _edit_object(text: str, start: int, edits: Edits, place: tuple[str, ...]) -> tuple[str, int]:
    """Edits the object that begins at `start`, whose keys from the root are `place`; says where it ended."""
    if text[start] != "{":
        raise ValueError(f"`{'.'.join(place)}` is no object")
    members = list(_members(text, start))
    end = start + 1 + sum(len(str(member)) + 1 for member in members) if members else text.index("}", start) + 1
    changes = edits.get(place, {})
    below: dict[str, dict[tuple[str, ...], Mapping[str, str | None]]] = {}
    for path, inner in edits.items():
        if len(path) > len(place):
            below.setdefault(path[len(place)], {})[path] = inner
    _refuse_twins(members, changes.keys() | below.keys())
    known = {member.key: member for member in members}
    for key, deeper in below.items():
        if key not in known:
            raise ValueError(f"no `{key}`")
        known[key].value, _ = _edit_object(known[key].value, 0, deeper, (*place, key))
    kept = [member for member in members if changes.get(member.key, "") is not None]
    for member in kept:
        member.value = changes.get(member.key) or member.value
    if kept:
        kept[0].lead, kept[-1].trail = members[0].lead, members[-1].trail
    new = {key: value for key, value in changes.items() if value is not None and key not in known}
    if not members and not new:
        return text[start:end], end
    model = members[0] if members else _Member("", "", "", ": ", "", "")
    _insert(kept, new, replace(model, trail=members[-1].trail if members else text[start + 1 : end - 1]))
    return "{" + ",".join(map(str, kept)) + "}", end


def _insert(members: list[_Member], new: Mapping[str, str], model: _Member) -> None:
    """Puts new members where they belong; `model` lends its spacing where there is no neighbour."""
    keys = [member.key for member in members]
    in_order = keys == sorted(keys)
    for key, value in new.items():
        position = bisect_left(keys, key) if in_order else len(keys)
        neighbour = members[max(position - 1, 0)] if members else model
        # The space at the braces may be another than that at the commas.
        lead, trail = (members[-1].lead, members[0].trail) if len(members) > 1 else (neighbour.lead, "")
        added = _Member(key, lead, json.dumps(key), neighbour.colon, value, trail)
        if members and position == 0:
            added.lead, neighbour.lead = neighbour.lead, lead
        if position == len(members):
            added.trail, neighbour.trail = neighbour.trail, trail
        members.insert(position, added)
        keys.insert(position, key)


def _members(text: str, start: int) -> Iterator[_Member]:
    decoder = json.JSONDecoder()
    position = start + 1
    while text[start] == "{":
        key_start = _skip_space(text, position)
        if text[key_start] == "}":
            return
        key, key_end = decoder.raw_decode(text, key_start)
        value_start = _skip_space(text, text.index(":", key_end) + 1)
        _, value_end = decoder.raw_decode(text, value_start)
        end = _skip_space(text, value_end)
        yield _Member(
            key,
            text[position:key_start],
            text[key_start:key_end],
            text[key_end:value_start],
            text[value_start:value_end],
            text[value_end:end],
        )
        if text[end] == "}":
            return
        position = end + 1


def _refuse_twins(members: list[_Member], keys: Collection[str]) -> None:
    seen: set[str] = set()
    for member in members:
        if member.key in seen and member.key in keys:
            count = sum(other.key == member.key for other in members)
            raise ValueError(f"`{member.key}` stands there {count} times")
        seen.add(member.key)


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position
