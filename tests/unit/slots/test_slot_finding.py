"""Finding slots: trees that mirror parameters, wherever those stand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import pytest

from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.slots import Leaf, SlotReport, find_slots, is_left_empty, is_nearly_all

PARAMS = {"embed.w": (32, 8), "layers[0].w": (8, 8), "layers[1].w": (8, 8), "norm.scale": (8,)}


def find(*parts: Mapping[str, tuple[int, ...]], items: bool = False) -> SlotReport:
    """Finds slots among leaves of 32-bit floats."""
    shapes = {name: shape for part in parts for name, shape in part.items()}
    return find_slots([make(name, shape) for name, shape in shapes.items()], items=items)


def make(name: str, shape: tuple[int, ...] = (2,)) -> Leaf:
    """A leaf by the text form of its path."""
    return Leaf(name, "file", KeyPath.parse(name).keys, LeafSpec(shape, DTYPES["F32"]))


def below(place: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Puts leaves below a place."""
    return {f"{place}.{name}": shape for name, shape in shapes.items()}


def without(shapes: dict[str, tuple[int, ...]], *names: str) -> dict[str, tuple[int, ...]]:
    """Leaves some out."""
    return {name: shape for name, shape in shapes.items() if name not in names}


@pytest.mark.parametrize(
    ("params", "slots"),
    [
        ("params", "opt_state[0].mu"),
        ("params.params", "opt_state[0].mu.params"),
        ("state.model", "state.opt_state[1][0].mu"),
        ("model", "optimizer.exp_avg.module"),
    ],
)
def test_parameters_are_found_wherever_they_stand(params: str, slots: str) -> None:
    """Each slot goes with its parameter, a missing parameter is named, and nothing else is."""
    (tree,) = find(without(below(params, PARAMS), f"{params}.layers[1].w"), below(slots, PARAMS)).trees

    assert {str(KeyPath(keys)): leaf.name for keys, leaf in tree.held.items()} == {
        f"{params}.{name}": f"{slots}.{name}" for name in without(PARAMS, "layers[1].w")
    }
    assert [str(KeyPath(keys)) for keys in tree.orphans] == [f"{params}.layers[1].w"]


def test_an_average_of_the_parameters_is_not_taken_for_them() -> None:
    """A copy may have a leaf that the parameters have no more."""
    (tree,) = find(
        below("ema", PARAMS), without(below("params", PARAMS), "params.embed.w"), below("opt_state.mu", PARAMS)
    ).trees

    assert tree.root == ("params",)
    assert [*tree.orphans] == [("params", "embed", "w")]


def test_another_part_of_the_model_is_no_copy() -> None:
    """One optimizer, and parameters that lie in two trees."""
    apart = {"encoder.embed.w": (32, 8)}
    (tree,) = find(without(PARAMS, "embed.w"), apart, below("opt_state.mu", PARAMS)).trees

    assert not tree.orphans
    assert tree.held[("encoder", "embed", "w")].name == "opt_state.mu.embed.w"


@pytest.mark.parametrize(
    "slots",
    [
        below("opt_state.mu", {f"{name}.other": shape for name, shape in PARAMS.items()}),
        below("opt_state.mu", dict.fromkeys(PARAMS, (640,))),
        below("opt_state.mu", {"embed.w": (32, 8), "a.b": (2,), "c.d": (2,), "e.f": (2,)}),
        below("opt_state.moments", PARAMS),
    ],
    ids=["other-paths", "other-shapes", "few-of-them", "no-known-name"],
)
def test_what_is_no_tree_of_slots(slots: dict[str, tuple[int, ...]]) -> None:
    """Names alone make none, nor do paths alone."""
    assert find(below("params", PARAMS), slots).trees == ()


def test_names_of_items_are_left_out_where_people_read() -> None:
    """A step with several items: every path begins with the name of one."""
    report = find(below("params", PARAMS), below("opt_state.mu", PARAMS | {"head.w": (8, 32)}), items=True)

    assert [report.spell(keys) for keys in report.trees[0].orphans] == ["head.w"]


def test_shapes_that_are_odd_on_purpose() -> None:
    """Placeholders and factors are; what is neither is not."""
    (tree,) = find(
        below("params", PARAMS),
        below("opt_state.v", PARAMS | {"embed.w": (1,), "norm.scale": (), "layers[1].w": (8, 4)}),
    ).trees
    odd = [str(KeyPath(keys)) for keys in tree.held if tree.has_odd_shape(keys, make("x", shape_of(keys)).spec)]

    assert odd == ["params.layers[1].w"]


def shape_of(keys: Iterable[object]) -> tuple[int, ...]:
    """The shape of a parameter."""
    return PARAMS[str(KeyPath(tuple(keys)[1:]))]  # type: ignore[arg-type]  # keys are keys


def test_how_many_are_nearly_all() -> None:
    """Nine of ten, or all but one of three or more; all of them leave nothing to find."""
    assert [is_nearly_all(*it) for it in [(9, 10), (2, 3), (18, 20)]] == [True] * 3
    assert [is_nearly_all(*it) for it in [(10, 10), (1, 2), (8, 10), (0, 1)]] == [False] * 4


def test_places_below_an_empty_one_are_empty() -> None:
    """A mask may leave out a module as one."""
    assert is_left_empty(("mu", "layers", 0, "w"), {("mu", "layers", 0)})
    assert not is_left_empty(("mu", "layers", 1, "w"), {("mu", "layers", 0)})


def test_names_made_to_take_long_take_linear_time() -> None:
    """An optimizer for each leaf; ends that all leaves share; paths of many lengths."""
    count = 5_000
    kinds = [
        ("opt.a{}.mu.w{}", "p.w{}"),
        ("opt.a{}.mu.w", "p{}.w"),
        ("opt.mu." + "x." * 40 + "w{}", "p." + "x." * 40 + "w{}"),
    ]
    start = time.process_time()
    for slot, parameter in kinds:
        find_slots([make(kind.format(n, n)) for n in range(count) for kind in (slot, parameter)])
    assert time.process_time() - start < 5
