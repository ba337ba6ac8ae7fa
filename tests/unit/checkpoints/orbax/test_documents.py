"""Documents: what leaving out, changing and adding leaves makes of the JSON files of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.checkpoints.orbax.trees import tree, tree_of
from tiecli.checkpoints.orbax.documents import LeafChange, compose_tree, derive_documents, set_custom
from tiecli.checkpoints.orbax.sidecars import encode_name, read_sidecars
from tiecli.checkpoints.orbax.treemetadata import parse_tree
from tiecli.errors import OrbaxMetadataError, UnsupportedCheckpointError
from tiecli.keypaths import Key, KeyPath

ORBAX = Path(__file__).parents[4] / "fixtures" / "orbax"
STEP = b'{"item_handlers": "x", "metrics": {}, "custom_metadata": {}}'


def read(layout: str) -> dict[str, bytes]:
    """Reads the JSON files of a fixture."""
    item = ORBAX / layout
    files = [item / "_METADATA", item / "_sharding", *sorted(item.glob("array_metadatas/*"))]
    return {path.relative_to(item).as_posix(): path.read_bytes() for path in files}


def places(raw: bytes) -> dict[tuple[Key, ...], str]:
    """Lists what stands where."""
    return {node.path.keys: node.value_type for node in parse_tree(raw, "_METADATA").nodes}


def arrays(raw: bytes) -> dict[str, Any]:
    """Lists the entries of an `array_metadatas` file."""
    return {
        entry["array_metadata"]["param_name"]: entry["array_metadata"] for entry in json.loads(raw)["array_metadatas"]
    }


def omit(raw: bytes, *keys: tuple[Key, ...]) -> dict[tuple[Key, ...], str]:
    """Leaves leaves out of a tree; tells what is left."""
    return places(derive_documents({"_METADATA": raw}, [KeyPath(path) for path in keys], {})["_METADATA"])


def test_an_omitted_leaf_is_gone_from_every_file() -> None:
    """The other leaves stay as they are, in order, and so does every byte between."""
    originals = read("two-processes") | {"_CHECKPOINT_METADATA": STEP}
    gone, name = KeyPath(("lm_head", "kernel")), "lm_head.kernel"

    derived = derive_documents(originals, [gone], {})

    assert list(derived) == list(originals)
    kept = {keys: kind for keys, kind in places(originals["_METADATA"]).items() if keys != gone.keys}
    assert places(derived["_METADATA"]) == kept
    shardings = json.loads(originals["_sharding"])
    del shardings[encode_name(name)]
    assert json.loads(derived["_sharding"]) == shardings
    for process in ("array_metadatas/process_0", "array_metadatas/process_1"):
        before = arrays(originals[process])
        assert arrays(derived[process]) == {leaf: array for leaf, array in before.items() if leaf != name}
    assert derived["_CHECKPOINT_METADATA"] == STEP
    for file in ("_METADATA", "array_metadatas/process_0"):
        assert len(originals[file]) - len(derived[file]) == len(cut(originals[file], file)), file


def cut(raw: bytes, file: str) -> bytes:
    """Finds the text of the entry of `lm_head.kernel`, with its comma."""
    start = raw.index(
        b"\"('lm_head', 'kernel')\"" if file == "_METADATA" else b'{"array_metadata": {"param_name": "lm_head'
    )
    return raw[start : raw.index(b"}}, ", start) + 4]


@pytest.mark.parametrize("layout", ["two-processes", "rich", "nodes", "dtypes-zarr3", "odd-names"])
def test_nothing_changes_where_nothing_is_left_out(layout: str) -> None:
    """Every file comes back as its own bytes; so it does when a listed leaf is added, or an unlisted one omitted."""
    originals = read(layout)
    some = next(node.path for node in parse_tree(originals["_METADATA"], "x").nodes if node.is_array)

    assert derive_documents(originals, [], {}) == originals
    assert derive_documents(originals, [], {}, [some]) == originals
    assert derive_documents(originals, [KeyPath(("no", "such", 1))], {}) == originals


@pytest.mark.parametrize(
    ("keys", "gone", "left"),
    [
        # A dict goes with its last leaf.
        ([("a", "b"), ("c",)], [("a", "b")], {("c",): "jax.Array"}),
        # An element of a sequence cannot go: the next would take its place.
        ([(0,), (1,)], [(0,)], {(0,): "None", (1,): "jax.Array"}),
        ([(0,), (1,)], [(1,)], {(0,): "jax.Array", (1,): "None"}),
        ([("a", 0, "w"), ("a", 1, "w")], [("a", 0, "w")], {("a", 0, "w"): "None", ("a", 1, "w"): "jax.Array"}),
        # It can lose a leaf.
        ([("a", 0, "w"), ("a", 0, "b")], [("a", 0, "w")], {("a", 0, "b"): "jax.Array"}),
        # Both go at once: each keeps the element that the other does not.
        (
            [(0, "w"), (0, "b"), (1, "w")],
            [(0, "w"), (0, "b")],
            {(0, "w"): "None", (0, "b"): "None", (1, "w"): "jax.Array"},
        ),
        # An inner sequence that is the only content of an outer element.
        (
            [(0, "m", 0), (0, "m", 1), (0, "n")],
            [(0, "m", 1)],
            {(0, "m", 0): "jax.Array", (0, "m", 1): "None", (0, "n"): "jax.Array"},
        ),
        # A sequence within a dict, all of it.
        ([("a", 0), ("b",)], [("a", 0)], {("a", 0): "None", ("b",): "jax.Array"}),
    ],
)
def test_sequences_keep_their_elements(
    keys: list[tuple[Key, ...]], gone: list[tuple[Key, ...]], left: Mapping[tuple[Key, ...], str]
) -> None:
    """A None stands where an element would be missing, and nowhere else."""
    assert omit(tree(*keys), *gone) == left


def test_empty_nodes_keep_an_element_as_well() -> None:
    """What is beside the leaf may be an empty node: the element is still there."""
    raw = tree_of({(0, "state"): "None", (0, "w"): "jax.Array", (1,): "jax.Array"})

    assert omit(raw, (0, "w")) == {(0, "state"): "None", (1,): "jax.Array"}


def test_a_tombstone_has_no_sidecars() -> None:
    """It is None to Orbax, which asks for no sharding then."""
    derived = derive_documents(read("nodes"), [KeyPath(("layers", 0, "kernel"))], {})

    assert places(derived["_METADATA"])["layers", 0, "kernel"] == "None"
    assert encode_name("layers.0.kernel") not in json.loads(derived["_sharding"])
    assert "layers.0.kernel" not in arrays(derived["array_metadatas/process_0"])
    assert arrays(derived["array_metadatas/process_0"])["rng.params"]["ext_metadata"]


def test_a_changed_leaf_keeps_its_sharding() -> None:
    """The shape of its pieces is told where it was told before; how it was spread stays."""
    originals = read("sharded-zarr3")
    path = KeyPath(("lm_head", "kernel"))

    derived = derive_documents(originals, [], {path: LeafChange((8, 16))})

    entry = json.loads(derived["_METADATA"])["tree_metadata"]["('lm_head', 'kernel')"]
    assert entry["value_metadata"]["write_shape"] == [8, 16]
    array = arrays(derived["array_metadatas/process_0"])["lm_head.kernel"]
    assert (array["write_shape"], array["chunk_shape"]) == ([8, 16], [8, 16])
    assert derived["_sharding"] == originals["_sharding"]
    back = derive_documents(derived, [], {path: LeafChange((4, 16))})
    before = arrays(originals["array_metadatas/process_0"])["lm_head.kernel"]
    assert (back["_METADATA"] == originals["_METADATA"]) == (before["write_shape"] == [4, 16])


def test_a_numpy_array_has_no_shape_of_pieces() -> None:
    """Nothing is told of it that was not told before."""
    originals = read("nodes")

    assert derive_documents(originals, [], {KeyPath(("arrays", "head")): LeafChange((1, 1))}) == originals


def test_an_unlisted_leaf_cannot_change() -> None:
    """The files and the plan are about different trees."""
    with pytest.raises(OrbaxMetadataError, match="does not list `head`"):
        derive_documents(read("pytree"), [], {KeyPath(("head",)): LeafChange((1,))})


def test_an_added_leaf_is_a_numpy_array() -> None:
    """It needs no sharding, so the other files stay."""
    originals = read("pytree")
    path = KeyPath(("extra", 0))

    derived = derive_documents(originals, [], {}, [path])

    assert places(derived["_METADATA"]) == places(originals["_METADATA"]) | {path.keys: "np.ndarray"}
    assert {name: raw for name, raw in derived.items() if name != "_METADATA"} == {
        name: raw for name, raw in originals.items() if name != "_METADATA"
    }


def test_leaves_come_back() -> None:
    """Out and in again; where a None stood, and beside it."""
    raw = tree(("a", 0), ("a", 1), ("b",))
    without = derive_documents({"_METADATA": raw}, [KeyPath(("a", 1)), KeyPath(("b",))], {})
    back = derive_documents(without, [], {}, [KeyPath(("a", 1)), KeyPath(("b",))])

    assert places(without["_METADATA"]) == {("a", 0): "jax.Array", ("a", 1): "None"}
    assert places(back["_METADATA"]) == {("a", 0): "jax.Array", ("a", 1): "np.ndarray", ("b",): "np.ndarray"}


@pytest.mark.parametrize("custom", [None, {}, {"note": 1}])
def test_sets_and_removes_a_member(custom: object) -> None:
    """Everything else is left as it is, byte for byte."""
    raw = tree(("ö",), custom_metadata=custom)

    held = set_custom(raw, "tiecli", {"ties": [1]})

    assert json.loads(held) == json.loads(raw) | {"custom_metadata": (custom or {}) | {"tiecli": {"ties": [1]}}}  # type: ignore[operator]
    assert set_custom(held, "tiecli", {"ties": []}) == set_custom(raw, "tiecli", {"ties": []})
    assert set_custom(held, "tiecli", None) == (raw if custom != {} else tree(("ö",)))
    assert set_custom(raw, "tiecli", None) == raw


def test_a_step_without_members_has_an_empty_object() -> None:
    """As Orbax writes it."""
    assert set_custom(set_custom(STEP, "tiecli", 1), "tiecli", None) == STEP


def test_what_is_no_object_is_not_replaced() -> None:
    """Orbax lets the user keep anything there."""
    raw = tree(("a",), custom_metadata=[1])

    assert set_custom(raw, "tiecli", None) == raw
    with pytest.raises(UnsupportedCheckpointError, match="`_METADATA` has a `custom_metadata` that is no object"):
        set_custom(raw, "tiecli", 1)


def test_composes_a_tree() -> None:
    """A fresh one is read back, typed keys and all."""
    keys: list[tuple[Key, ...]] = [("a", 0, "w"), ("a", 1), ("it's",), ("n",)]
    raw = compose_tree([KeyPath(path) for path in keys], use_zarr3=True, value_types={KeyPath(("n",)): "scalar"})

    assert places(raw) == dict.fromkeys(keys, "np.ndarray") | {("n",): "scalar"}
    assert parse_tree(raw, "_METADATA").use_zarr3
    assert raw == tree_of(places(raw), use_zarr3=True)


def test_the_rich_tree_follows() -> None:
    """Dicts lose a leaf and what it leaves empty; tuples and named tuples keep a None."""
    originals = read("rich")
    gone = [
        KeyPath(("params", "lm_head", "kernel")),
        KeyPath(("opt_state", 1, 0, "mu", "lm_head", "kernel")),
        KeyPath(("opt_state", 1, 0, "count")),
    ]
    kept = KeyPath(("params", "tied", "embedding"))

    derived = json.loads(derive_documents(originals, gone, {kept: LeafChange((1, 2))})["_METADATA"])

    rich = json.loads(derived["value_metadata_tree"])
    assert "lm_head" not in rich["params"]
    assert rich["params"]["tied"]["embedding"]["data"]["write_shape"] == [1, 2]
    fields = {field["key"]: field["value"] for field in rich["opt_state"]["entries"][1]["entries"][0]["entries"]}
    assert list(fields) == ["count", "mu", "nu"]
    assert fields["count"]["data"] == {"value_type": "None", "skip_deserialize": True}
    assert list(fields["mu"]) == ["embed", "tied"]
    assert list(fields["nu"]) == ["embed", "lm_head", "tied"]
    assert len(derived["tree_metadata"]) == len(json.loads(originals["_METADATA"])["tree_metadata"]) - 3


def test_both_trees_keep_an_element_alike() -> None:
    """A None stands in the leaf's own place in either."""
    leaf = {"category": "custom", "clazz": "ValueMetadataEntry", "data": {"value_type": "jax.Array"}}
    raw = tree(("a", 0, "w"), ("a", 1, "w"), value_metadata_tree=json.dumps({"a": [{"w": leaf}, {"w": leaf}]}))

    derived = json.loads(derive_documents({"_METADATA": raw}, [KeyPath(("a", 0, "w"))], {})["_METADATA"])

    none = {"value_type": "None", "skip_deserialize": True}
    assert json.loads(derived["value_metadata_tree"]) == {"a": [{"w": leaf | {"data": none}}, {"w": leaf}]}
    assert derived["tree_metadata"]["('a', '0', 'w')"]["value_metadata"] == none


def test_a_rich_tree_takes_no_new_leaf() -> None:
    """What its types would have to be is not known."""
    with pytest.raises(UnsupportedCheckpointError, match="keeps rich types of its tree"):
        derive_documents(read("rich"), [], {}, [KeyPath(("extra",))])


@pytest.mark.parametrize(
    ("rich", "message"),
    [
        (1, "`value_metadata_tree` is no text"),
        ("{", "is not JSON"),
        ("[]", "it is no JSON object"),
        ("{}", "its `value_metadata_tree` does not hold `a.b`"),
        ('{"a": []}', "does not hold `a.b`"),
        ('{"a": {"category": "namedtuple"}}', "does not hold `a.b`"),
        ('{"a": {"category": "namedtuple", "entries": [1]}}', "does not hold `a.b`"),
        ('{"a": {"category": "custom", "clazz": "tuple", "entries": []}}', "does not hold `a.b`"),
        ('{"a": 1}', "does not hold `a.b`"),
    ],
)
def test_a_rich_tree_that_is_damaged(rich: object, message: str) -> None:
    """Each way is told; nothing is written over it."""
    raw = tree(("a", "b"), ("c",), value_metadata_tree=rich)

    with pytest.raises(OrbaxMetadataError) as caught:
        derive_documents({"_METADATA": raw}, [KeyPath(("a", "b"))], {})
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["_METADATA", "_sharding", "array_metadatas/process_0"])
def test_damage_is_told_by_file(name: str) -> None:
    """Each file is read strictly."""
    with pytest.raises(OrbaxMetadataError, match=f"`{name}` is not JSON"):
        derive_documents(read("pytree") | {name: b"{"}, [KeyPath(("a",))], {})


def test_sidecars_of_derived_files_are_read(tmp_path: Path) -> None:
    """What is written reads back."""
    originals = read("sharded-zarr3")
    derived = derive_documents(originals, [KeyPath(("wte", "embedding"))], {})
    (tmp_path / "_sharding").write_bytes(derived["_sharding"])

    before = read_sidecars(ORBAX / "sharded-zarr3").shardings
    assert read_sidecars(tmp_path).shardings == {name: text for name, text in before.items() if name != "wte.embedding"}
