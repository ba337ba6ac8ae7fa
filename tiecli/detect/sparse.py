"""Sparse leaves: those whose samples all hold one value, told apart by where they hold others."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from tiecli.compare import CHUNK_NBYTES
from tiecli.compare.differences import Bits, bits_of
from tiecli.detect.probes import Samples, stored_spec
from tiecli.detect.subjects import Subject, axis_orders, core_shape

Words = NDArray[np.uint64]


def fingerprint_sparse(samples: Samples, subject: Subject, background: int) -> Words | None:
    """Digests a leaf by the elements that differ from most, and where they are.

    Args:
        samples: Where the reading is counted.
        subject: The leaf.
        background: The bits that all samples hold.

    Returns:
        One row for each way to turn the leaf, as its samples have; None for a leaf that holds
        one value throughout, which is noted.
    """
    first = samples.stand_in(subject.path)
    if first in samples.sparse or first in samples.constant:
        samples.constant.update({subject.path} if first in samples.constant else ())
        return samples.sparse.get(first)
    nbytes, spec = subject.spec.nbytes, stored_spec(subject.spec)
    total = np.zeros((len(axis_orders(spec.shape)), 2), np.uint64)
    for offset in range(0, nbytes, CHUNK_NBYTES):
        buffer = bytearray(min(CHUNK_NBYTES, nbytes - offset))
        samples.reader.read_into(subject.path, offset, memoryview(buffer))
        bits = bits_of(buffer, spec.dtype)
        found = np.flatnonzero(bits != background)
        if found.size:
            total += _digest(bits[found], found + offset * 8 // spec.dtype.bits, spec.shape)
    samples.count(nbytes, subject.path)
    if not total.any():
        samples.constant.add(subject.path)
        return None
    return total


def _digest(values: Bits, places: NDArray[np.intp], shape: tuple[int, ...]) -> Words:
    """Adds up, for each way to turn the shape, what does not depend on the order of the elements."""
    core = core_shape(shape)
    strides = [prod(core[axis + 1 :]) for axis in range(len(core))]
    index = np.unravel_index(places, shape)
    rows = []
    for order in axis_orders(shape):
        turned = sum((index[axis] * stride for axis, stride in zip(order, strides, strict=True)), np.zeros_like(places))
        mixed = _mix(turned.astype(np.uint64) ^ _mix(values.astype(np.uint64)))
        rows.append((np.uint64(len(values)), mixed.sum(dtype=np.uint64)))
    return np.array(rows, np.uint64)


def _mix(values: Words) -> Words:
    # Source: the finaliser of splitmix64, S. Vigna, public domain.
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
