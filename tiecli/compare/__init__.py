"""Comparing: a leaf against what a transform makes of others: equal, how far off, as bytes, as digests."""

from __future__ import annotations

from tiecli.compare.leaves import CHUNK_NBYTES, Comparison, compare_leaf, describe_drift
from tiecli.compare.rooting import renew_records, root_anew
from tiecli.compare.stored import equal_as_stored
from tiecli.compare.streams import digest_blocks, digest_leaf, has_digest, transformed_blocks

__all__ = [
    "CHUNK_NBYTES",
    "Comparison",
    "compare_leaf",
    "describe_drift",
    "digest_blocks",
    "digest_leaf",
    "equal_as_stored",
    "has_digest",
    "renew_records",
    "root_anew",
    "transformed_blocks",
]
