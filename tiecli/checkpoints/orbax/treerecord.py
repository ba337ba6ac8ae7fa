"""Tree record: what Orbax knows of a tree beside its arrays' values, as a safetensors file carries it along."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tiecli.checkpoints.orbax.treemetadata import ARRAY_TYPES, EMPTY_TYPES
from tiecli.errors import KeyPathSyntaxError, ManifestError
from tiecli.keypaths import KeyPath

KEY = "tiecli.orbax"
"""The metadata key under which a safetensors checkpoint carries the record."""

SCHEMA = "tiecli.orbax/1"
STRING = "string"
_HINT = "Remove the entry to convert the arrays alone; docs/convert.md says what it holds."


class ArrayKind(NamedTuple):
    """What Orbax says of an array beside shape and dtype.

    Attributes:
        value_type: `jax.Array`, `np.ndarray` or `scalar`.
        sharding: How it was spread over devices, as the JSON text that Orbax keeps; empty if that is not known.
        generator: Of a random key, the generator it belongs to: `threefry2x32`; empty of anything else.
    """

    value_type: str
    sharding: str = ""
    generator: str = ""


PLAIN = ArrayKind("np.ndarray")


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """What a tree has that a flat list of named arrays has not.

    Attributes:
        arrays: What Orbax says of arrays; those that are not named are plain.
        nodes: Places that hold no array: `None`, `Dict`, …, or `string`.
        strings: The texts of those that are strings.
        encoded: Names of metadata whose text stands for another JSON value.
        added: Names of metadata that only a safetensors file has to have.
    """

    arrays: Mapping[KeyPath, ArrayKind] = field(default_factory=dict)
    nodes: Mapping[KeyPath, str] = field(default_factory=dict)
    strings: Mapping[KeyPath, str] = field(default_factory=dict)
    encoded: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Writes the record, each kind of array once."""
        kinds: dict[ArrayKind, list[str]] = {}
        for path, kind in self.arrays.items():
            kinds.setdefault(kind, []).append(str(path))
        nodes = [
            {"name": str(path), "type": kind} | ({"text": self.strings[path]} if path in self.strings else {})
            for path, kind in self.nodes.items()
        ]
        document = {
            "schema": SCHEMA,
            "arrays": [{**kind._asdict(), "leaves": names} for kind, names in kinds.items()],
            "nodes": nodes,
            "encoded": list(self.encoded),
            "added": list(self.added),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> TreeRecord:
        """Reads a record back.

        Raises:
            ManifestError: It is damaged, or of a version that this tiecli does not know.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(f"is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise _damaged(f"is not of the version `{SCHEMA}`")
        arrays = dict(_read_arrays(document))
        nodes, strings = {}, {}
        for node in _members(document, "nodes", dict):
            path, kind = _read_path(node.get("name")), node.get("type")
            if kind not in (*EMPTY_TYPES, STRING) or isinstance(node.get("text"), str) != (kind == STRING):
                raise _damaged(f"has an odd node `{path}`")
            nodes[path] = kind
            if kind == STRING:
                strings[path] = node["text"]
        encoded, added = (tuple(_members(document, name, str)) for name in ("encoded", "added"))
        return cls(arrays, nodes, strings, encoded, added)


def _read_arrays(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, ArrayKind]]:
    for group in _members(document, "arrays", dict):
        texts = [group.get(name) for name in ArrayKind._fields]
        if not all(isinstance(text, str) for text in texts) or texts[0] not in ARRAY_TYPES:
            raise _damaged("has an odd kind of array")
        for name in _members(group, "leaves", str):
            yield _read_path(name), ArrayKind(*map(str, texts))


def _members(document: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    members = document.get(name)
    if not isinstance(members, list) or not all(isinstance(member, kind) for member in members):
        raise _damaged(f"has no proper list `{name}`")
    return members


def _read_path(name: object) -> KeyPath:
    try:
        return KeyPath.parse(name if isinstance(name, str) else "")
    except KeyPathSyntaxError as error:
        raise _damaged(f"names no place: {error.message}") from error


def _damaged(how: str) -> ManifestError:
    return ManifestError(f"the metadata entry `{KEY}` {how}", _HINT)
