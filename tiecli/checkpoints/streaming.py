"""Streaming: a leaf from front to back, a few MiB at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tiecli.boxes import BLOCK_NBYTES
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.checkpoints.storedfile import reading
from tiecli.keypaths import KeyPath


@dataclass(frozen=True, slots=True)
class LeafStream:
    """The bytes of a leaf in C order, read when they are iterated over; each block is overwritten by the next.

    No generator, since one that is not read to its very end keeps its buffer.

    Attributes:
        reader: The checkpoint that holds it.
        path: Which leaf.
    """

    reader: CheckpointReader
    path: KeyPath

    def __iter__(self) -> Iterator[memoryview]:
        nbytes = self.reader.specs()[self.path].nbytes
        buffer = memoryview(bytearray(min(nbytes, BLOCK_NBYTES)))
        for offset in range(0, nbytes, BLOCK_NBYTES):
            block = buffer[: nbytes - offset]
            with reading(str(self.reader.root)):
                self.reader.read_into(self.path, offset, block)
            yield block
