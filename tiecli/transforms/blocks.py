"""Blocks: one box of a transformed leaf, reading no more of the sources than it needs.

The box wanted is mapped back through each step to the smallest box of its input that holds
it, down to the sources; what was read is then carried forward and trimmed. Where a step
scatters a box over much more of its input (a column of a reshaped leaf, every hundredth
row), the box is halved until the pieces are small, so that memory stays in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.leaves import LeafSpec
from tiecli.transforms.arrays import apply_step
from tiecli.transforms.casts import bits_of, numpy_dtype
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.regroup import GroupedAxes, group_axes
from tiecli.transforms.shapes import resolve_items, resolve_lengths, resolve_range, stage_specs
from tiecli.transforms.steps import (
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Negate,
    Pad,
    Permute,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)

_SPREAD = 4
"""How many times more elements than the box a step may have read before the box is halved."""

SMALL_BLOCK = 65_536
"""So many elements are read at once, whatever the box."""


class BlockSource(Protocol):
    """A leaf that is read block by block."""

    @property
    def spec(self) -> LeafSpec:
        """Its shape and dtype."""

    def read(self, box: Box) -> NDArray[Any]:
        """Reads one block, as an array of the leaf's dtype and the box's lengths."""


def evaluate_block(transform: Transform, sources: Sequence[BlockSource], box: Box) -> NDArray[Any]:
    """Computes one block of a transformed leaf.

    Bit for bit what `forward` gives there. Peak memory is a few times the block, or a few
    times 64 Ki elements if that is more.

    Args:
        transform: The pipe.
        sources: One, or as many as `concat` or `stack` join, in order.
        box: Which block of the result, within its shape.

    Raises:
        TransformMismatchError: A step does not fit.
    """
    specs = [source.spec for source in sources]
    steps = _split_patterns(transform.steps, stage_specs(transform.steps, specs))
    stages = stage_specs(steps, specs)
    return _Evaluation(steps, stages, tuple(sources), max(_SPREAD * _size(box), SMALL_BLOCK)).evaluate(len(steps), box)


def _split_patterns(steps: tuple[Step, ...], stages: tuple[LeafSpec, ...]) -> tuple[Step, ...]:
    """Writes each einops pattern as a reshape, a permutation and a reshape."""
    plain: list[Step] = []
    for step, before, after in zip(steps, stages, stages[1:], strict=False):
        if isinstance(step, Rearrange):
            lengths = resolve_lengths(step, before.shape) or ()
            order = tuple(axis for group in step.right for axis in group)
            plain += [Reshape(lengths), Permute(order), Reshape(after.shape)]
        else:
            plain.append(step)
    return tuple(plain)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    steps: tuple[Step, ...]
    stages: tuple[LeafSpec, ...]
    sources: tuple[BlockSource, ...]
    limit: int

    def evaluate(self, stage: int, box: Box) -> NDArray[Any]:
        """Computes a block of what stands after `stage` steps."""
        spec = self.stages[stage]
        if _size(box) == 0:
            return np.zeros(_lengths(box), numpy_dtype(spec.dtype))
        if stage == 0:
            return self.sources[0].read(box)
        step = self.steps[stage - 1]
        if isinstance(step, Concat):
            return self._concatenated(step, box)
        if isinstance(step, Stack):
            return self._stacked(step, box)
        before = self.stages[stage - 1]
        if _size(_pull(step, before, spec, box)) > self.limit:
            return self._halved(stage, box)
        return _push(step, before, spec, box, self.evaluate(stage - 1, _pull(step, before, spec, box)))

    def _halved(self, stage: int, box: Box) -> NDArray[Any]:
        """Computes two halves apart, cut where that makes the input read smallest."""
        step, before, spec = self.steps[stage - 1], self.stages[stage - 1], self.stages[stage]
        cuts = [(axis, *_halves(box, axis)) for axis, (start, stop) in enumerate(box) if stop - start > 1]

        def input_size(cut: tuple[int, Box, Box]) -> tuple[int, int]:
            """Elements to read for both halves; the longer axis wins a draw."""
            axis, *halves = cut
            start, stop = box[axis]
            return sum(_size(_pull(step, before, spec, half)) for half in halves), start - stop

        axis, first, second = min(cuts, key=input_size)
        result = np.empty(_lengths(box), numpy_dtype(spec.dtype))
        at = first[axis][1] - first[axis][0]
        lead = (slice(None),) * axis
        bits_of(result)[(*lead, slice(None, at))] = bits_of(self.evaluate(stage, first))
        bits_of(result)[(*lead, slice(at, None))] = bits_of(self.evaluate(stage, second))
        return result

    def _concatenated(self, step: Concat, box: Box) -> NDArray[Any]:
        axis = step.axis % len(box)
        wanted_start, wanted_stop = box[axis]
        lengths = [source.spec.shape[axis] for source in self.sources]
        parts: list[NDArray[Any]] = []
        for source, offset, length in zip(self.sources, accumulate(lengths, initial=0), lengths, strict=False):
            start, stop = max(wanted_start - offset, 0), min(wanted_stop - offset, length)
            if start < stop:
                parts.append(source.read(_with(box, axis, (start, stop))))
        return parts[0] if len(parts) == 1 else _joined(Concat(axis), parts, self.sources[0].spec)

    def _stacked(self, step: Stack, box: Box) -> NDArray[Any]:
        axis = step.axis % len(box)
        inner = (*box[:axis], *box[axis + 1 :])
        return _joined(
            Stack(axis), [source.read(inner) for source in self.sources[slice(*box[axis])]], self.sources[0].spec
        )


def _joined(step: Concat | Stack, parts: Sequence[NDArray[Any]], spec: LeafSpec) -> NDArray[Any]:
    joined: NDArray[Any] = apply_step(step, parts, spec)
    return joined


def _pull(step: Step, before: LeafSpec, after: LeafSpec, box: Box) -> Box:  # noqa: PLR0911  # one case a step
    """Finds the smallest box of a step's input that a box of its result follows from."""
    match step:
        case Permute(axes):
            return tuple(box[axes.index(axis)] for axis in range(len(axes)))
        case Slice():
            return _pull_slice(step, before, box)
        case Reshape():
            return tuple(pair for group in group_axes(before.shape, after.shape) for pair in group.source_box(box))
        case Flip(axis):
            start, stop = box[axis]
            length = before.shape[axis]
            return _with(box, axis % len(box), (length - stop, length - start))
        case Pad(axis, padding, _):
            start, stop = (min(max(bound - padding, 0), before.shape[axis]) for bound in box[axis])
            return _with(box, axis % len(box), (start, stop))
        case Repeat(axis, count):
            start, stop = box[axis]
            return _with(box, axis % len(box), (start // count, (stop - 1) // count + 1))
        case Scale() | Negate() | Cast() | Conjugate():
            return box
        case Rearrange() | Concat() | Stack():
            raise AssertionError(f"{step} is dealt with before")
        case _:
            assert_never(step)


def _pull_slice(step: Slice, before: LeafSpec, box: Box) -> Box:
    wanted = iter(box)
    pulled: list[tuple[int, int]] = []
    for item, length in zip(resolve_items(step, len(before.shape)) or (), before.shape, strict=True):
        if isinstance(item, Index):
            pulled.append((item.at % length, item.at % length + 1))
        else:
            layers = (resolve_range(item, length) or range(0))[slice(*next(wanted))]
            pulled.append((min(layers[0], layers[-1]), max(layers[0], layers[-1]) + 1))
    return tuple(pulled)


def _push(step: Step, before: LeafSpec, after: LeafSpec, box: Box, block: NDArray[Any]) -> NDArray[Any]:
    """Carries the pulled block of the input forward, and trims it to the box."""
    if isinstance(step, Scale | Negate | Cast | Conjugate):
        result: NDArray[Any] = apply_step(step, [block], before)
        return result
    bits = bits_of(block)
    match step:
        case Permute(axes):
            bits = bits.transpose(axes)
        case Slice():
            bits = bits[_local_index(step, before)]
        case Reshape():
            bits = _push_groups(group_axes(before.shape, after.shape), bits, box)
        case Flip(axis):
            bits = np.flip(bits, axis)
        case Pad(axis, padding, _):
            padded = np.zeros(_lengths(box), bits.dtype)
            start = max(padding - box[axis][0], 0)
            lead = (slice(None),) * (axis % len(box))
            padded[(*lead, slice(start, start + bits.shape[axis]))] = bits
            bits = padded
        case Repeat(axis, count):
            layers = np.arange(*box[axis]) // count
            bits = bits.take(layers - layers[0], axis=axis)
        case _:
            raise AssertionError(f"{step} is dealt with before")
    return bits.view(block.dtype)


def _local_index(step: Slice, before: LeafSpec) -> tuple[Any, ...]:
    """The slice within the pulled block, which starts and ends at layers that are taken."""
    items = resolve_items(step, len(before.shape)) or ()
    return (*(0 if isinstance(item, Index) else slice(None, None, item.step) for item in items), ...)


def _push_groups(groups: Sequence[GroupedAxes], bits: NDArray[Any], box: Box) -> NDArray[Any]:
    flat = bits.reshape([prod(_lengths(group.source_box(box))) for group in groups])
    for axis, group in enumerate(groups):
        places = group.places(box)
        flat = flat[(slice(None),) * axis + (places,)] if isinstance(places, slice) else flat.take(places, axis=axis)
    return flat.reshape(_lengths(box))


def _lengths(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def _size(box: Box) -> int:
    return prod(_lengths(box))


def _with(box: Box, axis: int, pair: tuple[int, int]) -> Box:
    return (*box[:axis], pair, *box[axis + 1 :])


def _halves(box: Box, axis: int) -> tuple[Box, Box]:
    start, stop = box[axis]
    middle = (start + stop) // 2
    return _with(box, axis, (start, middle)), _with(box, axis, (middle, stop))
