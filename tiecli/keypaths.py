"""Key paths: where a leaf stands in the tree, and how its place is spelled."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from tiecli.errors import KeyPathSyntaxError

Key = str | int


# A named tuple, since a checkpoint has tens of thousands: it is made and hashed in C.
class KeyPath(NamedTuple):
    """Where a leaf stands: the keys from the root down.

    A `str` key belongs to a mapping, an `int` key to a sequence; `("0",)` and `(0,)` are
    different places. The text form is injective: `parse(str(path)) == path`.

    Attributes:
        keys: From the root down; `()` is a tree that is one leaf.

    Example:
        >>> str(KeyPath(("layers", 0, "w")))
        'layers[0].w'
        >>> str(KeyPath(("a.b", "w")))
        '"a.b".w'
        >>> KeyPath.parse('layers[0].w').keys
        ('layers', 0, 'w')
    """

    keys: tuple[Key, ...]

    @classmethod
    def from_name(cls, name: str) -> KeyPath:
        """Splits an on-disk name at its dots; a bijection onto paths of dot-free strings.

        Example:
            >>> KeyPath.from_name("h.0.weight").keys
            ('h', '0', 'weight')
        """
        return cls(tuple(name.split(".")))

    @property
    def spelling(self) -> str:
        """The name as it stands in the file, which is what people are shown."""
        keys = self.keys
        try:
            name = ".".join(keys)  # type: ignore[arg-type]  # an int key raises, and is rare
        except TypeError:
            return str(self)
        return name if keys and name.count(".") == len(keys) - 1 else str(self)

    def __str__(self) -> str:
        if not self.keys:
            return "[]"
        parts: list[str] = []
        for key in self.keys:
            if isinstance(key, int):
                parts.append(f"[{key}]")
            else:
                plain = key and not any(mark in key for mark in '."[]')
                parts.append("." * bool(parts) + (key if plain else json.dumps(key, ensure_ascii=False)))
        return "".join(parts)

    @classmethod
    def parse(cls, text: str) -> KeyPath:
        """Reads the text form back.

        Raises:
            KeyPathSyntaxError: The text is no key path; says where it goes wrong.
        """
        if text == "[]":
            return cls(())
        keys: list[Key] = []
        position = 0
        while position < len(text):
            if keys and text[position] == ".":
                position += 1
            elif keys and text[position] != "[":
                raise _syntax_error(text, position, "a `.` or `[`")
            key, position = _parse_key(text, position)
            keys.append(key)
        if not keys:
            raise _syntax_error(text, 0, "a key")
        return cls(tuple(keys))


def spell_leaves(paths: Sequence[KeyPath]) -> str:
    """Spells the leaves that another is made of as people see them.

    Example:
        >>> spell_leaves([KeyPath(("q", "w")), KeyPath(("k", 0))])
        '(q.w, k[0])'
        >>> spell_leaves([KeyPath(("q", "w"))])
        'q.w'
    """
    names = ", ".join(path.spelling for path in paths)
    return names if len(paths) == 1 else f"({names})"


def find_emptied(paths: Iterable[KeyPath], gone: Collection[KeyPath]) -> frozenset[KeyPath]:
    """Finds the places without which an element of a sequence would be gone: it has a hole then, or is shorter.

    Args:
        paths: All places of the tree.
        gone: Those that leave it.

    Example:
        >>> sorted(map(str, find_emptied([KeyPath((0, "w")), KeyPath((1, "w"))], [KeyPath((1, "w"))])))
        ['[1].w']
    """
    within = [path for path in gone if any(isinstance(key, int) for key in path.keys)]
    if not within:
        return frozenset()
    left = frozenset(gone)
    kept = {element for path in paths if path not in left for element in _list_elements(path)}
    return frozenset(path for path in within if not kept.issuperset(_list_elements(path)))


def _list_elements(path: KeyPath) -> Iterable[tuple[Key, ...]]:
    """Yields the places of the elements of sequences that a leaf is part of."""
    return (path.keys[: at + 1] for at, key in enumerate(path.keys) if isinstance(key, int))


def _parse_key(text: str, position: int) -> tuple[Key, int]:
    if text[position : position + 1] == "[":
        end = text.find("]", position)
        digits = text[position + 1 : end] if end > 0 else ""
        if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", digits) is None:
            raise _syntax_error(text, position, "an index such as `[0]`")
        return int(digits), end + 1
    if text[position : position + 1] == '"':
        try:
            key, end = json.JSONDecoder().raw_decode(text, position)
        except ValueError:
            raise _syntax_error(text, position, "a closing quote") from None
        return str(key), end
    end = position
    while end < len(text) and text[end] not in '."[]':
        end += 1
    if end == position:
        raise _syntax_error(text, position, "a key")
    return text[position:end], end


def _syntax_error(text: str, position: int, expected: str) -> KeyPathSyntaxError:
    return KeyPathSyntaxError(
        f"`{text}` is no key path: expected {expected} at position {position}",
        'Keys are joined by dots, indices stand in brackets, odd keys in quotes: `layers[0]."a.b".w`.',
    )
