"""A tree that goes to Orbax and back is what it was: leaves, nodes, texts, metadata."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.property.strategies_keypaths import texts
from tests.unit.checkpoints.safetensors.files import write_file
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.orbax.newtree import check_places
from tiecli.checkpoints.orbax.treerecord import ArrayKind, TreeRecord
from tiecli.checkpoints.protocol import Target
from tiecli.errors import ConversionError, ManifestError
from tiecli.keypaths import Key, KeyPath
from tiecli.verbs.convert import convert

Leaf = tuple[str, list[int], bytes]

SIZES = {"F32": 4, "BF16": 2, "U8": 1, "BOOL": 1, "I64": 8, "C64": 8, "F64": 8}
NODES = ("None", "Dict", "List", "Tuple", "NamedTuple")


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    """A small leaf: scalars, empty ones, and some that are too large to be stored inline."""
    dtype = draw(st.sampled_from(sorted(SIZES)))
    shape = draw(st.one_of(st.lists(st.integers(0, 4), max_size=3), st.just([3, 200])))
    nbytes = SIZES[dtype]
    for length in shape:
        nbytes *= length
    seed = draw(st.binary(min_size=1, max_size=4)) if dtype != "BOOL" else b"\0\1"
    return dtype, shape, (seed * (nbytes + 1))[:nbytes]


keys = texts.filter(lambda key: key and not key.endswith("/"))
trees = st.recursive(
    leaves() | st.sampled_from(NODES) | st.text(alphabet='aü"\n', max_size=3).map(lambda text: ["string", text]),
    lambda below: (
        st.dictionaries(keys, below, min_size=1, max_size=4)
        | st.lists(below, min_size=1, max_size=3).map(lambda items: dict(enumerate(items)))
    ),
    max_leaves=12,
)
"""Nested dicts; those whose keys are numbers stand for lists, texts for empty nodes, pairs for strings."""


def walk(tree: Any, path: tuple[Key, ...] = ()) -> Any:
    """Lists what stands at the ends of a tree."""
    if isinstance(tree, dict):
        for key, below in tree.items():
            yield from walk(below, (*path, key))
    else:
        yield KeyPath(path), tree


def read(path: Path) -> dict[str, tuple[str, bytes]]:
    """Every leaf by its exact name."""
    found = {}
    with open_reader(path) as reader:
        for at, spec in reader.specs().items():
            values = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(values))
            found[at.spelling if reader.format == "safetensors" else str(at)] = (str(spec), bytes(values))
    return found


@settings(max_examples=60)
@given(
    trees, st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3), st.sampled_from([2, 3]), st.booleans()
)
def test_there_and_back(tree: Any, metadata: dict[str, str], zarr: Any, compress: bool) -> None:
    """Or the tree is refused, because Orbax would store two leaves under one name."""
    assume(isinstance(tree, dict))
    ends = dict(walk(tree))
    stored = {str(path): leaf for path, leaf in ends.items() if isinstance(leaf, tuple)}
    assume(stored)
    record = TreeRecord(
        nodes={
            path: node if isinstance(node, str) else node[0] for path, node in ends.items() if str(path) not in stored
        },
        strings={path: node[1] for path, node in ends.items() if isinstance(node, list)},
    )
    said = {"format": "pt", **metadata, "tiecli.orbax": record.to_json()}
    with tempfile.TemporaryDirectory() as directory:
        source, item, back = (Path(directory, name) for name in ("m.safetensors", "item", "back.safetensors"))
        write_file(source, stored, said, ensure_ascii=False)
        try:
            convert(source, Target(item, sync=False), zarr=zarr, compress=compress)
        except ConversionError:
            with pytest.raises(ConversionError, match="would both be stored as"):
                check_places(ends)
            return
        convert(item, Target(back, sync=False))

        assert read(item) == read(back) == read(source)
        with open_reader(item) as reader:
            assert dict(reader.other_nodes) == record.nodes
        with open_reader(back) as reader:
            after = dict(reader.metadata())
        assert TreeRecord.from_json(after.pop("tiecli.orbax", TreeRecord().to_json())) == record
        assert after == {name: text for name, text in said.items() if name != "tiecli.orbax"}


kinds = st.builds(
    ArrayKind, st.sampled_from(["jax.Array", "scalar", "np.ndarray"]), st.text(max_size=3), st.text(max_size=3)
)
places = st.builds(KeyPath, st.lists(texts | st.integers(0, 9), max_size=3).map(tuple))


@given(st.dictionaries(places, kinds), st.dictionaries(places, st.sampled_from(NODES)), st.lists(texts).map(tuple))
def test_a_record_is_read_back(arrays: Any, nodes: Any, encoded: Any) -> None:
    """Whatever it says."""
    record = TreeRecord(arrays=arrays, nodes=nodes, encoded=encoded)

    assert TreeRecord.from_json(record.to_json()) == record


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", "None", "string", "jax.Array"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "text", "leaves", "value_type", "sharding", "generator"]),
            below,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["arrays", "nodes", "encoded", "added"]), values))
def test_anything_else_is_refused_in_one_way(members: dict[str, Any]) -> None:
    """A record from a file that nobody trusts."""
    text = json.dumps({"schema": "tiecli.orbax/1", "arrays": [], "nodes": [], "encoded": [], "added": []} | members)
    try:
        record = TreeRecord.from_json(text)
    except ManifestError:
        return

    assert TreeRecord.from_json(record.to_json()) == record
