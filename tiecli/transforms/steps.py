"""Steps: the closed vocabulary that a transform is piped together from."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from tiecli.errors import TransformSyntaxError
from tiecli.leaves import DType

MAX_STEPS = 16
"""Longest pipe."""

MAX_RANK = 8
"""Most axes of a leaf that is transformed, and most named axes in an einops pattern."""

MAX_LENGTH = 2**48
"""Every length, position and count in a transform is smaller than this."""


def _check_rank(what: str, count: int) -> None:
    if count > MAX_RANK:
        raise TransformSyntaxError(f"found {count} {what}, expected at most {MAX_RANK}")


def _check_axis(axis: int) -> None:
    if not -MAX_RANK <= axis < MAX_RANK:
        raise TransformSyntaxError(f"found axis {axis}, expected one from {-MAX_RANK} to {MAX_RANK - 1}")


def _check_length(what: str, value: int, *, least: int = 1 - MAX_LENGTH) -> None:
    if not least <= value < MAX_LENGTH:
        raise TransformSyntaxError(f"found {what} {value}, expected one from {least} to {MAX_LENGTH - 1}")


@dataclass(frozen=True, slots=True)
class Permute:
    """Reorders axes: axis `k` of the result is axis `axes[k]` of the input."""

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_rank("axes", len(self.axes))
        if sorted(self.axes) != list(range(len(self.axes))):
            found = ",".join(map(str, self.axes))
            raise TransformSyntaxError(f"`transpose({found})` does not name each axis from 0 on once")


@dataclass(frozen=True, slots=True)
class Rearrange:
    """Splits, permutes and merges axes, as an einops pattern says.

    The named axes are numbered in the order of the left side, so that the names chosen
    make no difference.

    Attributes:
        left: For each axis of the input, the named axes it splits into; `()` has length 1.
        right: For each axis of the result, the named axes it merges; `()` has length 1.
        sizes: The length of each named axis, None where the input's shape decides it.
    """

    left: tuple[tuple[int, ...], ...]
    right: tuple[tuple[int, ...], ...]
    sizes: tuple[int | None, ...]

    def __post_init__(self) -> None:
        for side in (self.left, self.right, self.sizes):
            _check_rank("axes in a pattern", len(side))
        for size in self.sizes:
            if size is not None:
                _check_length("axis size", size, least=1)
        axes = list(range(len(self.sizes)))
        if [axis for group in self.left for axis in group] != axes:
            raise TransformSyntaxError("a pattern's left side names each axis once, numbered from the left")
        if sorted(axis for group in self.right for axis in group) != axes:
            raise TransformSyntaxError("a pattern names the same axes on both sides, each once")
        for group in self.left:
            if sum(self.sizes[axis] is None for axis in group) > 1:
                raise TransformSyntaxError("a group on a pattern's left side needs the sizes of all its axes but one")


@dataclass(frozen=True, slots=True)
class Index:
    """Takes one layer of an axis, which goes away; counts from the end if negative."""

    at: int

    def __post_init__(self) -> None:
        _check_length("index", self.at)


@dataclass(frozen=True, slots=True)
class Range:
    """Takes every `step`-th layer of an axis; what is None reaches to the end."""

    start: int | None = None
    stop: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        for bound in (self.start, self.stop, self.step):
            if bound is not None:
                _check_length("slice bound", bound)
        if self.step == 0:
            raise TransformSyntaxError("a slice's step is not zero")


FULL = Range()
Item = Index | Range


@dataclass(frozen=True, slots=True)
class Slice:
    """Takes static slices: `head` from the first axis on, `tail` up to the last one."""

    head: tuple[Item, ...]
    tail: tuple[Item, ...] = ()

    def __post_init__(self) -> None:
        _check_rank("slices", len(self.head) + len(self.tail))


@dataclass(frozen=True, slots=True)
class Reshape:
    """Reads the elements in C order into another shape; one length may be -1."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_rank("lengths", len(self.shape))
        for length in self.shape:
            _check_length("length", length, least=-1)
        if self.shape.count(-1) > 1:
            raise TransformSyntaxError("a new shape leaves one length open at most, found -1 more than once")


@dataclass(frozen=True, slots=True)
class Flip:
    """Reverses the order of the layers of an axis."""

    axis: int

    def __post_init__(self) -> None:
        _check_axis(self.axis)


@dataclass(frozen=True, slots=True)
class Pad:
    """Adds layers of zeros before and after those of an axis."""

    axis: int
    before: int
    after: int

    def __post_init__(self) -> None:
        _check_axis(self.axis)
        _check_length("padding", self.before, least=0)
        _check_length("padding", self.after, least=0)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Repeats each layer of an axis `count` times, the copies next to each other."""

    axis: int
    count: int

    def __post_init__(self) -> None:
        _check_axis(self.axis)
        _check_length("repeat count", self.count, least=1)


@dataclass(frozen=True, slots=True)
class Concat:
    """Joins several sources along an axis that they have."""

    axis: int

    def __post_init__(self) -> None:
        _check_axis(self.axis)


@dataclass(frozen=True, slots=True)
class Stack:
    """Joins several sources of one shape along a new axis."""

    axis: int

    def __post_init__(self) -> None:
        _check_axis(self.axis)


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiplies by a constant, in the leaf's own arithmetic."""

    factor: float

    def __post_init__(self) -> None:
        if not isfinite(self.factor) or self.factor == 0:
            raise TransformSyntaxError(f"a scale is finite and not zero, found {self.factor}")


@dataclass(frozen=True, slots=True)
class Negate:
    """Flips the sign of every element."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Converts to another dtype, rounding to nearest even."""

    dtype: DType

    def __post_init__(self) -> None:
        if self.dtype.kind == "packed":
            raise TransformSyntaxError(f"nothing can be cast to {self.dtype}, whose elements are smaller than a byte")


@dataclass(frozen=True, slots=True)
class Conjugate:
    """Takes the complex conjugate; leaves real elements alone."""


Joining = Concat | Stack
Structural = Permute | Rearrange | Slice | Reshape | Flip | Pad | Repeat | Concat | Stack
Elementwise = Scale | Negate | Cast | Conjugate
Step = Structural | Elementwise
