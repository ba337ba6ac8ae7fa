"""Memory: the arrays of a running program, read as if they were a checkpoint."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tiecli.boxes import Box
from tiecli.checkpoints.protocol import RAW, Extent, LeafStorage, Piece, StoredForm
from tiecli.errors import LeafNotFoundError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tiecli.manifest import Manifest
    from tiecli.ties import Tie


class ArrayReader:
    """Reads arrays, each fetched from its device when it is asked for; one at a time is kept.

    Attributes:
        arrays: numpy or JAX arrays by name.
    """

    format = "memory"
    files: tuple[str, ...] = ()
    other_nodes: tuple[tuple[KeyPath, str], ...] = ()
    root = Path("memory")

    def __init__(self, arrays: Mapping[KeyPath, Any], specs: Mapping[KeyPath, LeafSpec]) -> None:
        self.arrays = arrays
        self._specs = specs
        self._fetched: tuple[KeyPath, NDArray[Any]] | None = None

    @cached_property
    def permissions(self) -> os.stat_result:
        """What a file that this program creates may be read and written by."""
        # There is no asking without setting; for that moment new files are private.
        mask = os.umask(0o077)
        os.umask(mask)
        return os.stat_result((stat.S_IFREG | (0o666 & ~mask), *[0] * 9))

    def describe(self) -> str:
        """Says nothing: memory has no layout."""
        return ""

    def specs(self) -> Mapping[KeyPath, LeafSpec]:
        """Returns every array's shape and dtype."""
        return self._specs

    def metadata(self) -> Mapping[str, str]:
        """Returns nothing."""
        return {}

    def custom_metadata(self) -> Mapping[str, object]:
        """Returns nothing."""
        return {}

    def manifest(self) -> Manifest | None:
        """Returns None: memory records no ties."""
        return None

    def text(self, name: str) -> str | None:  # noqa: ARG002
        """Returns None: there are no files."""
        return None

    def file_of(self, path: KeyPath) -> str:
        """Returns the empty text."""
        self._check(path)
        return ""

    def storage(self, path: KeyPath) -> LeafStorage:
        """Returns how large an array is."""
        self._check(path)
        return LeafStorage("", self._specs[path].nbytes)

    def stored_form(self, path: KeyPath) -> StoredForm:
        """Returns the form of plain values, at no place that could be compared."""
        self._check(path)
        return StoredForm(RAW, (self._specs[path].nbytes,), ())

    def extent(self, path: KeyPath) -> Extent | None:
        """Returns None: no file has the bytes."""
        self._check(path)
        return None

    def shares_bytes(self, path: KeyPath, other: KeyPath) -> bool:
        """Whether both are one leaf."""
        return path == other

    def read_stored(self, path: KeyPath, part: int, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` as `read_into` does: an array has one part."""
        if part:
            raise IndexError(f"part {part} of an array that has one")
        self.read_into(path, offset, buffer)

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with bytes of an array in C order, from its byte `offset` on.

        Raises:
            LeafNotFoundError: There is no such array.
        """
        flat = self._bytes(path)
        buffer.cast("B")[:] = flat[offset : offset + buffer.nbytes]

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        """Reads many short pieces of an array's bytes, one after another.

        Raises:
            LeafNotFoundError: There is no such array.
        """
        flat = self._bytes(path)
        return b"".join(flat[offset : offset + length] for offset, length in pieces)

    def expect_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> None:
        """Does nothing: memory needs no notice."""

    def read_block(self, path: KeyPath, box: Box) -> NDArray[np.generic]:
        """Reads one block of an array, as a fresh C-ordered one.

        Raises:
            LeafNotFoundError: There is no such array.
        """
        return self._fetch(path)[tuple(slice(start, stop) for start, stop in box)].copy(order="C")

    def can_share(self, tie: Tie) -> bool:  # noqa: ARG002
        """Returns False: memory is not written to."""
        return False

    def check_unchanged(self) -> None:
        """Does nothing: whoever saves a tree does not change it meanwhile."""

    def close(self) -> None:
        """Lets go of the array that was fetched last."""
        self._fetched = None

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()

    def _check(self, path: KeyPath) -> None:
        if path not in self._specs:
            raise LeafNotFoundError(f"there is no array `{path.spelling}`")

    def _fetch(self, path: KeyPath) -> NDArray[Any]:
        from tiecli.transforms.casts import to_numpy

        self._check(path)
        if self._fetched is None or self._fetched[0] != path:
            self._fetched = path, to_numpy(self.arrays[path])
        return self._fetched[1]

    def _bytes(self, path: KeyPath) -> memoryview:
        import numpy as np

        array = np.ascontiguousarray(self._fetch(path))
        if array is not self._fetch(path):
            # Turned into C order once, not for every piece.
            self._fetched = path, array
        return array.reshape(-1).view(np.uint8).data
