"""Nodes: containers of every kind, taken apart and put together again by key path."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from tiecli.errors import LeafNotFoundError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.pytrees import contract, expand, list_leaves, tie_names
from tiecli.pytrees.nodes import describe_array, is_array, is_plain, list_empty, take_leaves
from tiecli.pytrees.trees import with_leaves

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any = None


class Pair(NamedTuple):
    left: Any
    right: Any


class Unnamed:
    """Registered without keys."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Twice:
    """Registered with one key for two places."""


jax.tree_util.register_pytree_node(Unnamed, lambda node: (node.parts, None), lambda _, parts: Unnamed(*parts))
jax.tree_util.register_pytree_with_keys(Twice, lambda node: ((("x", 1), ("x", 2)), None), lambda *_: Twice())


def matrix(*shape: int) -> Any:
    return np.arange(float(np.prod(shape))).reshape(shape)


TREES = {
    "a dataclass": (Layer(matrix(2, 3), matrix(2)), ["weight", "bias"]),
    "a named tuple": (Pair(matrix(2), {"w": matrix(1)}), ["left", "right.w"]),
    "a tuple": ({"a": (matrix(2), None, matrix(1))}, ["a[0]", "a[2]"]),
    "numbers as keys": ({10: matrix(2), 2: [matrix(1)]}, ["2[0]", "10"]),
    "an ordered dict": (OrderedDict(b=matrix(2), a=matrix(1)), ["b", "a"]),
    "a container without keys": ({"p": Unnamed(matrix(2), matrix(1))}, ["p[0]", "p[1]"]),
    "a leaf": (matrix(2), ["[]"]),
    "nothing": ((), []),
}


@pytest.mark.parametrize("name", TREES)
def test_leaves_are_named_by_what_holds_them(name: str) -> None:
    """Positions are indices; keys of dicts and names of attributes are text."""
    tree, places = TREES[name]

    assert [str(path) for path in list_leaves(tree)] == places


@pytest.mark.parametrize(
    ("tree", "alias", "canonical"),
    [
        (Layer(matrix(2), matrix(2)), "bias", "weight"),
        (Pair(matrix(2), (matrix(2),)), "right[0]", "left"),
        (OrderedDict(b=matrix(2), a=matrix(2)), "a", "b"),
        ({3: matrix(2), 4: Layer(matrix(2))}, "4.weight", "3"),
        (Unnamed(matrix(2), [matrix(2)]), "[1][0]", "[0]"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_ties_on_any_container(tree: Any, alias: str, canonical: str) -> None:
    """The container keeps its kind; None stands where the alias was, and the alias comes back."""
    ties = tie_names(tree, {alias: canonical})
    contracted = contract(tree, ties)

    assert type(contracted) is type(tree)
    assert set(list_leaves(tree)) - set(list_leaves(contracted)) == {KeyPath.parse(alias)}
    back = expand(contracted, ties)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert np.array_equal(left, right)


def test_equinox_modules_keep_what_is_no_array() -> None:
    """Activations, static fields and leaves that are no arrays stay as they are."""
    eqx = pytest.importorskip("equinox", reason="equinox comes with the extra `peer`")
    model = eqx.nn.MLP(3, 3, 3, 2, activation=jax.nn.relu, key=jax.random.key(0))
    ties = tie_names(model, {"layers[2]": "layers[1]"})
    contracted = contract(model, ties, keep="src")

    assert contracted.layers[2].weight is None
    assert contracted.activation is model.activation
    assert contracted.layers[2].out_features == 3
    back = expand(contracted, ties)
    assert back.layers[2].weight is model.layers[1].weight
    assert jax.tree.structure(back) == jax.tree.structure(model)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Twice(), "two leaves of the tree stand at `x`"),
        ({"a": Pair({1: 0}, Twice())}, r"two leaves of the tree stand at `a\.right\.x`"),
        ({1: matrix(1), "1": matrix(1)}, "JAX cannot take the tree apart: .* sorting"),
    ],
)
def test_places_that_cannot_be_told_apart(tree: Any, message: str) -> None:
    """Two leaves of one name are refused, whoever made them so."""
    with pytest.raises(TreeError, match=message):
        list_leaves(tree)


def test_what_needs_no_jax() -> None:
    """Nested dicts and lists of arrays and numbers; anything else is for JAX to know."""
    assert is_plain({"a": [matrix(1), None, {}], "b": 1.5})
    for tree in (Pair(1, 2), {"a": (1,)}, {1: 2}, OrderedDict(a=1), Layer(1), {"a": object()}):
        assert not is_plain(tree)


def test_places_that_hold_nothing() -> None:
    """Each by the name that Orbax has for it; plain trees or not."""
    plain = {"a": None, "b": {}, "c": [[], {"d": None}], "e": matrix(1)}
    other = {"a": (), "b": Pair(None, matrix(1)), "c": Layer(matrix(1)), "d": Unnamed()}

    found = {str(path): kind for path, kind in list_empty(plain).items()}
    assert found == {"a": "None", "b": "Dict", "c[0]": "List", "c[1].d": "None"}
    found = {str(path): kind for path, kind in list_empty(other).items()}
    assert found == {"a": "Tuple", "b.left": "None", "c.bias": "None", "d": "None"}


def test_what_is_an_array() -> None:
    """Whatever has a shape and a dtype that a checkpoint holds, values or none."""
    arrays = [matrix(2), np.float32(1), jax.numpy.ones(2), jax.ShapeDtypeStruct((2,), "bfloat16"), np.ones(1, ">f4")]
    arrays += [np.ones(2, ml_dtypes.float8_e4m3fn), np.ones(2, bool), np.ones(2, np.complex64)]
    assert all(map(is_array, arrays))
    assert str(describe_array(KeyPath(("w",)), arrays[3])) == "BF16 2"

    others = [1.5, "w", None, np.ones(1, np.complex128), jax.random.key(0), np.array("text"), lambda x: x]
    assert not any(map(is_array, others))


@pytest.mark.parametrize(
    ("leaf", "message", "hint"),
    [
        (1.5, "`a.b` is a float, which is no array of numpy or JAX", "equinox.filter"),
        (np.ones(1, np.complex128), "`a.b` is an array of dtype complex128", "Cast it"),
        (jax.random.key(0), r"`a.b` is an array of dtype key<fry>, which no checkpoint holds", "key_data"),
        (np.array("text"), "`a.b` is an array of dtype str", "Cast it"),
    ],
)
def test_what_is_none_is_refused_by_name(leaf: Any, message: str, hint: str) -> None:
    """The error says where it stands and what to do."""
    with pytest.raises(TreeError, match=message) as caught:
        describe_array(KeyPath(("a", "b")), leaf)
    assert hint in caught.value.hints[0]


def test_putting_and_taking_where_there_is_nothing() -> None:
    """A leaf goes where None stands, and comes from where there is one."""
    tree = Layer(matrix(2))
    for place, message in (("bias.x", "has no place in a Layer"), ("weight", "is taken in a Layer")):
        with pytest.raises(TreeError, match=message):
            with_leaves(tree, {KeyPath.parse(place): matrix(1)})
    with pytest.raises(LeafNotFoundError, match="no leaf `bias`"):
        take_leaves(tree, [KeyPath(("bias",))])
