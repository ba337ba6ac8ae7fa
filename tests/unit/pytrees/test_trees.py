"""Trees: key paths become dicts and lists, and what cannot is refused."""

from __future__ import annotations

import pytest

from tiecli.errors import LeafNotFoundError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.pytrees.trees import MAX_DEPTH, build_tree, find_leaf, list_leaves, with_leaves, without_leaves


def at(text: str) -> KeyPath:
    return KeyPath.parse(text)


def test_keys_decide_what_a_node_is() -> None:
    """Names make dicts, digits in a name too; positions make lists."""
    tree = build_tree({at("h.0.w"): 1, at("h.1.w"): 2, at("stack[1].w"): 3, at("stack[0]"): 4})

    assert tree == {"h": {"0": {"w": 1}, "1": {"w": 2}}, "stack": [4, {"w": 3}]}


@pytest.mark.parametrize(("leaves", "tree"), [({}, {}), ({"[]": 1}, 1), ({"[1]": 1}, [None, 1])])
def test_roots_of_every_kind(leaves: dict[str, int], tree: object) -> None:
    """A tree may be empty, a leaf, or a list."""
    assert build_tree({at(text): leaf for text, leaf in leaves.items()}) == tree


def test_places_that_hold_nothing_count() -> None:
    """A tree without its aliases has the lists of the tree with them, and no empty dicts."""
    tree = build_tree({at("layers[0].w"): 1}, without=[at("layers[2].w"), at("head.w")])

    assert tree == {"layers": [{"w": 1}, None, None]}


def test_listing_is_the_way_back() -> None:
    """Leaves come out where they were put."""
    leaves = {at("a.b"): 1, at("c[0][1]"): 2, at('"x.y".z'): 3}

    assert list_leaves(build_tree(leaves)) == leaves


def test_taking_out_and_putting_back() -> None:
    """What was taken out can be put back, and the tree itself was not touched."""
    tree = {"a": [{"w": 1}, {"w": 2}], "b": {"c": {"w": 3}}, "d": 4}
    paths = [at("a[1].w"), at("b.c.w")]

    without = without_leaves(tree, paths)

    assert without == {"a": [{"w": 1}, None], "d": 4}
    assert with_leaves(without, {path: find_leaf(tree, path) for path in paths}) == tree
    assert tree == {"a": [{"w": 1}, {"w": 2}], "b": {"c": {"w": 3}}, "d": 4}


@pytest.mark.parametrize("place", ["b", "a", "a[2]", "a[0].w", "a[0].w.x", "a.w"])
def test_leaves_that_are_not_there(place: str) -> None:
    """A container is no leaf, neither is None, and nothing stands beyond a list's end."""
    with pytest.raises(LeafNotFoundError, match="the tree has no leaf"):
        find_leaf({"a": [None, 1]}, at(place))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["a", "a.b"], "no tree holds both a leaf `a` and a leaf `a.b` inside it"),
        (["a.b.c", "a"], "no tree holds both a leaf `a` and a leaf `a.b.c` inside it"),
        (["a[0]", "a.b"], "`a.b` has no place in a tree whose `a` holds positions"),
        (["a", "[0]"], r"`\[0\]` has no place in a tree of names"),
        (["a[65536]"], "stands at position 65536, expected one from 0 to 65,535"),
        (["a[-1]"], "stands at position -1"),
        ([".".join("a" * (MAX_DEPTH + 1))], "is 201 levels deep, expected at most 200"),
    ],
)
def test_what_no_tree_can_hold(places: list[str], message: str) -> None:
    """The error names both places, and nothing large is made first."""
    with pytest.raises(TreeError, match=message):
        build_tree({at(place): 1 for place in places})
