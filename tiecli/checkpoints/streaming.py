"""Streaming: a leaf from front to back, a few MiB at a time."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.boxes import BLOCK_NBYTES
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath


def stream_leaf(reader: CheckpointReader, path: KeyPath) -> Iterator[memoryview]:
    """Yields the bytes of a leaf in C order; each block is overwritten by the next.

    Raises:
        CheckpointError: It cannot be read, or not be decoded.
    """
    nbytes = reader.specs()[path].nbytes
    buffer = memoryview(bytearray(min(nbytes, BLOCK_NBYTES)))
    for offset in range(0, nbytes, BLOCK_NBYTES):
        block = buffer[: nbytes - offset]
        reader.read_into(path, offset, block)
        yield block
