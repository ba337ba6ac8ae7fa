"""Tree metadata: typed keys, what counts as an array, and every way in which it contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.checkpoints.orbax.trees import entry, tree, tree_of
from tiecli.checkpoints.orbax.treemetadata import TreeNode, parse_tree
from tiecli.errors import NameCollisionError, OrbaxMetadataError, UnsupportedCheckpointError
from tiecli.keypaths import Key, KeyPath

ORBAX = Path(__file__).parents[4] / "fixtures" / "orbax"


def refuse(raw: bytes) -> str:
    """Parses, and gives the refusal."""
    with pytest.raises(OrbaxMetadataError) as caught:
        parse_tree(raw, "_METADATA")
    assert caught.value.hints
    return caught.value.message


def test_reads_a_tree_of_every_kind_of_node() -> None:
    """Sequences have integer keys; scalars are arrays; strings and empty nodes are none."""
    nodes = parse_tree((ORBAX / "nodes" / "_METADATA").read_bytes(), "_METADATA").nodes
    found = {node.path.spelling: node for node in nodes}

    assert found["layers[1].kernel"] == TreeNode(KeyPath(("layers", 1, "kernel")), "jax.Array", True, "layers.1.kernel")
    assert found["arrays.head"][1:3] == ("np.ndarray", True)
    assert found["scalars.bool"][1:3] == ("scalar", True)
    assert found["strings.name"][1:3] == ("string", False)
    kinds = [found[f"empty.{name}"].value_type for name in ("dict", "list", "tuple", "none")]
    assert kinds == ["Dict", "List", "Tuple", "None"]
    assert not any(found[f"empty.{name}"].is_array for name in ("dict", "list", "tuple", "none"))


def test_odd_keys_stay_apart() -> None:
    """Dots, slashes, quotes and brackets in a key do not split it."""
    nodes = parse_tree((ORBAX / "odd-names" / "_METADATA").read_bytes(), "_METADATA").nodes

    assert {(node.path.keys, node.name) for node in nodes} >= {
        (("a.b", "kernel"), "a.b.kernel"),
        (("a/b", "kernel"), "a/b.kernel"),
        (("quote'd", "kernel"), "quote'd.kernel"),
        (("[0]", "kernel"), "[0].kernel"),
        (("0", "kernel"), "0.kernel"),
        (("größer", "kernel"), "größer.kernel"),
    }


@pytest.mark.parametrize(
    "keys", [("a",), (0,), ("a", 0, "b"), ("it's", 'say "hi"', "'\""), ("\n\0\x7f", "ö", "😀"), ("", ""), ("a,",)]
)
def test_keys_are_read_back(keys: tuple[Key, ...]) -> None:
    """Whatever Python's text of a tuple does to a key."""
    (node,) = parse_tree(tree(keys), "_METADATA").nodes

    assert node.path == KeyPath(keys)
    assert node.name == ".".join(map(str, keys))


@pytest.mark.parametrize(
    ("members", "use_ocdbt", "use_zarr3"),
    [
        ({}, True, False),
        ({"use_ocdbt": False, "use_zarr3": True}, False, True),
        ({"use_ocdbt": None, "use_zarr3": None}, None, False),
    ],
)
def test_reads_how_arrays_are_stored(members: dict[str, Any], use_ocdbt: bool | None, use_zarr3: bool) -> None:
    """An older Orbax does not say whether there is a database."""
    found = parse_tree(tree(("a",), **members), "_METADATA")

    assert (found.use_ocdbt, found.use_zarr3) == (use_ocdbt, use_zarr3)


@pytest.mark.parametrize(("custom", "found"), [(None, {}), ({"a": [1]}, {"a": [1]}), ([1], {}), ("x", {})])
def test_reads_the_users_own_metadata(custom: object, found: object) -> None:
    """What is no object is left alone."""
    assert parse_tree(tree(("a",), custom_metadata=custom), "_METADATA").custom == found


def test_placeholders_of_partial_saves_are_no_nodes() -> None:
    """An empty node below which something was saved later is only a remainder; an empty one beside it is not."""
    raw = tree_of(
        {("a",): "Dict", ("a", "b"): "Dict", ("a", "b", "c"): "jax.Array", ("a", "bc"): "Dict", ("b",): "None"}
    )

    assert [node.path.keys for node in parse_tree(raw, "_METADATA").nodes] == [("a", "b", "c"), ("a", "bc"), ("b",)]
    raw = tree_of({(): "Dict", ("a",): "jax.Array"})
    assert [node.path.keys for node in parse_tree(raw, "_METADATA").nodes] == [("a",)]


def test_an_array_that_is_not_stored_is_none() -> None:
    """A placeholder for a leaf of a partial save."""
    key, described = entry(("a",), skip_deserialize=True)
    (node,) = parse_tree(json.dumps({"tree_metadata": {key: described}}).encode(), "_METADATA").nodes

    assert not node.is_array


@pytest.mark.parametrize("members", [{}, {"tree_metadata": None}, {"tree_metadata": []}])
def test_needs_a_tree(members: dict[str, Any]) -> None:
    """A JSON object without leaves is something else."""
    assert refuse(json.dumps(members).encode()).endswith("it has no `tree_metadata` object, which lists the leaves")


@pytest.mark.parametrize(
    ("text", "described", "message"),
    [
        ("('a',)", None, "the entry `('a',)` has no proper `key_metadata` and `value_metadata`"),
        ("('a',)", {}, "the entry `('a',)` has no proper `key_metadata` and `value_metadata`"),
        ("('a',)", {"key_metadata": ["a"]}, "has no proper `key_metadata` and `value_metadata`"),
        ("('a',)", {"key_metadata": [{"key": "a"}]}, "has no proper `key_metadata` and `value_metadata`"),
        ("('1',)", {"key_metadata": [{"key": 1, "key_type": 1}]}, "has no proper `key_metadata` and `value_metadata`"),
        ("('a',)", {"key_metadata": [{"key": "b", "key_type": 2}]}, "`('a',)` calls itself `('b',)`"),
        ("a", {"key_metadata": [{"key": "a", "key_type": 2}]}, "`a` calls itself `('a',)`"),
        ("('a')", {"key_metadata": [{"key": "a", "key_type": 2}]}, "`('a')` calls itself `('a',)`"),
        ("('a',)", {"key_metadata": [{"key": "a", "key_type": 3}]}, "has a key of the unknown type `3`"),
        ("('a',)", {"key_metadata": [{"key": "a", "key_type": [2]}]}, "has a key of the unknown type `[2]`"),
        ("('1',)", {"key_metadata": [{"key": "1", "key_type": True}]}, "has a key of the unknown type `True`"),
        ("('a',)", {"key_metadata": [{"key": "a", "key_type": 1}]}, "has the index `a` in a sequence"),
        ("('-1',)", {"key_metadata": [{"key": "-1", "key_type": 1}]}, "has the index `-1` in a sequence"),
        ("('01',)", {"key_metadata": [{"key": "01", "key_type": 1}]}, "has the index `01` in a sequence"),
        ("('²',)", {"key_metadata": [{"key": "²", "key_type": 1}]}, "has the index `²` in a sequence"),
    ],
)
def test_an_entry_that_contradicts_itself(text: str, described: object, message: str) -> None:
    """Its key and its keys must be one; indices must be indices."""
    if isinstance(described, dict) and described:
        described["value_metadata"] = {"value_type": "jax.Array", "skip_deserialize": False}

    assert message in refuse(json.dumps({"tree_metadata": {text: described}}).encode())


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], "x", {}, {"value_type": "None"}, {"value_type": 1, "skip_deserialize": False}),
        *({"value_type": "None", "skip_deserialize": 0}, {"value_type": [], "skip_deserialize": False}),
    ],
)
def test_an_entry_without_a_value(value: object) -> None:
    """What stands there must be said."""
    key, described = entry(("a",))

    message = refuse(json.dumps({"tree_metadata": {key: described | {"value_metadata": value}}}).encode())
    assert "the entry `('a',)` has no proper" in message


def test_a_leaf_twice() -> None:
    """Python's reader would keep the latter in silence."""
    raw = tree(("a",)).decode()
    key, described = entry(("a",))
    twice = raw.replace('{"tree_metadata": {', f'{{"tree_metadata": {{"{key}": {json.dumps(described)}, ')

    assert refuse(twice.encode()).endswith("it lists a leaf twice")


def test_the_word_itself_may_be_a_key() -> None:
    """What looks like a repetition is read, and is none."""
    assert len(parse_tree(tree(("key_metadata",), ("a", "key_metadata")), "_METADATA").nodes) == 2


@pytest.mark.parametrize("member", ["use_ocdbt", "use_zarr3"])
def test_flags_are_true_or_false(member: str) -> None:
    """Nothing else is guessed at."""
    assert f"`{member}` is `maybe`, expected true or false" in refuse(tree(("a",), **{member: "maybe"}))


def test_depth_has_an_end() -> None:
    """Far deeper than any tree, and below where Python gives up."""
    assert "500 keys deep" in refuse(tree(("a",) * 500))


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [(("a.b",), ("a", "b"), "a.b"), (("a", 0), ("a.0",), "a.0"), (("a", "b.c"), ("a.b", "c"), "a.b.c")],
)
def test_leaves_that_overwrote_each_other(one: tuple[Key, ...], other: tuple[Key, ...], name: str) -> None:
    """Orbax joins keys by dots, and saves both without a word; both places are told, unambiguously."""
    with pytest.raises(NameCollisionError) as caught:
        parse_tree(tree(one, ("x",), other), "_METADATA")

    first, second = KeyPath(one), KeyPath(other)
    assert caught.value.message.startswith(f"`{first}` and `{second}` are both stored as `{name}`")


def test_leaves_that_no_name_tells_apart() -> None:
    """An index, and a key that looks like one."""
    with pytest.raises(NameCollisionError, match="cannot be told apart by a name: both read `a\\[0\\]`"):
        parse_tree(tree(("a", 0), ("a[0]",)), "_METADATA")


def test_a_tree_that_is_one_leaf() -> None:
    """Orbax stores it without a name."""
    with pytest.raises(UnsupportedCheckpointError, match="the tree is one leaf without a name"):
        parse_tree(tree(()), "_METADATA")


def test_empty_nodes_collide_with_nothing() -> None:
    """Nothing is stored for them."""
    nodes = parse_tree(tree_of({("a.b",): "None", ("a", "b"): "jax.Array"}), "_METADATA").nodes

    assert len(nodes) == 2
