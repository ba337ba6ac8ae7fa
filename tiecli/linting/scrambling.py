"""Scrambling: leaves of the same bytes under transposed shapes, as a writer leaves them that forgets about strides."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from tiecli.checkpoints.protocol import RAW
from tiecli.compare.streams import digest_values
from tiecli.detect.subjects import core_shape

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader
    from tiecli.keypaths import KeyPath
    from tiecli.leaves import LeafSpec

Item = TypeVar("Item")
Pair = tuple["KeyPath", "KeyPath"]

# Of fewer elements, equal ones are chance; many integers count or point, and are alike for that.
_LEAST_ELEMENTS = 16
_LEAST_INTEGERS = 1024
_SAMPLES, _SAMPLE_NBYTES = 8, 64


def find_scrambled(reader: CheckpointReader) -> Iterator[Pair]:
    """Finds pairs of leaves that hold the same bytes under transposed shapes, in stored order.

    Samples come first, and whole leaves are read only to prove what they suggest.

    Args:
        reader: The checkpoint.

    Raises:
        CheckpointError: A leaf cannot be read.
    """
    specs = reader.specs()
    matrices = [path for path, spec in specs.items() if _is_matrix(spec)]
    for family in _group(matrices, lambda path: (specs[path].dtype, core_shape(specs[path].shape))):
        if not _differ(reader, family):
            continue
        for alike in _group(family, lambda path: _sample(reader, path)):
            if _differ(reader, alike) and _is_telling(_sample(reader, alike[0]), specs[alike[0]]):
                for first, *others in _group(alike, lambda path: digest_values(reader, path)):
                    yield from ((first, other) for other in others if _differ(reader, (first, other)))


def _is_matrix(spec: LeafSpec) -> bool:
    least = _LEAST_INTEGERS if spec.dtype.kind == "integer" else _LEAST_ELEMENTS
    return spec.size >= least and len(core_shape(spec.shape)) > 1 and spec.dtype.kind != "bool"


def _differ(reader: CheckpointReader, paths: Iterable[KeyPath]) -> bool:
    """Whether leaves have their axes in more than one order."""
    shapes = (reader.specs()[path].shape for path in paths)
    return len({tuple(length for length in shape if length > 1) for shape in shapes}) > 1


def _sample(reader: CheckpointReader, path: KeyPath) -> bytes:
    """Reads a few bytes of a leaf, at places that depend on its size alone; of a compressed one, from its start."""
    spec = reader.specs()[path]
    wanted = _SAMPLES * _SAMPLE_NBYTES
    if spec.nbytes <= wanted or reader.stored_form(path).encoding != RAW:
        return reader.read_pieces(path, [(0, min(spec.nbytes, wanted))])
    last = spec.nbytes // _SAMPLE_NBYTES - 1
    places = [last * number // (_SAMPLES - 1) * _SAMPLE_NBYTES for number in range(_SAMPLES)]
    return reader.read_pieces(path, [(place, _SAMPLE_NBYTES) for place in places])


def _is_telling(sample: bytes, spec: LeafSpec) -> bool:
    """Whether a sample holds more than one value: constant leaves are alike in any order."""
    width = max(spec.dtype.bits // 8, 1)
    return sample != sample[:width] * (len(sample) // width)


def _group(items: Iterable[Item], key: Callable[[Item], Hashable]) -> Iterator[Sequence[Item]]:
    """Groups items of the same key, those alone left out."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return (group for group in groups.values() if len(group) > 1)
