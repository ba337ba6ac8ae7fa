"""Changes: all that is to become of one checkpoint, gathered from many fixes before anything is decided."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

from tiecli.checkpoints.safetensors.shardindex import stays_inside
from tiecli.checkpoints.staging import is_stage
from tiecli.errors import FixError

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

LATER = "Fix what can be fixed, then run the command again."


@dataclass
class Changes:
    """What is to change, each thing once; names are those from before any change.

    Attributes:
        members: By JSON file, by the keys that lead to an object, its members; None removes one.
        metadata: By safetensors file, strings of its `__metadata__`; None removes one.
        renamed: By stored leaf, its new name.
        dropped: By stored leaf, the files that lose it; "" stands for the only one that has it.
        repacked: Safetensors files to write anew even if their headers stay.
        rebuilt: The shard index, if all its rows are to come from the headers.
        rows: By leaf, its row of the shard index; "" removes it.
        moved: By file, its new name.
        removed: Files and directories that go.
        added: By name, files that come.
        kept: Leaves that have to stay as they are, since something else is done with them later.
    """

    members: dict[str, dict[tuple[str, ...], dict[str, str | None]]] = field(default_factory=dict)
    metadata: dict[str, dict[str, str | None]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, set[str]] = field(default_factory=dict)
    repacked: set[str] = field(default_factory=set)
    rebuilt: set[str] = field(default_factory=set)
    rows: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    added: dict[str, bytes] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    _names: dict[str, str] = field(default_factory=dict)
    _places: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    _above: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    _undo: list[Callable[[], object]] = field(default_factory=list)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Takes in all that is asked for inside, or none of it where something is refused."""
        self._undo.clear()
        try:
            yield
        except BaseException:
            while self._undo:
                self._undo.pop()()
            raise

    def set_member(self, file: str, place: tuple[str, ...], key: str, value: str | None) -> None:
        """Asks for a member of an object in a JSON file; None removes it.

        Raises:
            FixError: The value is no JSON, or something else is asked for at this place.
        """
        check_name(file)
        if value is not None:
            check_value(value)
        path, places = (*place, key), self._within(self._places, file, set())
        above = [path[:length] for length in range(1, len(path))]
        if path in self._above.get(file, ()) or not places.isdisjoint(above):
            raise FixError(f"`{'.'.join(path)}` of `{file}` is to change in two ways", LATER)
        objects: dict[tuple[str, ...], dict[str, str | None]] = self._within(self.members, file, {})
        self._put(self._within(objects, place, {}), key, value, "member")
        self._add(places, path)
        for outer in above:
            self._add(self._within(self._above, file, set()), outer)

    def set_metadata(self, file: str, key: str, value: str | None) -> None:
        """Asks for a string of a safetensors file's metadata; None removes it."""
        check_name(file)
        _check_text(key, value or "")
        self._put(self._within(self.metadata, file, {}), key, value, "metadata")

    def rename_leaf(self, leaf: str, name: str) -> None:
        """Asks for another name of a stored leaf."""
        _check_text(name)
        if not name or name == "__metadata__":
            raise FixError(f"`{leaf}` cannot be called {json.dumps(name)}")
        if leaf in self.dropped or leaf in self.kept:
            raise FixError(f"`{leaf}` is to change in two ways", LATER)
        self._put(self.renamed, leaf, name, "leaf")
        self._put(self._names, name, leaf, "name")

    def drop_leaf(self, leaf: str, file: str) -> None:
        """Asks for a stored leaf to go from a file."""
        if leaf in self.renamed or leaf in self.kept:
            raise FixError(f"`{leaf}` is to change in two ways", LATER)
        self._add(self._within(self.dropped, leaf, set()), file)

    def keep_leaf(self, leaf: str) -> None:
        """Asks for a leaf to stay as it is."""
        if leaf in self.renamed or leaf in self.dropped:
            raise FixError(f"`{leaf}` is to change in two ways", LATER)
        self._add(self.kept, leaf)

    def set_row(self, leaf: str, shard: str) -> None:
        """Asks for a row of the shard index; an empty shard removes it."""
        if shard:
            check_name(shard)
        _check_text(leaf)
        self._put(self.rows, leaf, shard, "row")

    def move_file(self, file: str, name: str) -> None:
        """Asks for another name of a file."""
        check_name(file)
        check_name(name)
        taken = name in self.added or (name in self.moved.values() and self.moved.get(file) != name)
        if file in self.removed or taken:
            raise FixError(f"`{name}` is to be two files, or `{file}` none", LATER)
        self._put(self.moved, file, name, "file")

    def remove(self, path: str) -> None:
        """Asks for a file, or a directory with all that is in it, to go."""
        check_name(path)
        if path in self.moved:
            raise FixError(f"`{path}` is to change in two ways", LATER)
        self._add(self.removed, path)

    def add_file(self, path: str, raw: bytes) -> None:
        """Asks for a new small file."""
        check_name(path)
        if path in self.moved.values():
            raise FixError(f"`{path}` is to be two files", LATER)
        self._put(self.added, path, raw, "file")

    def add_text(self, path: str, text: str) -> None:
        """Asks for a new small text file."""
        _check_text(text)
        self.add_file(path, text.encode("utf-8"))

    def repack(self, file: str) -> None:
        """Asks for a safetensors file to be written anew."""
        check_name(file)
        self._add(self.repacked, file)

    def rebuild(self, index: str) -> None:
        """Asks for all rows of the shard index to be written anew."""
        check_name(index)
        self._add(self.rebuilt, index)

    def _put(self, mapping: dict[_Key, _Value], key: _Key, value: _Value, what: str) -> None:
        if mapping.get(key, value) != value:
            raise FixError(f"the {what} `{key}` is to change in two ways", LATER)
        if key not in mapping:
            mapping[key] = value
            self._undo.append(partial(mapping.pop, key))

    def _add(self, members: set[_Value], member: _Value) -> None:
        if member not in members:
            members.add(member)
            self._undo.append(partial(members.remove, member))

    def _within(self, mapping: dict[_Key, _Value], key: _Key, empty: _Value) -> _Value:
        if key not in mapping:
            mapping[key] = empty
            self._undo.append(partial(mapping.pop, key))
        return mapping[key]


def check_name(name: str) -> None:
    """Checks that a name leads to something inside the checkpoint's directory, and to nothing of tiecli's own.

    Raises:
        FixError: It does not.
    """
    try:
        plain = stays_inside(name) and str(PurePosixPath(name)) == name and bool(os.fsencode(name))
    except UnicodeEncodeError:
        plain = False
    if not plain or name == "." or any(map(is_stage, PurePosixPath(name).parts)):
        raise FixError(
            f"{json.dumps(name)[:80]} does not name a file of the checkpoint",
            "Do not trust this checkpoint; look at it before you use it anywhere.",
        )


def check_value(value: str) -> None:
    """Checks that a text is JSON of its own.

    Raises:
        FixError: It is not.
    """
    try:
        json.dumps(json.loads(value), ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise FixError(f"`{value[:80]}` is no JSON") from error


def _check_text(*texts: str) -> None:
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FixError("half of a surrogate pair is no character, and cannot be written") from error
