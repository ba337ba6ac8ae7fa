"""Tracing: a person's function of a tree, run once without values and read as leaves and transforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tiecli.errors import TiecliError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES
from tiecli.pytrees.nodes import Tree, describe_array, import_jax, is_array, list_nodes
from tiecli.pytrees.operations import Traced, Unknown, Value, apply_operation

_CALLS = ("jit", "pjit", "closed_call")


def follow(choose: Callable[[Tree], Any], tree: Tree, what: str) -> dict[KeyPath, Traced]:
    """Asks a function which leaves of a tree it means, and what it does to them.

    Args:
        choose: Takes the tree and gives one of its nodes, or several in a list or tuple.
        tree: Of arrays.
        what: What the function is called, for errors.

    Returns:
        Each leaf that it gives, by its place in what it gives.

    Raises:
        TreeError: It does something that no transform describes, fails, or gives no leaf of the tree.
        TransformMismatchError: It does to a leaf what its dtype does not admit.
    """
    jax = import_jax()
    nodes, structure = list_nodes(tree)
    arrays = {place: leaf for place, leaf in nodes.items() if is_array(leaf)}
    given: list[KeyPath] = []

    def run(traced: list[Any]) -> list[Any]:
        """Runs the function on what stands for arrays."""
        leaves = {**nodes, **dict(zip(arrays, traced, strict=True))}
        found = list_nodes(choose(structure.unflatten(leaves.values())))[0]
        chosen = {place: leaf for place, leaf in found.items() if isinstance(leaf, jax.core.Tracer)}
        given.extend(chosen)
        return list(chosen.values())

    try:
        with _in_own_precision(jax, arrays):
            shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in arrays.values()]
            closed = jax.make_jaxpr(run)(shapes)
    except TiecliError:
        raise
    except Exception as error:
        raise TreeError(f"`{what}` fails on the tree: {type(error).__name__}: {error}") from error
    if not given:
        raise TreeError(f"`{what}` gives no leaf of the tree", "It gets the tree, and gives nodes of it.")
    results = _read(closed.jaxpr, closed.consts, [Traced((place,)) for place in arrays])
    specs = {place: describe_array(place, leaf) for place, leaf in arrays.items()}
    chosen = {}
    for place, result in zip(given, results, strict=True):
        if not isinstance(result, Traced):
            done = f"does `{result.operation}` to a leaf" if isinstance(result, Unknown) else "gives a constant"
            raise TreeError(
                f"`{what}` {done}, which no transform describes",
                "It may pick leaves, turn, cut, reshape, repeat, cast, scale and join them; see docs/transforms.md.",
            )
        result.transform.spec([specs[path] for path in result.paths])
        chosen[place] = result
    return chosen


def _in_own_precision(jax: Any, arrays: Mapping[KeyPath, Any]) -> AbstractContextManager[Any]:
    """Keeps 64-bit numpy leaves as they are: where JAX would narrow them, a function would seem to cast them."""
    wide = {dtype.numpy_name for dtype in DTYPES.values() if dtype.bits == 64 and dtype.kind != "complex"}
    if not any(leaf.dtype.name in wide for leaf in arrays.values()):
        return nullcontext()
    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    context: AbstractContextManager[Any] = enable(True)
    return context


def _read(jaxpr: Any, constants: list[Any], inputs: list[Value]) -> list[Value]:
    """Goes through a program that JAX traced, operation by operation."""
    known: dict[Any, Value] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))

    def look_up(atom: Any) -> Value:
        """Gives what an operand is: a literal, or the result of an operation."""
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        operands = [look_up(atom) for atom in equation.invars]
        inner = equation.params.get("jaxpr") if equation.primitive.name in _CALLS else None
        results = _read(inner.jaxpr, inner.consts, operands) if inner else apply_operation(equation, operands)
        known.update(zip(equation.outvars, results, strict=True))
    return [look_up(atom) for atom in jaxpr.outvars]
