"""Choosing: ties stated by name, by function, by module; and what is refused that others lose without a word."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from tiecli.errors import (
    LeafNotFoundError,
    PairingError,
    TieConflictError,
    TransformSyntaxError,
    TreeError,
)
from tiecli.pytrees import tie_modules, tie_names, tie_nodes
from tiecli.ties import TieSet

pytest.importorskip("jax", reason="jax comes with the extra `verify`")


class Block(NamedTuple):
    left: Any
    right: Any


class Pair(NamedTuple):
    left: Any
    right: Any


def matrix(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def model() -> Any:
    layers = [{"w": matrix(2, 2), "b": matrix(2), "name": "layer"} for _ in range(3)]
    return {"enc": {"w": matrix(2, 3)}, "dec": {"w": matrix(3, 2)}, "layers": layers, "out": (matrix(2, 2), matrix(2))}


def texts(ties: TieSet) -> list[str]:
    return [str(tie) for tie in ties]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"dec.w": "enc.w | transpose"}, ["dec.w = enc.w | transpose"]),
        ({"dec.w": "enc.w|transpose"}, ["dec.w = enc.w | transpose"]),
        ({"layers[1]": "layers[0]"}, ["layers[1].b = layers[0].b", "layers[1].w = layers[0].w"]),
        ({"layers.{1..2}.w": "layers.0.w"}, ["layers[1].w = layers[0].w", "layers[2].w = layers[0].w"]),
        ({"out[0]": "(layers[0].b, layers[1].b) | stack(0)"}, ["out[0] = (layers[0].b, layers[1].b) | stack(0)"]),
        (
            {"layers[2].w": "layers[1].w | neg", "layers[1].w": "layers[0].w | transpose"},
            ["layers[2].w = layers[0].w | transpose | neg", "layers[1].w = layers[0].w | transpose"],
        ),
    ],
)
def test_by_name(names: dict[str, str], expected: list[str]) -> None:
    """Whole names, subtrees, patterns, several sources; chains go to their root; what is no array is passed over."""
    assert texts(tie_names(model(), names)) == expected


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ({"head": "enc.w"}, LeafNotFoundError, "`head`"),
        ({"dec.w": "layers[*].w"}, PairingError, "could follow from 3 leaves"),
        ({"dec.w": "enc.w | turn"}, TransformSyntaxError, "turn"),
        ({"dec.w": "enc.w | transpose", "enc.w": "dec.w | transpose"}, TieConflictError, "ties form a cycle"),
        ({"dec.w": "dec.w"}, PairingError, "a leaf cannot be tied to itself"),
        ({"dec.w": "enc.w", "dec.*": "enc.w"}, TieConflictError, "`dec.w` is tied twice"),
        ({"layers[1].name": "layers[0].name"}, LeafNotFoundError, "name"),
    ],
)
def test_names_that_make_no_ties(names: dict[str, str], error: type[Exception], message: str) -> None:
    """Refused before anything is lost."""
    with pytest.raises(error, match=message):
        tie_names(model(), names)


def test_by_function() -> None:
    """One node or several, leaves or subtrees, in whatever the function gives them."""
    assert texts(tie_nodes(model(), lambda t: t["dec"], lambda t: {"w": t["enc"]["w"].T})) == [
        "dec.w = enc.w | transpose"
    ]
    several = tie_nodes(
        model(),
        lambda t: [t["dec"]["w"], t["layers"][1:]],
        lambda t: (t["enc"]["w"].T, t["layers"][:1] * 2),
    )
    assert texts(several) == [
        "dec.w = enc.w | transpose",
        "layers[1].b = layers[0].b",
        "layers[1].w = layers[0].w",
        "layers[2].b = layers[0].b",
        "layers[2].w = layers[0].w",
    ]


def test_chains_of_functions_go_to_their_root() -> None:
    """`equinox.nn.Shared` leaves the end of a chain a placeholder, without a word."""
    ties = tie_nodes(
        model(),
        lambda t: [t["layers"][1]["w"], t["layers"][2]["w"]],
        lambda t: [t["layers"][0]["w"].T, -t["layers"][1]["w"]],
    )

    assert texts(ties) == ["layers[1].w = layers[0].w | transpose", "layers[2].w = layers[0].w | transpose | neg"]


@pytest.mark.parametrize(
    ("where", "get", "error", "message"),
    [
        (lambda t: t["out"], lambda t: t["enc"], PairingError, r"only `where` has `\[0\]`, `\[1\]`"),
        (lambda t: t["enc"], lambda t: t["out"], PairingError, "only `where` has `w`"),
        (lambda t: [t["enc"]["w"]] * 2, lambda t: [t["dec"]["w"]], PairingError, "are not built alike"),
        (lambda t: t["enc"]["w"].T, lambda t: t["dec"]["w"], TreeError, r"`where` gives `enc\.w \| transpose`"),
        (lambda t: t["enc"]["w"], lambda t: t["enc"]["w"], TieConflictError, "cannot be tied to itself"),
        (lambda t: t["enc"]["w"], lambda t: t["enc"]["w"].T, TieConflictError, "cannot be tied to itself"),
        (lambda t: t["layers"][:2], lambda t: t["layers"][1::-1], TieConflictError, "ties form a cycle"),
        (lambda t: [t["enc"]["w"]] * 2, lambda t: [t["dec"]["w"].T, -t["dec"]["w"].T], TieConflictError, "tied twice"),
        (lambda t: t["layers"][0]["name"], lambda t: t["enc"], TreeError, "`where` gives no leaf"),
        (lambda t: t.dec, lambda t: t["enc"], TreeError, "`where` fails on the tree: AttributeError"),
    ],
)
def test_functions_that_make_no_ties(where: Any, get: Any, error: type[Exception], message: str) -> None:
    """Cycles, leaves tied to themselves or twice, nodes that differ: all refused."""
    with pytest.raises(error, match=message):
        tie_nodes(model(), where, get)


def test_by_module() -> None:
    """The first of them is the one that stays; by class, predicate or pattern; whole or in part."""
    tree = [Block(matrix(2), matrix(1)), {"inner": Block(matrix(2), matrix(1))}, Pair(matrix(2), matrix(1))]

    assert texts(tie_modules(tree, Block)) == ["[1].inner.left = [0].left", "[1].inner.right = [0].right"]
    assert texts(tie_modules(tree, Block | Pair, lambda node: getattr(node, "shape", ()) == (1,))) == [
        "[1].inner.right = [0].right",
        "[2].right = [0].right",
    ]
    assert texts(tie_modules([tree, tree], "[*]", Pair)) == ["[1][2].left = [0][2].left", "[1][2].right = [0][2].right"]
    assert texts(tie_modules(tree, Block | Pair, "left")) == ["[1].inner.left = [0].left", "[2].left = [0].left"]
    by_predicate = tie_modules(model(), lambda node: isinstance(node, dict) and "b" in node, "b")
    assert texts(by_predicate) == ["layers[1].b = layers[0].b", "layers[2].b = layers[0].b"]
    assert texts(tie_modules(model(), "layers[*]", "w")) == ["layers[1].w = layers[0].w", "layers[2].w = layers[0].w"]
    assert texts(tie_modules(model(), "layers[{0,2}]")) == ["layers[2].b = layers[0].b", "layers[2].w = layers[0].w"]


@pytest.mark.parametrize(
    ("select", "leaves", "error", "message"),
    [
        ("layers[0]", None, LeafNotFoundError, r"only `layers\[0\]` is selected by 'layers\[0\]'"),
        (Block, None, LeafNotFoundError, "nothing is selected by"),
        ("{enc,out}", None, PairingError, r"`enc` and `out` are not built alike: only `enc` has `w`"),
        ("layers[*]", "kernel", LeafNotFoundError, "`kernel`"),
        ("layers[*]", Block, LeafNotFoundError, r"`layers\[0\]` has no such leaf"),
    ],
)
def test_modules_that_make_no_ties(select: Any, leaves: Any, error: type[Exception], message: str) -> None:
    """One alone, none, or unlike ones."""
    with pytest.raises(error, match=message):
        tie_modules(model(), select, leaves)
