"""Nodes of a manifest: its JSON, read member by member; what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

from tiecli.errors import ManifestError

HINT = "See docs/manifest.md for what a manifest must hold; an untied copy of the checkpoint is the way back."


class Node:
    """A piece of parsed JSON that knows where it stands, for errors that name the place."""

    def __init__(self, value: object, place: str) -> None:
        self.value = value
        self.place = place

    def _member(self, name: str, kind: type, expected: str) -> Any:
        members = self.value if isinstance(self.value, dict) else {}
        if (
            name not in members
            or not isinstance(members[name], kind)
            or (kind is int and isinstance(members[name], bool))
        ):
            raise ManifestError(f"{self.place}.{name}: expected {expected}, found {members.get(name)!r:.60}", HINT)
        return members[name]

    def text(self, name: str) -> str:
        """Gives a member that must be a string."""
        return str(self._member(name, str, "a string"))

    def flag(self, name: str) -> bool:
        """Gives a member that must be true or false."""
        return bool(self._member(name, bool, "true or false"))

    def count(self, name: str) -> int:
        """Gives a member that must be a whole number of at least 0."""
        value = int(self._member(name, int, "a number"))
        if value < 0:
            raise ManifestError(f"{self.place}.{name}: expected a number of at least 0, found {value}", HINT)
        return value

    def items(self, name: str) -> list[Node]:
        """Gives the items of a member that must be a list."""
        values = self._member(name, list, "a list")
        return [Node(value, f"{self.place}.{name}[{i}]") for i, value in enumerate(values)]

    def members(self, name: str) -> list[tuple[str, Node]]:
        """Gives the members of a member that must be an object."""
        values = self._member(name, dict, "an object")
        return [(key, Node(value, f'{self.place}.{name}["{key:.60}"]')) for key, value in values.items()]

    def node(self, name: str) -> Node:
        """Gives a member that may be anything."""
        return Node(self._member(name, object, "a value"), f"{self.place}.{name}")
