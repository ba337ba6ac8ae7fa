"""Probes: which elements of a leaf to look at first, and reading them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tiecli.checkpoints.protocol import CheckpointReader, Piece, Progress
from tiecli.compare.differences import Bits, bits_of
from tiecli.detect.subjects import Order, Subject, axis_orders, core_shape
from tiecli.detect.threads import run_in_pairs
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms.steps import MAX_RANK

Indices = NDArray[np.int64]
Section = tuple[str | int, ...]
"""What a run of samples is for: `("whole",)`, `("layers",)`, `("prefix", axis, rows)`."""

SMALL_NBYTES = 64 << 10
"""A leaf up to this size is read whole: it takes no longer than its samples do."""

SAMPLES = 64
_TILE = 16
# Samples closer together than this are fetched by one read.
_GAP_NBYTES = 512
# How far shallow samples go: so many elements from the start, or from the ends of as many columns.
_REACH = 1 << 18
_COLUMNS = 64
_MIX = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Probe:
    """Which elements to read of every leaf of one spec.

    Attributes:
        spec: The leaf's shape and dtype; packed leaves count as bytes.
        indices: Positions in C order, for all sections one after another.
        sections: Which of them are for what, and the shape they take.
        runs: Byte offset and length of each read, for a leaf that is not read whole.
        gather: Where in these reads each position is found.
    """

    spec: LeafSpec
    indices: Indices
    sections: Mapping[Section, tuple[slice, tuple[int, ...]]]
    runs: tuple[Piece, ...]
    gather: Indices


def stored_spec(spec: LeafSpec) -> LeafSpec:
    """Gives the spec to sample a leaf by: packed elements cannot be told apart, their bytes can."""
    if spec.dtype.kind == "packed":
        return LeafSpec((spec.nbytes,), DTYPES["U8"])
    return spec if len(spec.shape) <= MAX_RANK else LeafSpec((spec.size,), spec.dtype)


def make_probe(spec: LeafSpec, parts: Mapping[Section, Indices]) -> Probe:
    """Plans the reads for some sections of a leaf."""
    sections: dict[Section, tuple[slice, tuple[int, ...]]] = {}
    start = 0
    for section, part in parts.items():
        sections[section] = (slice(start, start + part.size), part.shape)
        start += part.size
    indices = np.concatenate([part.reshape(-1) for part in parts.values()])
    itemsize = spec.dtype.bits // 8
    if spec.nbytes <= SMALL_NBYTES:
        return Probe(spec, indices, sections, ((0, spec.nbytes),), indices)
    # np.unique would do the same, but brings numpy.ma along.
    order = np.argsort(indices, kind="stable")
    is_first = np.diff(indices[order], prepend=-1) > 0
    places = indices[order][is_first]
    back = np.empty_like(order)
    back[order] = np.cumsum(is_first) - 1
    breaks = np.flatnonzero(np.diff(places) * itemsize > _GAP_NBYTES) + 1
    firsts = places[np.concatenate(([0], breaks))]
    lasts = places[np.concatenate((breaks - 1, [len(places) - 1]))]
    lengths = lasts - firsts + 1
    bases = np.cumsum(lengths) - lengths
    run_of = np.searchsorted(firsts, places, side="right") - 1
    gather = (places - firsts[run_of] + bases[run_of])[back]
    runs = tuple((int(first) * itemsize, int(length) * itemsize) for first, length in zip(firsts, lengths, strict=True))
    return Probe(spec, indices, sections, runs, gather)


def whole_indices(shape: tuple[int, ...], count: int = SAMPLES, *, shallow: bool = False) -> Indices:
    """Samples a leaf where every leaf of the same core shape is sampled too.

    Args:
        shape: The leaf's.
        count: How many samples to take.
        shallow: As for `sample_places`.

    Returns:
        Positions in C order, `[orders, samples]`: one row for each way to turn the leaf.
    """
    core = core_shape(shape)
    places = sample_places(core, count, shallow=shallow)
    return np.stack([places @ _strides(shape, order) for order in axis_orders(shape)])


def layer_indices(shape: tuple[int, ...], *, shallow: bool = False) -> Indices:
    """Samples each layer of a stacked leaf like a leaf of its own, `[layers, orders, samples]`."""
    inner = whole_indices(shape[1:], shallow=shallow)
    starts: Indices = np.arange(shape[0], dtype=np.int64) * prod(shape[1:])
    return starts[:, None, None] + inner


def prefix_indices(shape: tuple[int, ...], axis: int, rows: int, *, shallow: bool = False) -> Indices:
    """Samples the first `rows` layers along an axis; independent of how many layers there are.

    Args:
        shape: The leaf's; of rank 2 at most, or `axis` is 0.
        axis: Along which the leaf may have been cut.
        rows: How many layers may be looked at; 16 at most.
        shallow: Look at the first elements of each layer only.
    """
    width = prod(shape) // shape[axis]
    count = max(_TILE, 2 * SAMPLES // 4)
    tall = min(rows, 4 if width > 1 else rows)
    wide = min(width, max(1, count // (2 * tall)))
    row_stride, column_stride = (1, shape[1]) if len(shape) == 2 and axis == 1 else (width, 1)
    tiles = []
    for number, top in enumerate((0, rows - tall)):
        left = _pick(number, (min(width, _COLUMNS) if shallow else width) - wide + 1)
        tile = np.add.outer((top + np.arange(tall)) * row_stride, (left + np.arange(wide)) * column_stride)
        tiles.append(tile.reshape(-1))
    return np.concatenate(tiles).astype(np.int64)


def sample_places(core: tuple[int, ...], count: int, *, shallow: bool = False) -> Indices:
    """Picks elements of a core shape, `[samples, rank]`: all of a small one, else small tiles.

    Whichever way a leaf is stored, a 4×4 tile touches four pages of it, where 16 single
    elements would touch 16. The places depend on nothing but the arguments.

    Args:
        core: Lengths in ascending order.
        count: How many to pick, if there are as many.
        shallow: Take them from near the start of the leaf, whichever way it is stored: what is
            compressed must be decoded up to the last of them.
    """
    rank = len(core)
    if prod(core) <= count:
        return _all_places(core)
    short = min(4, core[-2]) if rank > 1 else 1
    sides = [1] * rank
    sides[-1] = min(core[-1], _TILE // short)
    if rank > 1:
        sides[-2] = short
    size = prod(core)
    # Elements next to each other lie farthest apart if their axis is the outermost one: `size / length`.
    reach = max(_REACH, size >> 10) if shallow else size
    rooms = [max(1, min(length, reach * length // size) - side + 1) for length, side in zip(core, sides, strict=True)]
    tiles = -(-count // prod(sides))
    corners = np.array(
        [[_pick(tile * rank + axis, room) for axis, room in enumerate(rooms)] for tile in range(tiles)], np.int64
    )
    if rank == 2 and core[0] == core[1]:
        # Each tile has its mirror image, so that both ways to turn a square need the same reads.
        corners[1::2] = corners[: len(corners) // 2 * 2 : 2, ::-1]
    return (corners[:, None, :] + _all_places(tuple(sides))).reshape(-1, rank)[:count]


def _all_places(lengths: tuple[int, ...]) -> Indices:
    return np.indices(lengths, np.int64).reshape(len(lengths), -1).T if lengths else np.zeros((1, 0), np.int64)


def _pick(number: int, choices: int) -> int:
    # Source: Weyl's equidistribution: multiples of the golden ratio spread evenly.
    return ((number + 1) * _MIX % 2**64) * choices >> 64


def _strides(shape: tuple[int, ...], order: Order) -> Indices:
    return np.array([prod(shape[axis + 1 :]) for axis in order], dtype=np.int64)


class Samples:
    """The samples of all leaves that are looked at, and a count of what they cost.

    Attributes:
        reader: The checkpoint.
        compressed: Leaves that must be decoded, up to the last of their samples.
        twins: Leaves known to be equal to another one that is looked at in their place.
        constant: Leaves known to hold one value throughout.
        sparse: Digests of leaves whose samples hold one value, though the leaf does not.
        read_whole: Leaves of which every byte was read.
        bytes_read: How much was read; of compressed leaves, how much was decoded.
    """

    def __init__(self, reader: CheckpointReader, progress: Progress, compressed: Collection[KeyPath] = ()) -> None:
        self.reader = reader
        self.compressed = compressed
        self.twins: Mapping[KeyPath, KeyPath] = {}
        self.constant: set[KeyPath] = set()
        self.sparse: dict[KeyPath, Bits] = {}
        self.read_whole: set[KeyPath] = set()
        self.bytes_read = 0
        self._progress = progress
        self._lock = Lock()
        self._found: dict[KeyPath, tuple[Probe, Bits]] = {}

    def count(self, nbytes: int, *wholes: KeyPath) -> None:
        """Takes note of what was read; may be called from several threads."""
        with self._lock:
            self.bytes_read += nbytes
            self.read_whole.update(wholes)
            self._progress(nbytes)

    def section(self, path: KeyPath, section: Section) -> Bits:
        """Returns the bits of the samples of a leaf that are for one purpose."""
        probe, bits = self._found[path]
        part, shape = probe.sections[section]
        return bits[part].reshape(shape)

    def rows(self, path: KeyPath) -> Bits:
        """Returns what a whole leaf is told by: one row for each way to turn it."""
        return self.sparse[path] if path in self.sparse else self.section(path, ("whole",))

    def has(self, path: KeyPath, section: Section) -> bool:
        """Whether a leaf was sampled for one purpose."""
        return path in self._found and section in self._found[path][0].sections

    def probe_of(self, path: KeyPath) -> Probe:
        """Returns how a leaf was sampled."""
        return self._found[path][0]

    def read(self, wanted: Sequence[tuple[Probe, Sequence[Subject]]]) -> None:
        """Reads the samples of many leaves; asks the system to fetch them from disk all at once first."""
        tasks = [(leaf.path, probe) for probe, leaves in wanted for leaf in leaves if leaf.path not in self.twins]
        large = [task for task in tasks if task[1].spec.nbytes > SMALL_NBYTES]
        for path, probe in large:
            self.reader.expect_pieces(path, probe.runs)
        slow = [task for task in large if task[0] in self.compressed]
        bits = run_in_pairs(lambda task: self._read_one(*task), slow)
        decoded = {path: found for (path, _), found in zip(slow, bits, strict=True)}
        for path, probe in tasks:
            self._found[path] = (probe, decoded[path] if path in decoded else self._read_one(path, probe))
        for path, first in self.twins.items():
            if first in self._found:
                self._found[path] = self._found[first]
            if first in self.constant:
                self.constant.add(path)

    def read_places(self, path: KeyPath, spec: LeafSpec, places: Indices) -> Bits:
        """Reads some more elements of a leaf."""
        return self._read_one(self.stand_in(path), make_probe(stored_spec(spec), {("more",): places}))

    def stand_in(self, path: KeyPath) -> KeyPath:
        """Returns the leaf that is read in place of another: a twin, or itself."""
        return self.twins.get(path, path)

    def _read_one(self, path: KeyPath, probe: Probe) -> Bits:
        raw = self.reader.read_pieces(path, probe.runs)
        bits = bits_of(raw, probe.spec.dtype)
        samples: Bits = bits[probe.gather]
        if probe.spec.nbytes <= SMALL_NBYTES:
            self.count(len(raw), path)
            # The two ends tell for almost all leaves.
            if bits[0] == bits[-1] and (bits == bits[0]).all():
                self.constant.add(path)
        elif path in self.compressed:
            last, length = probe.runs[-1]
            self.count(last + length)
        else:
            self.count(len(raw))
        return samples
