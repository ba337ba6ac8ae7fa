"""`orbax/newtree.py`: which places make up a tree, and the JSON files of a new item."""

from __future__ import annotations

import json

import pytest

from tiecli.checkpoints.orbax.newtree import check_places, compose_documents, prune_record
from tiecli.checkpoints.orbax.sidecars import list_key_impls, list_shardings
from tiecli.checkpoints.orbax.treemetadata import parse_tree
from tiecli.checkpoints.orbax.treerecord import ArrayKind, TreeRecord
from tiecli.errors import ConversionError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec

SPEC = LeafSpec((4, 2), DTYPES["F32"])
DEVICE = ArrayKind("jax.Array", '{"sharding_type": "SingleDeviceSharding"}')


def places(*texts: str) -> list[KeyPath]:
    """Places by their text forms."""
    return [KeyPath.parse(text) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        ("a",),
        ("a.b", "a.c", "b"),
        ("l[1]", "l[0].w", "l[2][0]"),
        ("a/b", "/a", "a//b", '".."'),
        tuple(f"l[{index}]" for index in range(100)),
    ],
)
def test_trees(texts: tuple[str, ...]) -> None:
    """Whatever Orbax restores is accepted, in any order."""
    check_places(places(*texts))


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ((), "no leaf"),
        (("a", "a.b"), "`a` is a leaf, so that `a.b` cannot stand below it"),
        (("a[0].b", "a[0]"), r"`a\[0\]` is a leaf, so that `a\[0\].b` cannot"),
        (("a[0]", "a.b"), r"`a\[0\]` stands in a list, and `a.b` makes a dict"),
        (("a[0]", "a[2]"), r"`a\[2\]` is in a list that has no `a\[1\]`"),
        (("a[1].b",), r"`a\[1\].b` is in a list that has no `a\[0\]`"),
        (("a[-1]",), r"`a\[-1\]` is in a list that has no `a\[0\]`"),
        (("a[99999999999999999]",), r"a list that has no `a\[0\]`"),
        (("a.b", '"a.b"'), "both be stored as `a.b`"),
        (("a[0]", '"a.0"'), "both be stored as `a.0`"),
        (("[]",), r"`\[\]` would be stored as ``"),
        (('""',), '`""` would be stored as ``'),
        (("a/",), "`a/` would be stored as `a/`"),
        ((".".join("k" * 201),), "201 keys deep"),
    ],
)
def test_no_trees(texts: tuple[str, ...], problem: str) -> None:
    """What Orbax could not hold, or would mix up, is refused by name."""
    with pytest.raises(ConversionError, match=problem):
        check_places(places(*texts))


def test_other_nodes_fill_a_list() -> None:
    """A None stands in its place as a leaf does."""
    check_places(places("a[0]", "a[2]"), places("a[1]"))


def test_nodes_give_way_to_leaves() -> None:
    """What stands above, below or in the place of a leaf is forgotten; its text with it."""
    nodes = dict.fromkeys(places("a", "a.b", "a.b.c", "a.x", "b"), "string")
    record = TreeRecord(nodes=nodes, strings=dict.fromkeys(nodes, "text"))

    pruned = prune_record(record, places("a.b"))

    assert list(pruned.nodes) == list(pruned.strings) == places("a.x", "b")


def test_documents_of_a_tree() -> None:
    """Kinds, nodes, strings, random keys and shardings are where stock Orbax looks for them."""
    w, key, step, plain, text, none = places("w", "rng", "step", "l[1]", "note", "l[0]")
    record = TreeRecord(
        arrays={w: DEVICE, key: DEVICE._replace(generator="rbg"), step: ArrayKind("scalar")},
        nodes={text: "string", none: "None"},
        strings={text: "größer"},
    )
    specs = {plain: SPEC, w: SPEC, key: LeafSpec((2,), DTYPES["U32"]), step: LeafSpec((), DTYPES["I64"])}

    documents = compose_documents(specs, (), record, {"lr": 0.1}, use_zarr3=True)

    assert list(documents)[-1] == "_METADATA"
    tree = parse_tree(documents["_METADATA"], "_METADATA")
    assert [(str(node.path), node.value_type, node.is_array) for node in tree.nodes] == [
        ("l[0]", "None", False),
        ("l[1]", "np.ndarray", True),
        ("note", "string", False),
        ("rng", "jax.Array", True),
        ("step", "scalar", True),
        ("w", "jax.Array", True),
    ]
    assert (tree.use_ocdbt, tree.use_zarr3, tree.custom) == (True, True, {"lr": 0.1})
    assert list_shardings(documents["_sharding"], "") == {"w": DEVICE.sharding, "rng": DEVICE.sharding}
    assert list_key_impls(documents["array_metadatas/process_0"], "") == {"rng": "rbg"}
    assert json.loads(documents["_strings.json"]) == {"note": "größer"}
    assert json.loads(documents["_CHECKPOINT_METADATA"])["item_handlers"].endswith("PyTreeCheckpointHandler")


def test_documents_of_plain_arrays() -> None:
    """No device is named where none is known, and no file is written that says nothing."""
    record = TreeRecord(arrays={KeyPath(("a",)): ArrayKind("jax.Array"), KeyPath(("b",)): ArrayKind("scalar")})

    documents = compose_documents(dict.fromkeys(places("a", "b"), SPEC), (), record, {}, use_zarr3=False)

    assert sorted(documents) == ["_CHECKPOINT_METADATA", "_METADATA"]
    tree = parse_tree(documents["_METADATA"], "_METADATA")
    # A scalar that has become a matrix is none any more.
    assert {node.value_type for node in tree.nodes} == {"np.ndarray"}
    assert tree.document["custom_metadata"] is None


def test_omitted_leaves_leave_no_hole() -> None:
    """A None in the place of the only leaf of an element of a list; nothing in that of others."""
    stored = dict.fromkeys(places("l[1].w", "d.w"), SPEC)

    documents = compose_documents(stored, places("l[0].w", "d.alias"), TreeRecord(), {}, use_zarr3=False)

    tree = parse_tree(documents["_METADATA"], "_METADATA")
    assert [(str(node.path), node.value_type) for node in tree.nodes] == [
        ("d.w", "np.ndarray"),
        ("l[0].w", "None"),
        ("l[1].w", "np.ndarray"),
    ]
