"""Near pairs: leaves whose samples rise and fall together, though they are not equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.compare.differences import decode
from tiecli.detect.probes import SAMPLES
from tiecli.detect.subjects import Subject
from tiecli.detect.survey import Family, Survey, family_of
from tiecli.keypaths import KeyPath
from tiecli.leaves import DType

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

_NEAR = 0.95
_STILL_NEAR = 0.9
# Of two Gaussians with a correlation of 0.9 six in seven elements agree in sign, of unrelated ones half.
_AGREEING = 0.75
# Up to so many products of two leaves are worked out; beyond, only leaves that fall into one bucket are paired.
_MOST_PRODUCTS = 1 << 22
_MOST_PAIRS_EACH = 16
_TABLES, _BITS, _NEIGHBOURS = 12, 16, 4


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two leaves, the numbers of the orders that line them up, and how they correlate then."""

    first: Subject
    second: Subject
    first_order: int
    second_order: int
    correlation: float

    @property
    def nbytes(self) -> int:
        """How much there is to compare."""
        return self.first.spec.nbytes

    @property
    def paths(self) -> frozenset[KeyPath]:
        """The two leaves."""
        return frozenset((self.first.path, self.second.path))

    def swapped(self) -> NearPair:
        """The same pair the other way round."""
        return NearPair(self.second, self.first, self.second_order, self.first_order, self.correlation)


def find_near(survey: Survey, leaves: Iterable[Subject]) -> list[NearPair]:
    """Finds pairs that correlate, the closest first.

    Args:
        survey: Samples of the leaves.
        leaves: Those to look at, of any float dtypes.
    """
    families: dict[Family, list[Subject]] = {}
    for leaf in leaves:
        if leaf.spec.size >= SAMPLES and survey.samples.has(leaf.path, ("whole",)):
            families.setdefault(family_of(leaf.spec), []).append(leaf)
    pairs = [
        NearPair(members[i], members[j], 0, order, correlation)
        for members in families.values()
        if len(members) > 1
        for i, j, order, correlation in _correlated(_unit_vectors(survey, members))
    ]
    pairs.sort(key=lambda pair: (-abs(pair.correlation), pair.first.place, pair.second.place))
    return pairs


def are_near(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two leaves correlate, by many samples of each, and not because of a few large elements."""
    x, y = _unit(first[None, :])[0], _unit(second[None, :])[0]
    correlation = float(x @ y)
    agreeing = float(np.mean((x > 0) == (y > 0 if correlation > 0 else y < 0)))
    return abs(correlation) > _STILL_NEAR and agreeing > _AGREEING


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
            products = np.triu(turned[:, 0] @ turned[:, order].T, 1)
            for i, j in zip(*_telling_places(np.abs(products)), strict=True):
                yield int(i), int(j), order, float(products[i, j])
        return
    for i, j, order in _bucket_mates(turned):
        low, high = min(i, j), max(i, j)
        correlation = float(turned[low, 0] @ turned[high, order])
        if abs(correlation) > _NEAR:
            yield low, high, order, correlation


def _telling_places(products: Vectors) -> tuple[Indices, Indices]:
    """Picks the near pairs; where everything is near everything, the first and the nearest for each leaf."""
    rows, columns = np.nonzero(products > _NEAR)
    if len(rows) <= _MOST_PAIRS_EACH * len(products):
        return rows, columns
    columns = np.flatnonzero((products > _NEAR).any(axis=0))
    first, nearest = (products > _NEAR).argmax(axis=0)[columns], products.argmax(axis=0)[columns]
    apart = first != nearest
    return np.concatenate((first, nearest[apart])), np.concatenate((columns, columns[apart]))


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
