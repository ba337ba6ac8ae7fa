"""Sparse leaves: those whose samples all hold one value, told apart by reading them whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiecli.compare import CHUNK_NBYTES
from tiecli.detect.probes import Samples
from tiecli.detect.subjects import Subject
from tiecli.differences import bits_of


def fingerprint_sparse(samples: Samples, subject: Subject, background: int) -> bytes | None:
    """Digests which values a leaf holds and how often, in whatever order.

    Args:
        samples: Where the reading is counted.
        subject: The leaf.
        background: The bits that all samples hold.

    Returns:
        The digest, or None for a leaf that holds one value throughout; that is noted.
    """
    nbytes, dtype = subject.spec.nbytes, subject.spec.dtype
    total = np.zeros(2, np.uint64)
    for offset in range(0, nbytes, CHUNK_NBYTES):
        buffer = bytearray(min(CHUNK_NBYTES, nbytes - offset))
        samples.reader.read_into(subject.path, offset, memoryview(buffer))
        bits = bits_of(buffer, dtype)
        # Almost all of a sparse leaf is the one value, which needs no arithmetic.
        others = bits[bits != background].astype(np.uint64)
        total += (np.uint64(others.size), _mix(others).sum(dtype=np.uint64))
    samples.count(nbytes, subject.path)
    if not total[0]:
        samples.constant.add(subject.path)
        return None
    return total.tobytes() + str(background).encode()


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Source: the finaliser of splitmix64, S. Vigna, public domain.
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
