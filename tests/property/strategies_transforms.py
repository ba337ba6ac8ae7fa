"""Strategies: steps of every kind, pipes that fit their leaves, and leaves of random bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DTYPES, DType, LeafSpec
from tiecli.transforms.casts import numpy_dtype
from tiecli.transforms.shapes import step_spec
from tiecli.transforms.steps import (
    FULL,
    MAX_LENGTH,
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

COMPUTING = [dtype for dtype in DTYPES.values() if dtype.kind != "packed"]
FLOATS = [dtype for dtype in COMPUTING if dtype.kind == "float"]
INTEGERS = [dtype for dtype in COMPUTING if dtype.kind == "integer"]

axes = st.integers(-8, 7)
lengths = st.integers(0, MAX_LENGTH - 1)
bounds = st.none() | st.integers(-5, 5) | st.integers(1 - MAX_LENGTH, MAX_LENGTH - 1)
factors = st.sampled_from([1.0, -1.0, 2.0, -4.0, 0.5, 0.1, 1e-3, 2.0**100]) | st.floats(
    allow_nan=False, allow_infinity=False
).filter(bool)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(Index, st.integers(-5, 5)),
    st.builds(Range, bounds, bounds, bounds.map(lambda step: step or 1)),
    st.just(FULL),
    st.just(Range(step=-1)),
)


@st.composite
def patterns(draw: st.DrawFn, groups: Sequence[int] | None = None) -> Rearrange:
    """Draws an einops pattern, with the sizes that its left side needs and perhaps more."""
    counts = groups or draw(st.lists(st.integers(0, 3), max_size=4).filter(lambda counts: sum(counts) <= 8))
    total = sum(counts)
    sizes = draw(st.lists(st.none() | st.integers(1, 4), min_size=total, max_size=total))
    left = _grouped(list(range(total)), counts)
    for group in left:
        for axis in group[1:]:
            sizes[axis] = sizes[axis] or 2
    order = draw(st.permutations(range(total)))
    right: list[tuple[int, ...]] = []
    while order:
        count = draw(st.integers(0 if len(right) < 3 else 1, len(order)))
        right.append(tuple(order[:count]))
        order = order[count:]
        if len(right) >= 7:
            right.append(tuple(order))
            break
    return Rearrange(left, tuple(right), tuple(sizes))


def _grouped(axes: list[int], counts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    groups: list[tuple[int, ...]] = []
    for count in counts:
        groups.append(tuple(axes[:count]))
        axes = axes[count:]
    return tuple(groups)


single_steps: st.SearchStrategy[Step] = st.one_of(
    st.integers(0, 8).flatmap(lambda rank: st.permutations(range(rank))).map(lambda found: Permute(tuple(found))),
    patterns(),
    st.builds(Slice, st.lists(items, max_size=4).map(tuple), st.lists(items, max_size=4).map(tuple)),
    st.lists(st.integers(0, 9) | lengths, max_size=7).map(lambda shape: Reshape(tuple(shape))),
    st.lists(st.integers(0, 9), max_size=6).map(lambda shape: Reshape((*shape, -1))),
    st.builds(Flip, axes),
    st.builds(Pad, axes, st.integers(0, 3) | lengths, st.integers(0, 3) | lengths),
    st.builds(Repeat, axes, st.integers(1, 3) | st.integers(1, MAX_LENGTH - 1)),
    st.builds(Scale, factors),
    st.just(Negate()),
    st.builds(Cast, st.sampled_from(COMPUTING)),
    st.just(Conjugate()),
)
any_steps = st.tuples(
    st.lists(st.builds(Concat, axes) | st.builds(Stack, axes), max_size=1), st.lists(single_steps, max_size=8)
).map(lambda parts: (*parts[0], *parts[1]))
"""Steps in any order, whether or not a leaf exists that they fit."""


@dataclass(frozen=True)
class Pipe:
    """Steps that fit their sources, as drawn and not yet in canonical form."""

    steps: tuple[Step, ...]
    sources: tuple[LeafSpec, ...]


shapes = st.lists(st.integers(1, 5) | st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def pipes(
    draw: st.DrawFn,
    dtypes: Sequence[DType] = tuple(COMPUTING),
    *,
    structural: bool = False,
    casts: Sequence[DType] = tuple(COMPUTING),
    joins: bool = True,
    scales: st.SearchStrategy[float] = factors,
) -> Pipe:
    """Draws steps that fit, one after the other.

    Args:
        draw: Hypothesis's.
        dtypes: Of the sources.
        structural: No arithmetic.
        casts: Dtypes that may be cast to.
        joins: May start by joining several sources.
        scales: Factors that may be drawn.
    """
    source = LeafSpec(draw(shapes), draw(st.sampled_from(dtypes)))
    sources = (source,)
    steps: list[Step] = []
    spec = source
    if joins and draw(st.integers(0, 4)) == 0:
        step, sources = draw(_joins(source))
        steps.append(step)
        spec = step_spec(step, sources)
    for _ in range(draw(st.integers(0, 4))):
        step = draw(_fitting(spec, structural, casts, scales))
        try:
            after = step_spec(step, [spec])
        except TransformMismatchError:
            continue
        if after.size <= 4096:
            steps.append(step)
            spec = after
    return Pipe(tuple(steps), sources)


@st.composite
def _joins(draw: st.DrawFn, first: LeafSpec) -> tuple[Step, tuple[LeafSpec, ...]]:
    rank = len(first.shape)
    count = draw(st.integers(2, 3))
    if rank == 0 or draw(st.booleans()):
        return Stack(draw(st.integers(-rank - 1, rank))), (first,) * count
    axis = draw(st.integers(-rank, rank - 1))
    others = []
    for _ in range(count - 1):
        shape = list(first.shape)
        shape[axis] = draw(st.integers(0, 4))
        others.append(LeafSpec(tuple(shape), first.dtype))
    return Concat(axis), (first, *others)


@st.composite
def _fitting(
    draw: st.DrawFn, spec: LeafSpec, structural: bool, casts: Sequence[DType], scales: st.SearchStrategy[float]
) -> Step:
    rank = len(spec.shape)
    kinds = ["permute", "reshape", "slice", "pattern"]
    kinds += ["flip", "pad", "repeat"] if rank else []
    kinds += [] if structural else ["scale", "neg", "cast", "conj"]
    axis = st.integers(-rank, max(rank - 1, -rank))
    by_kind: dict[str, st.SearchStrategy[Step]] = {
        "permute": st.permutations(range(rank)).map(lambda found: Permute(tuple(found))),
        "reshape": _reshapes(spec.size),
        "slice": _slices(spec.shape),
        "pattern": fitting_patterns(spec.shape),
        "flip": st.builds(Flip, axis),
        "pad": st.builds(Pad, axis, st.integers(0, 2), st.integers(0, 2)),
        "repeat": st.builds(Repeat, axis, st.integers(1, 3)),
        "scale": st.builds(Scale, scales),
        "neg": st.just(Negate()),
        "cast": st.builds(Cast, st.sampled_from(casts)),
        "conj": st.just(Conjugate()),
    }
    return draw(by_kind[draw(st.sampled_from(kinds))])


@st.composite
def _reshapes(draw: st.DrawFn, size: int) -> Reshape:
    if size == 0:
        return Reshape(tuple(draw(st.permutations([0, *draw(st.lists(st.integers(0, 4), max_size=3))]))))
    parts: list[int] = []
    while size > 1:
        part = draw(st.sampled_from([part for part in range(2, size + 1) if size % part == 0]))
        parts.append(part)
        size //= part
    found = draw(
        st.permutations([*parts[:6], *([1] if draw(st.booleans()) else []), *([prod(parts[6:])] * (len(parts) > 6))])
    )
    if found and draw(st.booleans()):
        found[draw(st.integers(0, len(found) - 1))] = -1
    return Reshape(tuple(found))


@st.composite
def _slices(draw: st.DrawFn, shape: tuple[int, ...]) -> Slice:
    found: list[Item] = []
    for length in shape:
        kind = draw(st.integers(0, 3))
        low, high = sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))
        if kind == 0 and length:
            found.append(Index(draw(st.integers(-length, length - 1))))
        elif kind == 1:
            found.append(Range(low if low < length else None, high or None, draw(st.integers(1, 3))))
        elif kind == 2 and length:
            start, stop = max(low, high - 1), min(low, high - 1)
            found.append(Range(start, stop if stop >= 0 else None, draw(st.integers(-3, -1))))
        else:
            found.append(draw(st.sampled_from([FULL, Range(step=-1)])))
    cut = draw(st.integers(0, len(found)))
    if draw(st.booleans()):
        return Slice(tuple(found))
    return Slice(tuple(found[:cut]), tuple(found[cut:]))


@st.composite
def fitting_patterns(draw: st.DrawFn, shape: tuple[int, ...]) -> Rearrange:
    """Draws a pattern that fits a shape."""
    left: list[tuple[int, ...]] = []
    sizes: list[int | None] = []
    for length in shape:
        parts = [part for part in range(2, length) if length % part == 0]
        if length == 1 and draw(st.booleans()):
            left.append(())
        elif parts and len(sizes) < 6 and draw(st.booleans()):
            left.append((len(sizes), len(sizes) + 1))
            part = draw(st.sampled_from(parts))
            sizes += draw(st.sampled_from([[part, None], [None, part], [part, length // part]]))
        else:
            left.append((len(sizes),))
            sizes.append(None)
    right = draw(st.permutations(range(len(sizes))))
    groups: list[tuple[int, ...]] = []
    while right:
        count = draw(st.integers(1, min(2, len(right))))
        groups.append(tuple(right[:count]))
        right = right[count:]
    if len(groups) < 6 and draw(st.booleans()):
        groups.insert(draw(st.integers(0, len(groups))), ())
    return Rearrange(tuple(left), tuple(groups), tuple(sizes))


@st.composite
def random_bits(draw: st.DrawFn, spec: LeafSpec) -> NDArray[Any]:
    """Draws a leaf of random bits, NaN payloads included; plain zeros and ones for bools."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if spec.dtype.kind == "bool":
        return generator.integers(0, 2, spec.shape).astype(bool)
    raw = generator.bytes(spec.nbytes)
    array = np.frombuffer(raw, numpy_dtype(spec.dtype)).reshape(spec.shape).copy()
    if spec.dtype.kind == "float" and draw(st.booleans()):
        # Random float64 bits are hardly ever NaN, infinite or zero.
        bits = array.view(f"u{array.dtype.itemsize}").reshape(-1)
        special = numpy_dtype(spec.dtype).type(np.nan)
        ones = np.array(special).view(bits.dtype) | bits
        bits[::2] = ones[::2]
        bits[1::4] &= bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    return array


@st.composite
def small_integers(draw: st.DrawFn, spec: LeafSpec) -> NDArray[Any]:
    """Draws a leaf of small whole numbers, whose sums and products are exact."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = generator.integers(-8, 9, spec.shape).astype(np.float64)
    if spec.dtype.kind == "complex":
        values = values + 1j * generator.integers(-8, 9, spec.shape)
    return np.asarray(values, numpy_dtype(spec.dtype))
