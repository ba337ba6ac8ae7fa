"""Tails: zeros at the end of a file, as a download leaves them that was cut short after room was made for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tiecli.linting.exempt import may_be_zero

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader, Extent
    from tiecli.keypaths import KeyPath
    from tiecli.linting.statistics import LeafStatistics

# Less than a page is nothing, one byte in a hundred much; so is a MiB, however large the file.
_LEAST_NBYTES = 4 << 10
_LEAST_SHARE = 0.01
_MUCH_NBYTES = 1 << 20


class ZeroTail(NamedTuple):
    """The zeros at the end of one file.

    Attributes:
        file: Its name within the checkpoint.
        nbytes: How many there are.
        file_nbytes: How many bytes the file has.
        leaves: The leaves of nothing but zeros, from the end on.
        cut: The leaf in whose midst the zeros begin; empty if they begin with a leaf.
    """

    file: str
    nbytes: int
    file_nbytes: int
    leaves: tuple[str, ...]
    cut: str


def find_zero_tails(reader: CheckpointReader, statistics: Mapping[str, LeafStatistics]) -> tuple[ZeroTail, ...]:
    """Finds the files that end in zeros which nothing but damage explains.

    Nothing else does where the zeros begin in the midst of a row of weights, or begin in the
    midst of a leaf and run on through all of another, or fill several leaves that should not be zero.

    Args:
        reader: The checkpoint; of safetensors files, which are one leaf after another.
        statistics: What its values are like.
    """
    by_file: dict[str, list[tuple[Extent, KeyPath]]] = {}
    for path in reader.specs():
        extent = reader.extent(path)
        if extent is not None and extent.nbytes:
            by_file.setdefault(extent.file, []).append((extent, path))
    tails = (_measure_tail(reader, statistics, sorted(found, key=_end, reverse=True)) for found in by_file.values())
    return tuple(tail for tail in tails if tail is not None)


def _end(leaf: tuple[Extent, KeyPath]) -> int:
    return leaf[0].offset + leaf[0].nbytes


def _measure_tail(
    reader: CheckpointReader, statistics: Mapping[str, LeafStatistics], leaves: Iterable[tuple[Extent, KeyPath]]
) -> ZeroTail | None:
    """Follows the zeros of one file from its end on."""
    whole: list[str] = []
    nbytes = end = evidence = 0
    name, cut = "", ""
    for extent, path in leaves:
        name, end = extent.file, max(end, _end((extent, path)))
        spec, found = reader.specs()[path], statistics.get(path.spelling)
        zeros = found.zero_tail if found else 0
        nbytes += zeros
        telling = not may_be_zero(path.spelling, spec)
        if zeros < extent.nbytes:
            cut = path.spelling if zeros else ""
            row = extent.nbytes // spec.shape[0] if spec.shape else extent.nbytes
            evidence += telling and zeros % row > 0
            break
        whole.append(path.spelling)
        evidence += telling
    enough = nbytes >= max(_LEAST_NBYTES, min(_MUCH_NBYTES, _LEAST_SHARE * end))
    if not enough or evidence < (1 if cut else 2):
        return None
    return ZeroTail(name, nbytes, end, tuple(whole), cut)
