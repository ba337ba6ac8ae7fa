"""The JSON files of an Orbax item: spoilt bytes are refused, nothing changes unasked, and a tree stays a tree."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoints.orbax.trees import tree_of
from tiecli.checkpoints.orbax.documents import LeafChange, compose_tree, derive_documents, set_custom
from tiecli.checkpoints.orbax.sidecars import parse_kinds, parse_sharding
from tiecli.checkpoints.orbax.treemetadata import ARRAY_TYPES, parse_tree
from tiecli.errors import CheckpointError
from tiecli.keypaths import Key, KeyPath

ORBAX = Path(__file__).parents[2] / "fixtures" / "orbax"
GENUINE = {
    name: {file: (ORBAX / name / file).read_bytes() for file in ("_METADATA", "_sharding", "array_metadatas/process_0")}
    for name in ("nodes", "rich", "sharded-zarr3", "odd-names")
}

leaves = st.sampled_from(["jax.Array", "np.ndarray", "scalar", "string", "None", "Dict", "List"])
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3) | st.sampled_from(["0", "a.b", "it's", "a/b"])
trees = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(keys, inner, min_size=1, max_size=4)
        | st.lists(inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=12,
)

Place = tuple[Key, ...]


def flatten(tree: Any, keys: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yields what stands where."""
    if isinstance(tree, str):
        yield keys, tree
        return
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from flatten(child, (*keys, key))


def enrich(tree: Any) -> Any:
    """Writes a tree as a rich one, in which tuples are no lists."""
    match tree:
        case str():
            return {"category": "custom", "clazz": "ValueMetadataEntry", "data": {"value_type": tree}}
        case dict():
            return {key: enrich(child) for key, child in tree.items()}
        case tuple():
            return {"category": "custom", "clazz": "tuple", "entries": [enrich(child) for child in tree]}
    return [enrich(child) for child in tree]


def impoverish(rich: Any) -> Any:
    """Reads a rich tree back."""
    if isinstance(rich, list):
        return [impoverish(child) for child in rich]
    match rich:
        case {"clazz": "ValueMetadataEntry", "data": data}:
            return data["value_type"]
        case {"clazz": "tuple", "entries": entries}:
            return tuple(impoverish(child) for child in entries)
    return {key: impoverish(child) for key, child in rich.items()}


def parse(raw: bytes) -> dict[Place, str]:
    """Reads what stands where in a `_METADATA`."""
    return {node.path.keys: node.value_type for node in parse_tree(raw, "_METADATA").nodes}


@st.composite
def states(draw: st.DrawFn) -> tuple[Any, bytes, list[KeyPath]]:
    """A tree of which names tell all leaves apart, as Orbax writes it, and some of its arrays."""
    tree = draw(trees)
    types = dict(flatten(tree))
    members = (
        {"value_metadata_tree": json.dumps(enrich(tree))} if draw(st.booleans()) and isinstance(tree, dict) else {}
    )
    raw = tree_of(types, **members)
    with contextlib.suppress(CheckpointError):
        arrays = [node.path for node in parse_tree(raw, "_METADATA").nodes if node.is_array]
        return tree, raw, draw(st.lists(st.sampled_from(arrays), unique=True)) if arrays else []
    return "None", tree_of({(): "None"}), []


@given(states())
def test_what_is_not_omitted_stays(state: tuple[Any, bytes, list[KeyPath]]) -> None:
    """All other nodes are as before, in order; where an omitted leaf still has a place, there is a None."""
    tree, raw, omitted = state
    gone = {path.keys for path in omitted}
    before = dict(flatten(tree))

    after = parse(derive_documents({"_METADATA": raw}, omitted, {})["_METADATA"])

    kept = [(place, kind) for place, kind in before.items() if place not in gone]
    assert [(place, kind) for place, kind in after.items() if place not in gone] == kept
    assert {kind for place, kind in after.items() if place in gone} <= {"None"}


@given(states())
def test_no_sequence_gets_a_hole(state: tuple[Any, bytes, list[KeyPath]]) -> None:
    """Each sequence has all its elements, from the first on."""
    tree, raw, omitted = state

    after = parse(derive_documents({"_METADATA": raw}, omitted, {})["_METADATA"])

    assert list_elements(after) == list_elements(dict(flatten(tree)))


def list_elements(places: dict[Place, str]) -> set[Place]:
    """Lists the elements of all sequences."""
    return {place[: at + 1] for place in places for at, key in enumerate(place) if isinstance(key, int)}


@given(states())
def test_the_rich_tree_holds_the_same(state: tuple[Any, bytes, list[KeyPath]]) -> None:
    """Leaf by leaf it says what the other form says; at most it has more places that hold None."""
    _, raw, omitted = state
    derived = derive_documents({"_METADATA": raw}, omitted, {})["_METADATA"]
    rich = json.loads(derived).get("value_metadata_tree")
    if rich is None:
        return

    stated = {place: kind for place, kind in flatten(impoverish(json.loads(rich))) if kind != "None"}
    assert stated == {place: kind for place, kind in parse(derived).items() if kind != "None"}


@given(states(), st.sampled_from(sorted(GENUINE)))
def test_nothing_changes_unasked(state: tuple[Any, bytes, list[KeyPath]], name: str) -> None:
    """Without a leaf to omit, to change or to add, every file is returned as its own bytes."""
    _, raw, some = state
    documents = GENUINE[name] | {"_METADATA": raw}

    assert derive_documents(documents, [], {}) == documents
    assert derive_documents(documents, [], {}, some) == documents


@given(states(), st.dictionaries(keys, st.integers() | st.text(max_size=3), max_size=2))
def test_a_member_is_set_and_removed_without_a_trace(state: tuple[Any, bytes, list[KeyPath]], value: Any) -> None:
    """The user's own metadata is the same afterwards, to the byte."""
    _, raw, _ = state
    held = set_custom(raw, "tiecli", value)

    assert parse_tree(held, "x").custom["tiecli"] == value
    assert parse(held) == parse(raw)
    assert set_custom(held, "tiecli", None) == raw


@given(states())
def test_a_composed_tree_is_read_back(state: tuple[Any, bytes, list[KeyPath]]) -> None:
    """Typed keys, odd keys, and in the order given."""
    _, _, paths = state

    found = parse_tree(compose_tree(paths, use_zarr3=True), "x").nodes
    assert [node.path for node in found] == paths
    assert {node.value_type for node in found} <= ARRAY_TYPES


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A genuine file that was changed in a few places, or is something else altogether."""
    name = draw(st.sampled_from(sorted(GENUINE)))
    file = draw(st.sampled_from(sorted(GENUINE[name])))
    raw = GENUINE[name][file]
    words = st.sampled_from(
        [b"", b'"', b"{", b"[", b"]", b"}", b",", b":", b"0", b"-1", b"null", b"true", b"[]", b"{}", b"\\"]
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        stop = min(len(raw), start + draw(st.sampled_from([0, 1, 2, 20, 200])))
        raw = (
            raw[:start]
            + draw(words | st.binary(max_size=2))
            + draw(st.sampled_from([b"", raw[start:stop]]))
            + raw[stop:]
        )
    return name, file, draw(st.sampled_from([raw, raw, raw, raw[: len(raw) // 2]]) | st.binary(max_size=8))


@st.composite
def remade(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A genuine file of which some JSON value was replaced by another."""
    name = draw(st.sampled_from(sorted(GENUINE)))
    file = draw(st.sampled_from(sorted(GENUINE[name])))
    values = st.sampled_from([None, True, 0, 1.5, "", "a", [], {}, [None], {"category": "custom"}, "{}", [[]], 2**70])
    document = json.loads(GENUINE[name][file])
    for _ in range(draw(st.integers(1, 3))):
        document = replace(draw, document, draw(values))
    return name, file, json.dumps(document).encode()


def replace(draw: st.DrawFn, node: Any, value: Any) -> Any:
    """Walks down a random way, and puts the value there."""
    places = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    if isinstance(node, str) and node.startswith("{"):
        return json.dumps(replace(draw, json.loads(node), value))
    if not places or draw(st.integers(0, 5)) == 0:
        return value
    place = draw(st.sampled_from(places))
    changed = node.copy()
    changed[place] = replace(draw, node[place], value)
    return changed


@given(spoilt() | remade())
def test_spoilt_files_are_refused_or_read(case: tuple[str, str, bytes]) -> None:
    """Whatever the bytes, nothing but a refusal of ours comes out, and what is read can be written."""
    name, file, raw = case
    documents = GENUINE[name] | {file: raw}
    arrays = [node.path for node in parse_tree(GENUINE[name]["_METADATA"], "x").nodes if node.is_array]
    for read in (parse_tree, parse_sharding, parse_kinds):
        with contextlib.suppress(CheckpointError):
            read(raw, file)
    with contextlib.suppress(CheckpointError):
        json.loads(set_custom(raw, "tiecli", {"a": 1}))
    for omitted, changed in ((arrays[:3], {}), ([], {arrays[0]: LeafChange((1,))}), (arrays, {})):
        with contextlib.suppress(CheckpointError):
            for derived in derive_documents(documents, omitted, changed, [KeyPath(("new", 0))]).values():
                json.loads(derived)
