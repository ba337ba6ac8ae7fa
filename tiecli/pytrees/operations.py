"""Operations: what JAX traced of a person's function, each read as steps of a transform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import frexp, isfinite
from typing import Any

import numpy as np

from tiecli.keypaths import KeyPath
from tiecli.leaves import find_dtype
from tiecli.transforms import SAME, Transform, compose


@dataclass(frozen=True, slots=True)
class Traced:
    """Leaves of a tree, and what was done to them.

    Attributes:
        paths: Where they stand; several only where they were joined.
        transform: What was done.
        last: What it was before the last operation, and that operation.
    """

    paths: tuple[KeyPath, ...]
    transform: Transform = SAME
    last: tuple[Traced, Any] | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """What came of an operation that no transform describes.

    Attributes:
        operation: As JAX calls it.
    """

    operation: str


Value = Traced | Unknown | Any
"""What an operand is; anything else is a constant."""


def apply_operation(equation: Any, operands: Sequence[Value]) -> list[Value]:
    """Says what comes of an operation.

    Args:
        equation: As it stands in JAX's program.
        operands: What it is applied to.
    """
    traced = [operand for operand in operands if isinstance(operand, Traced)]
    unknown = next((operand for operand in operands if isinstance(operand, Unknown)), None)
    if unknown is None and not traced:
        results = equation.primitive.bind(*operands, **equation.params)
        return list(results) if equation.primitive.multiple_results else [results]
    if unknown is None and equation.primitive.name in _JOINING and len(traced) == len(operands):
        return [_join(equation, traced) or Unknown(equation.primitive.name)]
    in_order = isinstance(operands[0], Traced) or equation.primitive.name == "mul"
    if unknown is None and in_order and len(traced) == len(equation.outvars) == 1:
        constants = [operand for operand in operands if not isinstance(operand, Traced)]
        return [_transform(equation, traced[0], constants) or Unknown(equation.primitive.name)]
    return [unknown or Unknown(equation.primitive.name)] * len(equation.outvars)


def _join(equation: Any, operands: Sequence[Traced]) -> Traced | None:
    """Reads several leaves that become one."""
    kind, axis = _JOINING[equation.primitive.name], equation.params.get("dimension", equation.params.get("axis"))
    before = [operand.last[0] for operand in operands if operand.last and _lifts(operand.last[1], axis)]
    if kind == "concat" and len(before) == len(operands):
        # Older releases stack by making an axis first.
        kind, operands = "stack", before
    if any(not operand.transform.is_same or len(operand.paths) > 1 for operand in operands):
        return None
    if len(operands) == 1 and kind == "concat":
        return operands[0]
    return Traced(tuple(operand.paths[0] for operand in operands), Transform.parse(f"{kind}({axis})"))


def _lifts(equation: Any, axis: int) -> bool:
    """Whether an operation does nothing but make an axis of length 1."""
    shape = equation.invars[0].aval.shape
    return tuple(equation.outvars[0].aval.shape) == (*shape[:axis], 1, *shape[axis:])


def _transform(equation: Any, operand: Traced, constants: Sequence[Any]) -> Traced | None:
    """Reads an operation on one leaf."""
    name = equation.primitive.name
    start, text = operand, None
    if name == "squeeze" and operand.last and operand.last[1].primitive.name == "slice":
        start, text = operand.last[0], _spell_items(operand.last[1], equation.params["dimensions"])
    elif name == "mul":
        text = _spell_scale(constants[0])
    elif name == "div":
        text = _spell_scale(constants[0], inverse=True)
    elif name == "pad":
        text = _spell_padding(equation, constants[0])
    elif name in _SPELLINGS and not constants:
        text = _SPELLINGS[name](equation)
    return Traced(start.paths, compose(start.transform, Transform.parse(text)), (operand, equation)) if text else None


def _spell_shape(equation: Any) -> str:
    return f"reshape({_listed(equation.outvars[0].aval.shape)})"


def _spell_cast(equation: Any) -> str | None:
    dtype = find_dtype(np.dtype(equation.params["new_dtype"]).name)
    return None if dtype is None or dtype.kind == "packed" else f"cast({dtype.name})"


def _spell_items(equation: Any, dropped: Sequence[int] = ()) -> str:
    """Spells slices; of axes that are dropped afterwards, the one layer that is left."""
    params, lengths = equation.params, equation.invars[0].aval.shape
    steps = params["strides"] or [1] * len(lengths)
    items = []
    for axis, start in enumerate(params["start_indices"]):
        stop, step = params["limit_indices"][axis], steps[axis]
        if axis in dropped:
            items.append(str(start))
        elif (start, stop, step) == (0, lengths[axis], 1):
            items.append(":")
        else:
            items.append(f"{start}:{stop}:{step}")
    return f"[{', '.join(items)}]"


def _spell_broadcast(equation: Any) -> str:
    """Spells copies along axes as these: axes of length 1 first, each of which is then repeated."""
    source, shape = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    lengths = dict(zip(equation.params["broadcast_dimensions"], source, strict=True))
    lifted = tuple(lengths.get(axis, 1) for axis in range(len(shape)))
    steps = [f"repeat({axis},{shape[axis]})" for axis, length in enumerate(lifted) if length != shape[axis]]
    return " | ".join([f"reshape({_listed(lifted)})"] * (lifted != tuple(source)) + steps) or "same"


def _spell_padding(equation: Any, value: Any) -> str | None:
    """Spells layers of positive zeros around others; any other padding is none of ours."""
    widths = equation.params["padding_config"]
    if any(before < 0 or after < 0 or inner for before, after, inner in widths) or any(np.asarray(value).tobytes()):
        return None
    return " | ".join(f"pad({axis},{before},{after})" for axis, (before, after, _) in enumerate(widths)) or "same"


def _spell_scale(constant: Any, *, inverse: bool = False) -> str | None:
    """Spells a product with one number, however often it stands in an array."""
    values = np.asarray(constant).reshape(-1)
    if values.dtype.kind == "c" and not values.imag.any():
        values = values.real
    dtype = find_dtype(values.dtype.name)
    if dtype is None or dtype.kind not in ("float", "integer") or not (values == values[:1]).all():
        return None
    factor = float(values[0])
    # A quotient is a product, bit for bit, where the divisor is a power of two, and only there.
    if not isfinite(factor) or not factor or (inverse and abs(frexp(factor)[0]) != 0.5):
        return None
    return f"scale({(1 / factor if inverse else factor).hex()})"


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(str(int(number)) for number in numbers)


_JOINING = {"concatenate": "concat", "stack": "stack"}
_SPELLINGS: Mapping[str, Callable[[Any], str | None]] = {
    "copy": lambda _: "same",
    "neg": lambda _: "neg",
    "conj": lambda _: "conj",
    "transpose": lambda equation: f"transpose({_listed(equation.params['permutation'])})",
    "squeeze": _spell_shape,
    "expand_dims": _spell_shape,
    # Another order of elements than that of C has not been seen for years.
    "reshape": lambda equation: None if equation.params.get("dimensions") else _spell_shape(equation),
    "rev": lambda equation: " | ".join(f"flip({axis})" for axis in equation.params["dimensions"]) or "same",
    "slice": _spell_items,
    "broadcast_in_dim": _spell_broadcast,
    "convert_element_type": _spell_cast,
}
