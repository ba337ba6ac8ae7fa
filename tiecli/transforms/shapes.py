"""Shapes: which shape and dtype each step gives, and which it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from struct import pack, unpack
from typing import assert_never

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DType, LeafSpec
from tiecli.transforms.grammar import format_step
from tiecli.transforms.steps import (
    FULL,
    MAX_LENGTH,
    MAX_RANK,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Item,
    Negate,
    Pad,
    Permute,
    Range,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)

MAX_SOURCES = 4096
"""Most sources that one tie joins."""


def stage_specs(steps: tuple[Step, ...], sources: Sequence[LeafSpec]) -> tuple[LeafSpec, ...]:
    """Works out what stands before each step of a pipe, and after the last.

    Args:
        steps: The pipe.
        sources: As many as its first step takes.

    Returns:
        One spec more than there are steps. Where the first step takes several sources, the
        first spec is that of the first source.

    Raises:
        TransformMismatchError: A step does not fit; names it, what it found and what it expected.
    """
    takes_many = bool(steps) and isinstance(steps[0], Concat | Stack)
    if not takes_many and len(sources) != 1:
        shown = format_step(steps[0]) if steps else "same"
        raise TransformMismatchError(
            f"`{shown}` takes one source, found {len(sources)}",
            "Several sources are joined by `concat(axis)` or `stack(axis)` as the first step.",
        )
    specs = [sources[0]] if sources else []
    for position, step in enumerate(steps):
        inputs = sources if position == 0 else specs[-1:]
        specs.append(step_spec(step, inputs))
    return tuple(specs)


def step_spec(step: Step, sources: Sequence[LeafSpec]) -> LeafSpec:
    """Works out the shape and dtype that one step gives.

    Raises:
        TransformMismatchError: The step does not fit.
    """
    refuse = _Refusal(step, sources)
    for source in sources:
        if source.dtype.kind == "packed":
            raise refuse("elements of at least one byte; packed elements can only be kept as they are, by `same`")
        if len(source.shape) > MAX_RANK:
            raise refuse(f"at most {MAX_RANK} axes")
    if isinstance(step, Concat | Stack):
        spec = _joined_spec(step, sources, refuse)
    else:
        spec = _single_spec(step, sources[0], refuse)
    if len(spec.shape) > MAX_RANK:
        raise refuse(f"a result of at most {MAX_RANK} axes, not {len(spec.shape)}")
    if prod(length for length in spec.shape if length) >= MAX_LENGTH:
        raise refuse(f"a result of less than {MAX_LENGTH} elements, not {spec}")
    return spec


def resolve_axis(axis: int, rank: int) -> int | None:
    """Counts an axis from the first one on; None if there is no such axis."""
    return axis % rank if -rank <= axis < rank else None


def resolve_items(step: Slice, rank: int) -> tuple[Item, ...] | None:
    """Gives one slice an axis; None if there are more slices than axes."""
    missing = rank - len(step.head) - len(step.tail)
    return None if missing < 0 else (*step.head, *[FULL] * missing, *step.tail)


def resolve_range(item: Range, length: int) -> range | None:
    """Lists the layers that a range takes of an axis; None if it reaches beyond it.

    Unlike in numpy, a stop past the end is not cut short, since it hides mistakes.
    """
    forward = item.step > 0
    start = (0 if forward else length - 1) if item.start is None else item.start + length * (item.start < 0)
    if item.stop is None:
        stop = length if forward else -1
    else:
        stop = item.stop + length * (item.stop < 0)
        if stop < 0:
            return None
    first, last = (0, length) if forward else (-1 if length == 0 else 0, length - 1)
    if not first <= start <= last or stop > length:
        return None
    if (start > stop) if forward else (start < stop):
        return None
    return range(start, stop, item.step)


def resolve_lengths(step: Rearrange, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Finds the length of each named axis of a pattern; None if the shape does not fit."""
    lengths = list(step.sizes)
    for group, length in zip(step.left, shape, strict=True):
        known = prod(size for axis in group if (size := step.sizes[axis]) is not None)
        open_axes = [axis for axis in group if step.sizes[axis] is None]
        if length % known or (not open_axes and length != known):
            return None
        for axis in open_axes:
            lengths[axis] = length // known
    return tuple(length for length in lengths if length is not None)


def resolve_shape(step: Reshape, size: int) -> tuple[int, ...] | None:
    """Fills in the open length of a new shape; None if the elements do not fit."""
    known = prod(length for length in step.shape if length != -1)
    if -1 not in step.shape:
        return step.shape if known == size else None
    if known == 0 or size % known:
        return None
    return tuple(size // known if length == -1 else length for length in step.shape)


def round_factor(factor: float, dtype: DType) -> float | None:
    """Rounds a scale to the precision it is applied in; None if it becomes zero or infinite."""
    if dtype.numpy_name == "float64":
        return factor
    try:
        rounded = float(unpack("<f", pack("<f", factor))[0])
    except OverflowError:
        return None
    return rounded or None


class _Refusal:
    """Words the error of a step that does not fit its sources."""

    def __init__(self, step: Step, sources: Sequence[LeafSpec]) -> None:
        self.step = step
        self.sources = sources

    def __call__(self, expected: str) -> TransformMismatchError:
        found = ", ".join(map(str, self.sources[:4])) + ", …" * (len(self.sources) > 4)
        shown = format_step(self.step)
        return TransformMismatchError(f"`{shown}` does not fit {found or 'no source'}: expected {expected}")


def _joined_spec(step: Concat | Stack, sources: Sequence[LeafSpec], refuse: _Refusal) -> LeafSpec:
    if not 2 <= len(sources) <= MAX_SOURCES:
        raise refuse(f"from 2 to {MAX_SOURCES} sources, not {len(sources)}")
    first = sources[0]
    rank = len(first.shape)
    if any(source.dtype != first.dtype for source in sources):
        raise refuse("sources of one dtype")
    if isinstance(step, Stack):
        axis = _axis(step.axis, rank + 1, refuse)
        if any(source.shape != first.shape for source in sources):
            raise refuse("sources of one shape")
        return first._replace(shape=(*first.shape[:axis], len(sources), *first.shape[axis:]))
    axis = _axis(step.axis, rank, refuse)
    if any(
        len(source.shape) != rank or _with_length(source, axis, 0) != _with_length(first, axis, 0) for source in sources
    ):
        raise refuse(f"sources of one shape but for axis {axis}")
    return _with_length(first, axis, sum(source.shape[axis] for source in sources))


def _single_spec(step: Step, source: LeafSpec, refuse: _Refusal) -> LeafSpec:  # noqa: PLR0911  # one case a step
    shape = source.shape
    match step:
        case Permute(axes):
            if len(axes) != len(shape):
                raise refuse(f"{len(axes)} axes")
            return source._replace(shape=tuple(shape[axis] for axis in axes))
        case Rearrange():
            return source._replace(shape=_rearranged(step, shape, refuse))
        case Slice():
            return source._replace(shape=_sliced(step, shape, refuse))
        case Reshape():
            new_shape = resolve_shape(step, source.size)
            if new_shape is None:
                raise refuse(f"a number of elements that fits, found {source.size}")
            return source._replace(shape=new_shape)
        case Flip(axis):
            _axis(axis, len(shape), refuse)
            return source
        case Pad(axis, before, after):
            at = _axis(axis, len(shape), refuse)
            return _with_length(source, at, before + shape[at] + after)
        case Repeat(axis, count):
            at = _axis(axis, len(shape), refuse)
            return _with_length(source, at, shape[at] * count)
        case Scale() | Negate() | Cast() | Conjugate():
            return source._replace(dtype=_elementwise_dtype(step, source.dtype, refuse))
        case Concat() | Stack():
            raise refuse("to be the first step, since it takes several sources")
        case _:
            assert_never(step)


def _elementwise_dtype(step: Scale | Negate | Cast | Conjugate, dtype: DType, refuse: _Refusal) -> DType:
    if isinstance(step, Cast):
        if dtype.kind == "complex" and step.dtype.kind != "complex":
            raise refuse("real elements; a cast would drop the imaginary parts")
        return step.dtype
    if dtype.kind not in ("float", "complex"):
        raise refuse("a float or complex dtype")
    if dtype.name == "F8_E8M0" and (isinstance(step, Negate) or (isinstance(step, Scale) and step.factor < 0)):
        raise refuse("a dtype with a sign")
    if isinstance(step, Scale) and round_factor(step.factor, dtype) is None:
        raise refuse("a factor that is finite and not zero in float32, which this dtype is scaled in")
    return dtype


def _rearranged(step: Rearrange, shape: tuple[int, ...], refuse: _Refusal) -> tuple[int, ...]:
    if len(step.left) != len(shape):
        raise refuse(f"{len(step.left)} axes")
    for group, length in zip(step.left, shape, strict=True):
        if not group and length != 1:
            raise refuse(f"an axis of length 1, not {length}")
    lengths = resolve_lengths(step, shape)
    if lengths is None:
        raise refuse("lengths that the sizes of the pattern divide")
    return tuple(prod(lengths[axis] for axis in group) for group in step.right)


def _sliced(step: Slice, shape: tuple[int, ...], refuse: _Refusal) -> tuple[int, ...]:
    items = resolve_items(step, len(shape))
    if items is None:
        raise refuse(f"at least {len(step.head) + len(step.tail)} axes")
    kept: list[int] = []
    for axis, (item, length) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, Index):
            if not -length <= item.at < length:
                raise refuse(f"an index of axis {axis} within its length {length}, not {item.at}")
        else:
            layers = resolve_range(item, length)
            if layers is None:
                raise refuse(f"a slice of axis {axis} in order and within its length {length}")
            kept.append(len(layers))
    return tuple(kept)


def _axis(axis: int, rank: int, refuse: _Refusal) -> int:
    at = resolve_axis(axis, rank)
    if at is None:
        raise refuse(f"an axis of a leaf of {rank} axes, not {axis}")
    return at


def _with_length(spec: LeafSpec, axis: int, length: int) -> LeafSpec:
    return spec._replace(shape=(*spec.shape[:axis], length, *spec.shape[axis + 1 :]))
