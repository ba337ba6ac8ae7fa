"""Describing: reads what an Orbax item says of its tree beside the values of its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tiecli.checkpoints.jsonfiles import damaged, decode_object
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.orbax.sidecars import SHARDING, list_key_impls, list_shardings, read_texts
from tiecli.checkpoints.orbax.strays import name_strays
from tiecli.checkpoints.orbax.treemetadata import EMPTY_TYPES
from tiecli.checkpoints.orbax.treerecord import PLAIN, STRING, ArrayKind, TreeRecord
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.checkpoints.wording import list_names
from tiecli.keypaths import KeyPath

STRINGS = "_strings.json"
_RICH = "value_metadata_tree"
_CUSTOM = "custom_metadata"


class Description(NamedTuple):
    """What was found, and what of it no record can hold.

    Attributes:
        record: What can be carried along.
        notices: One line for each thing that cannot.
    """

    record: TreeRecord
    notices: tuple[str, ...]


def describe_tree(reader: OrbaxReader) -> Description:
    """Reads what an item says of its tree.

    Raises:
        OrbaxMetadataError: A file is damaged.
        UnreadableFileError: The system refuses.
    """
    sharding, arrays = read_texts(reader.location.item)
    shardings = {} if sharding is None else list_shardings(sharding, SHARDING)
    generators = {} if arrays is None else list_key_impls(*arrays)
    texts = read_strings(reader)
    kinds: dict[KeyPath, ArrayKind] = {}
    nodes: dict[KeyPath, str] = {}
    strings: dict[KeyPath, str] = {}
    strange: dict[str, list[str]] = {}
    for node in reader.item.tree.nodes:
        if node.is_array:
            kind = ArrayKind(node.value_type, shardings.get(node.name, ""), generators.get(node.name, ""))
            if kind != PLAIN:
                kinds[node.path] = kind
        elif node.path in texts:
            nodes[node.path], strings[node.path] = STRING, texts[node.path]
        elif node.value_type in EMPTY_TYPES:
            nodes[node.path] = node.value_type
        else:
            strange.setdefault(f"a `{node.value_type}` is no array", []).append(node.path.spelling)
    for name in name_strays(reader.item):
        strange.setdefault("the tree does not name it", []).append(name)
    left = (f"left behind: {list_names(names)}, since {reason}" for reason, names in strange.items())
    return Description(TreeRecord(kinds, nodes, strings), (*left, *_list_losses(reader)))


def _list_losses(reader: OrbaxReader) -> Iterator[str]:
    """Words what the tree says beside its nodes and cannot be carried along."""
    document = reader.item.tree.document
    if document.get(_RICH) is not None:
        yield "tuples and named tuples become lists and dicts, as they do where Orbax keeps no rich types"
    if not isinstance(document.get(_CUSTOM), dict | None):
        yield f"left behind: the `{_CUSTOM}` of the tree, since it is no object"


def read_strings(reader: OrbaxReader) -> Mapping[KeyPath, str]:
    """Reads the texts of a tree.

    Raises:
        OrbaxMetadataError: The file that holds them is damaged.
        UnreadableFileError: The system refuses.
    """
    raw = read_text_file(reader.location.item / STRINGS, STRINGS)
    texts = {} if raw is None else decode_object(raw, STRINGS)
    for name, text in texts.items():
        if not isinstance(text, str):
            raise damaged(STRINGS, f"`{name}` is no text")
    nodes = (node for node in reader.item.tree.nodes if node.value_type == STRING)
    return {node.path: texts[node.name] for node in nodes if node.name in texts}
