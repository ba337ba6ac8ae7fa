"""Metadata: what a checkpoint carries for people, as the other format can hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from tiecli.checkpoints.orbax.treerecord import KEY, TreeRecord

_FORMAT, _USUAL = "format", "pt"


class Carried(NamedTuple):
    """Metadata on its way.

    Attributes:
        custom: By name, what the new checkpoint says.
        record: What is kept of the tree, and of metadata that is no text.
    """

    custom: Mapping[str, object]
    record: TreeRecord


def carry_metadata(
    custom: Mapping[str, object], record: TreeRecord, *, to_texts: bool, implied: Mapping[str, str]
) -> Carried:
    """Carries metadata over.

    Args:
        custom: What the source says.
        record: What is known of the tree.
        to_texts: To safetensors, whose metadata is texts; else to Orbax, where it is JSON.
        implied: Entries that the ties of the manifest make: they are written anew where they belong.
    """
    said = {name: value for name, value in custom.items() if name != KEY and (name, value) not in implied.items()}
    return _to_texts(said, record) if to_texts else _to_values(said, record)


def _to_texts(said: Mapping[str, object], record: TreeRecord) -> Carried:
    encoded = tuple(name for name, value in said.items() if not isinstance(value, str))
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in said.items()
    }
    added: tuple[str, ...] = ()
    if _FORMAT not in texts:
        # Source: transformers 4.57, which refuses a file whose metadata does not name a framework.
        texts, added = {_FORMAT: _USUAL, **texts}, (_FORMAT,)
    return Carried(texts, replace(record, encoded=encoded, added=added))


def _to_values(said: Mapping[str, object], record: TreeRecord) -> Carried:
    values = {
        name: _decode(value) if name in record.encoded else value
        for name, value in said.items()
        if not (name in record.added and value == _USUAL)
    }
    return Carried(values, replace(record, encoded=(), added=()))


def _decode(value: object) -> object:
    """Reads JSON back; a text that others changed to something else stays one."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
