"""Loading: reading what a kernel takes, on both sides."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms.arrays import apply_step, forward
from tiecli.transforms.steps import Cast, Step
from tiecli.verification.buffers import Buffer
from tiecli.verification.coefficients import leaf_key
from tiecli.verification.decoding import encode
from tiecli.verification.hops import clip
from tiecli.verification.plans import Place, Tile
from tiecli.verification.views import Job, View

_Key = tuple[bool, KeyPath, Box]
"""Whether of the tied file, which leaf, which tile."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the two sides are read.

    Attributes:
        tied: The written checkpoint.
        original: The same before tying; None where it is gone.
    """

    tied: CheckpointReader
    original: CheckpointReader | None


class TileLoader:
    """Reads tiles, those of the stored leaves once for all aliases that follow in turn.

    What it gives stays as it is until `at_once` more have been read, in whose memory they come.

    Attributes:
        sources: Where from.
        at_once: How many tiles are needed at the same time.
    """

    def __init__(self, sources: Sources, at_once: int = 1) -> None:
        self.sources = sources
        self.at_once = at_once
        self._leaves: OrderedDict[_Key, tuple[Buffer, NDArray[Any]]] = OrderedDict()
        self._aliases = deque(Buffer() for _ in range(at_once))

    def load(self, job: Job) -> Tile:
        """Reads what one job takes."""
        if job.view is None:
            return self._load_whole(job)
        return self._load_tile(job, job.view)

    def _load_tile(self, job: Job, view: View) -> Tile:
        route, box = view.route, job.box
        path, there = route.path, clip(box, route.source.shape) or box
        image, extent = route.image(box), route.extent(box)
        written = self._read(path, box, there, is_tied=True)
        untied, alias, made = written, None, None
        if view.plan.rounded or self.sources.original is None:
            made = encode(_apply(view.steps, written, route.source), view.plan.alias.form)
        if self.sources.original is not None:
            untied = self._read(path, box, there, is_tied=False)
            self._aliases.rotate()
            found = self._aliases[0].read(self.sources.original, job.tie.alias, image, extent)
            alias = encode(found, view.plan.alias.form)
        form = view.plan.sources[0].form
        return Tile(
            (encode(written, form),),
            (encode(untied, form),),
            made if alias is None else alias,
            made if view.plan.rounded else None,
            (_place(path, box, there),),
            _place(job.tie.alias, image, extent or image, 0.0 if extent is None else _amplitude(job.factor)),
        )

    def _read(self, path: KeyPath, box: Box, there: Box, *, is_tied: bool) -> NDArray[Any]:
        reader = self.sources.tied if is_tied else self.sources.original
        key = is_tied, path, box
        if key not in self._leaves and reader is not None:
            # Two sides of as many tiles as are needed at the same time.
            full = len(self._leaves) == 2 * self.at_once
            buffer = self._leaves.popitem(last=False)[1][0] if full else Buffer()
            self._leaves[key] = buffer, buffer.read(reader, path, box, there)
        self._leaves.move_to_end(key)
        return self._leaves[key][1]

    def _load_whole(self, job: Job) -> Tile:
        tied, original = self.sources.tied, self.sources.original
        boxes = [_whole(tied.specs()[path]) for path in job.tie.canonicals]
        pairs = list(zip(job.tie.canonicals, boxes, strict=True))
        written = [tied.read_block(path, box) for path, box in pairs]
        form = job.plan.alias.form
        made = encode(forward(job.tie.transform, written), form)
        box = tuple((0, length) for length in job.plan.alias.tile)
        forms = [part.form for part in job.plan.sources]
        untied = written if original is None else [original.read_block(path, at) for path, at in pairs]
        return Tile(
            tuple(map(encode, written, forms)),
            tuple(map(encode, untied, forms)),
            made if original is None else encode(original.read_block(job.tie.alias, box), form),
            made if job.plan.rounded else None,
            tuple(_place(path, at, at) for path, at in pairs),
            _place(job.tie.alias, box, box, _amplitude(job.factor)),
        )


def _apply(steps: Sequence[Step], array: NDArray[Any], source: LeafSpec) -> NDArray[Any]:
    """Applies steps to a tile, in the precision of the leaf."""
    dtype = source.dtype
    for step in steps:
        array = apply_step(step, [array], LeafSpec(array.shape, dtype))
        dtype = step.dtype if isinstance(step, Cast) else dtype
    return array


def _whole(spec: LeafSpec) -> Box:
    return tuple((0, length) for length in spec.shape)


def _place(path: KeyPath, box: Box, there: Box, amplitude: float = 1.0) -> Place:
    key = leaf_key(path)
    return Place(
        np.array([key >> 32, key & 0xFFFFFFFF], np.uint32),
        np.array([start for start, _ in box], np.int64),
        np.array([start for start, _ in there], np.int64),
        np.array([stop for _, stop in there], np.int64),
        np.float64(amplitude),
    )


def _amplitude(factor: float) -> float:
    """The power of two that makes up for a scale, so that the alias's gradient weighs as much as its leaf's."""
    return float(2.0 ** -round(log2(factor)))
