"""Ties on trees: aliases out, aliases back, and what does not fit."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tiecli.errors import (
    DriftedPairError,
    LeafNotFoundError,
    TieConflictError,
    TransformMismatchError,
    TreeError,
)
from tiecli.keypaths import KeyPath
from tiecli.pytrees import contract, expand
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform

jax = pytest.importorskip("jax", reason="jax is not installed")


def ties(*texts: str) -> TieSet:
    found = []
    for text in texts:
        left, _, right = text.partition(" = ")
        sources, _, transform = right.partition(" | ")
        paths = tuple(KeyPath.parse(source) for source in sources.split(","))
        found.append(Tie(KeyPath.parse(left), paths, Transform.parse(transform or "same")))
    return TieSet(tuple(found))


def example() -> dict[str, Any]:
    table = np.arange(6.0).reshape(3, 2)
    return {"wte": table, "head": {"kernel": table.T.copy()}, "layers": [{"w": table[:2]}, {"w": table[:2]}]}


TIES = ties("head.kernel = wte | transpose", "layers[1].w = layers[0].w")


def same(left: Any, right: Any) -> bool:
    """Whether two trees have the same structure and the same arrays."""
    return bool(
        jax.tree.structure(left) == jax.tree.structure(right)
        and all(jax.tree.leaves(jax.tree.map(np.array_equal, left, right)))
    )


def test_an_expanded_tree_is_the_tree_before() -> None:
    """Contracting takes the aliases out, expanding puts them back, with numpy as with JAX arrays."""
    tree = example()
    contracted = contract(tree, TIES)

    assert same(contracted, {"wte": tree["wte"], "layers": [tree["layers"][0], None]})
    assert same(expand(contracted, TIES), tree)
    assert isinstance(expand(contracted, TIES)["head"]["kernel"], np.ndarray)
    live = jax.tree.map(jax.numpy.asarray, contracted)
    assert isinstance(expand(live, TIES)["head"]["kernel"], jax.Array)
    assert same(expand(live, TIES), jax.tree.map(jax.numpy.asarray, tree))


def test_gradients_gather_at_the_canonical_leaf() -> None:
    """Inside `jit` and `grad`, an embedding receives what came to it and, turned, what came to the head."""

    def loss(tree: Any) -> Any:
        return (2 * tree["wte"]).sum() + (tree["head"]["kernel"] * np.arange(6.0).reshape(2, 3)).sum()

    contracted = {"wte": example()["wte"], "layers": [{"w": np.ones((2, 2))}, None]}
    found = jax.jit(jax.grad(lambda tree: loss(expand(tree, TIES))))(contracted)

    assert np.array_equal(found["wte"], 2 + np.arange(6.0).reshape(2, 3).T)


def test_many_leaves_make_one() -> None:
    """A fused leaf is made of its parts, and a chain is followed to its root."""
    joined = ties("qk = q,k | concat(0)", "k2 = k", "k3 = k2 | neg")
    tree = expand({"q": np.ones(1), "k": np.full(2, 3.0)}, joined)

    assert {name: leaf.tolist() for name, leaf in tree.items()} == {
        "q": [1.0],
        "k": [3.0, 3.0],
        "qk": [1.0, 3.0, 3.0],
        "k2": [3.0, 3.0],
        "k3": [-3.0, -3.0],
    }


def test_aliases_keep_their_own_arithmetic() -> None:
    """A cast rounds as it does on disk, whatever the array's namespace."""
    cast = ties("half = full | cast(bf16)")
    for array in (np.array([1.00390625], np.float32), jax.numpy.array([1.00390625], "float32")):
        assert expand({"full": array}, cast)["half"].dtype == ml_dtypes.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    """An alias that is there already, leaves that are not, and shapes that a transform does not give."""
    with pytest.raises(TieConflictError, match=r"`head\.kernel` is to be made from `wte`, but is in the tree already"):
        expand(example(), TIES)
    with pytest.raises(LeafNotFoundError, match="the tree has no leaf `wte`"):
        expand({"layers": [{"w": np.ones(1)}]}, TIES)
    with pytest.raises(LeafNotFoundError, match=r"the tree has no leaf `head\.kernel`"):
        contract({"wte": np.ones((3, 2))}, TIES)
    with pytest.raises(TransformMismatchError, match=r"`head\.kernel = wte` gives F64 3×2, but .* is F64 2×3"):
        contract(example(), ties("head.kernel = wte"))


def bits(pattern: int) -> np.ndarray[Any, Any]:
    return np.array([pattern, 0x3F800000], np.uint32).view(np.float32)


NAN, OTHER_NAN, ZERO, MINUS_ZERO = 0x7FC00000, 0x7FC00001, 0, 0x80000000


@pytest.mark.parametrize("live", [False, True], ids=["numpy", "jax"])
@pytest.mark.parametrize(("left", "right"), [(ZERO, MINUS_ZERO), (NAN, OTHER_NAN), (ZERO, 1)])
def test_values_that_differ_are_refused_bit_for_bit(left: int, right: int, live: bool) -> None:
    """The sign of zero, the payload of a NaN, one unit in the last place; `nn.Shared` gives such values up."""
    tie = ties("b = a", "c = a | [:1]")
    tree = {"a": bits(left), "b": bits(right), "c": bits(left)[:1]}
    tree = jax.tree.map(jax.numpy.asarray, tree) if live else tree

    with pytest.raises(DriftedPairError, match="`b` is not what `b = a` gives: 1 of 2 elements differ") as caught:
        contract(tree, tie)
    assert caught.value.hints == ('`keep="src"` gives up its values.',)
    assert list(contract(tree, tie, keep="src")) == ["a"]
    assert list(contract(tree | {"b": tree["a"]}, tie)) == ["a"]


def test_values_are_compared_where_there_are_any() -> None:
    """Inside `jit`, `grad` and `vmap`, and where there are shapes only, nothing can be and nothing is."""
    tie = ties("b = a")
    drifted = {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}

    def total(tree: Any) -> Any:
        return contract(tree, tie)["a"].sum()

    assert jax.jit(total)(drifted) == 0
    assert jax.grad(total)(drifted)["b"].tolist() == [0, 0]
    assert jax.vmap(total)(jax.tree.map(lambda leaf: leaf[:, None], drifted)).tolist() == [0, 0]
    assert list(contract(jax.eval_shape(lambda: drifted), tie)) == ["a"]
    with pytest.raises(DriftedPairError):
        total(drifted)


def test_the_order_of_bytes_is_no_difference() -> None:
    """Big-endian elements of the same values are the same values."""
    values = np.array([1.5, -2.0], np.float32)

    assert list(contract({"a": values.astype(">f4"), "b": values}, ties("b = a"))) == ["a"]
    with pytest.raises(DriftedPairError, match="1 of 2"):
        contract({"a": values.astype(">f4"), "b": values * np.float32([1, 2])}, ties("b = a"))


def test_leaves_of_any_dtype_are_compared() -> None:
    """Bytes decide, whatever they mean."""
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int8, bool, np.complex64, np.float16):
        leaf = np.array([[1, 0], [1, 1]]).astype(dtype)
        tree = {"a": leaf, "b": leaf.T.copy(), "s": leaf[0, 0], "t": leaf[0, 0]}
        found = contract(tree, ties("b = a | transpose", "t = s"))
        assert list(found) == ["a", "s"]
        back = expand(found, ties("b = a | transpose", "t = s"))
        assert back["b"].tobytes() == tree["b"].tobytes()
        assert back["t"].dtype == leaf.dtype
        with pytest.raises(DriftedPairError, match="2 of 4"):
            contract(tree | {"b": leaf}, ties("b = a | transpose"))


def test_what_is_no_array_is_no_leaf_to_tie() -> None:
    """Numbers, functions and random keys may stand in the tree, as long as they are not tied."""
    tree = {"a": 1.5, "b": 1.5, "key": jax.random.key(0), "twin": jax.random.key(0), "w": np.ones(1), "v": np.ones(1)}

    assert contract(tree, ties("v = w"))["key"] is tree["key"]
    with pytest.raises(TreeError, match="`b` is a float, which is no array"):
        contract(tree, ties("b = a"))
    with pytest.raises(TreeError, match="key<fry>, which no checkpoint holds"):
        contract(tree, ties("twin = key"))
    with pytest.raises(TreeError, match="`c = a` cannot be made of a float"):
        expand(tree, ties("c = a"))


def test_shapes_alone_are_expanded_by_jax() -> None:
    """The error says how."""
    tree = {"a": jax.ShapeDtypeStruct((2, 3), "float32")}
    tie = ties("b = a | transpose")

    with pytest.raises(TreeError, match="cannot be made of a ShapeDtypeStruct") as caught:
        expand(tree, tie)
    assert "eval_shape" in caught.value.hints[0]
    assert jax.eval_shape(lambda tree: expand(tree, tie), tree)["b"].shape == (3, 2)


def test_a_tree_that_jax_holds_has_places_for_its_aliases() -> None:
    """None stands where an alias was; a tuple without one has no place to put it."""
    tree = (np.ones(2), ({"w": np.ones(2)}, np.ones(2)))
    tie = ties("[1][0].w = [0]", "[1][1] = [0]")

    contracted = contract(tree, tie)
    assert contracted[1] == ({"w": None}, None)
    assert np.array_equal(expand(contracted, tie)[1][1], np.ones(2))
    for place in ("[1][2]", "[2]", "[1][1].w"):
        with pytest.raises(TreeError, match=r"` has no place in a tuple"):
            expand(contracted, ties(f"{place} = [0]"))


def test_dicts_inside_of_other_containers_get_their_aliases_back() -> None:
    """Parameters that were contracted on their own, then joined with the optimizer's state."""
    params = contract(example(), TIES)
    joined = (params, (np.int32(7), {"mu": params}))

    full = expand(joined, ties("[0].head.kernel = [0].wte | transpose", "[0].layers[1].w = [0].layers[0].w"))

    assert same(full[0], example())
    assert full[1] is not joined[1]
    assert same(full[1][1]["mu"], params)
    assert same(joined[0], params)
