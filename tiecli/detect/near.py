"""Near pairs: leaves whose samples rise and fall together, though they are not equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.detect.probes import SAMPLES
from tiecli.detect.subjects import Subject
from tiecli.detect.survey import Survey
from tiecli.differences import decode
from tiecli.leaves import DType

Vectors = NDArray[np.float32]

_NEAR = 0.95
_STILL_NEAR = 0.9
# Up to so many products of two leaves are worked out; beyond, only leaves that fall into one bucket are paired.
_MOST_PRODUCTS = 1 << 22
_TABLES, _BITS, _NEIGHBOURS = 12, 16, 4


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two leaves, the second turned by its `order`-th order, and how they correlate."""

    first: Subject
    second: Subject
    order: int
    correlation: float

    @property
    def nbytes(self) -> int:
        """How much there is to compare."""
        return self.first.spec.nbytes


def find_near(survey: Survey, members: Sequence[Subject]) -> list[NearPair]:
    """Finds pairs of one family that correlate, the closest first.

    Args:
        survey: Their samples.
        members: Leaves of one family, of any float dtypes.
    """
    if len(members) < 2 or members[0].spec.size < SAMPLES:
        return []
    turned = _unit_vectors(survey, members)
    pairs = [
        NearPair(members[i], members[j], order, correlation)
        for i, j, order, correlation in _correlated(turned)
    ]
    pairs.sort(key=lambda pair: (-abs(pair.correlation), pair.first.place, pair.second.place))
    return pairs


def are_near(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two leaves correlate, by many samples of each."""
    return bool(abs(float((_unit(first[None, :]) * _unit(second[None, :])).sum())) > _STILL_NEAR)


def _unit_vectors(survey: Survey, members: Sequence[Subject]) -> Vectors:
    by_dtype: dict[DType, list[int]] = {}
    for number, member in enumerate(members):
        by_dtype.setdefault(member.spec.dtype, []).append(number)
    vectors = np.empty((len(members), *survey.samples.section(members[0].path, ("whole",)).shape), np.float32)
    for dtype, numbers in by_dtype.items():
        bits = np.stack([survey.samples.section(members[number].path, ("whole",)) for number in numbers])
        vectors[numbers] = _unit(decode(bits.reshape(-1), dtype).reshape(bits.shape))
    return vectors


def _unit(values: NDArray[Any]) -> Vectors:
    """Takes the mean away and scales to length 1; what holds no spread becomes zero."""
    with np.errstate(all="ignore"):
        wide = np.where(np.isfinite(values), values, 0)
        # Scaled first, so that squares neither overflow nor vanish.
        largest = np.maximum(np.abs(wide).max(axis=-1, keepdims=True), np.finfo(wide.dtype).tiny)
        wide = (wide / largest).astype(np.float32)
        wide -= wide.mean(axis=-1, keepdims=True)
        length = np.sqrt((wide * wide).sum(axis=-1, keepdims=True))
        unit: Vectors = np.divide(wide, length, out=np.zeros_like(wide), where=length > 1e-6)
        return unit


def _correlated(turned: Vectors) -> Iterator[tuple[int, int, int, float]]:
    """Yields `(i, j, order, correlation)` with `i < j` for leaves `[leaves, orders, samples]`."""
    leaves, orders, _ = turned.shape
    if leaves * leaves * orders <= _MOST_PRODUCTS:
        for order in range(orders):
            products = turned[:, 0] @ turned[:, order].T
            for i, j in zip(*np.nonzero(np.triu(np.abs(products) > _NEAR, 1)), strict=True):
                yield int(i), int(j), order, float(products[i, j])
        return
    for i, j, order in _bucket_mates(turned):
        low, high = min(i, j), max(i, j)
        correlation = float(turned[low, 0] @ turned[high, order])
        if abs(correlation) > _NEAR:
            yield low, high, order, correlation


def _bucket_mates(turned: Vectors) -> Iterator[tuple[int, int, int]]:
    """Pairs vectors that lie on the same side of random planes.

    Source: M. Charikar, "Similarity estimation techniques from rounding algorithms", 2002.
    Of two vectors with a correlation of 0.95 nine in ten are paired, of 0.99 all.
    """
    leaves, orders, samples = turned.shape
    flat = turned.reshape(leaves * orders, samples)
    planes = np.random.default_rng(0).standard_normal((_TABLES, samples, _BITS)).astype(np.float32)
    weights = 1 << np.arange(_BITS)
    seen: set[tuple[int, int, int]] = set()
    for table in planes:
        sides = flat @ table > 0
        # A vector and its opposite go into one bucket: a tie may flip the sign.
        codes = np.where(sides[:, 0], sides @ weights, ~sides @ weights)
        by_code = np.argsort(codes, kind="stable")
        for distance in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(codes[by_code[distance:]] == codes[by_code[:-distance]])
            firsts, seconds = by_code[same], by_code[same + distance]
            products = np.abs(np.einsum("ij,ij->i", flat[firsts], flat[seconds]))
            for at in np.flatnonzero(products > _NEAR):
                mates = sorted((divmod(int(firsts[at]), orders), divmod(int(seconds[at]), orders)))
                (i, turned_i), (j, turned_j) = mates
                # One of the two must stand in its first order, as it is held against.
                if i != j and (turned_i == 0 or turned_j == 0):
                    seen.add((i, j, turned_j) if turned_i == 0 else (j, i, turned_i))
    yield from sorted(seen)
