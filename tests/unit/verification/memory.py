"""Checkpoints in memory, for what only reads specs and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.transforms.arrays import array_spec
from tiecli.verification.devices import choose_device
from tiecli.verification.groups import group_ties
from tiecli.verification.probe import ProbeResult, Sources, probe_group

Leaves = Mapping[str, NDArray[Any]]


class MemoryReader:
    """Leaves by name, read as a reader would; `held` is the largest block that was asked for."""

    def __init__(self, leaves: Leaves) -> None:
        self.leaves = {KeyPath.from_name(name): np.ascontiguousarray(array) for name, array in leaves.items()}
        self.leaves = {path: self.leaves[path].reshape(leaves[path.spelling].shape) for path in self.leaves}
        self.held = 0

    def specs(self) -> Mapping[KeyPath, LeafSpec]:
        """Every leaf."""
        return {path: array_spec(array) for path, array in self.leaves.items()}

    def read_block(self, path: KeyPath, box: Box) -> NDArray[Any]:
        """One block."""
        block = np.array(self.leaves[path][tuple(slice(*pair) for pair in box)], order="C", ndmin=0)
        self.held = max(self.held, block.nbytes)
        return block

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Some bytes."""
        self.held = max(self.held, len(buffer))
        buffer[:] = self.leaves[path].reshape(-1).view(np.uint8).data[offset : offset + len(buffer)]


def in_memory(leaves: Leaves) -> CheckpointReader:
    """Gives leaves as a checkpoint."""
    return cast(CheckpointReader, MemoryReader(leaves))


def make_ties(*texts: str) -> TieSet:
    """Reads ties as they are shown: `alias = canonical | transform`, several leaves in brackets."""
    ties = []
    for text in texts:
        alias, right = text.split(" = ")
        names, _, transform = right.partition(" | ")
        paths = tuple(KeyPath.from_name(name) for name in names.strip("()").split(", "))
        ties.append(Tie(KeyPath.from_name(alias), paths, Transform.parse(transform or "same")))
    return TieSet(tuple(ties))


def probe(tied: Leaves, original: Leaves | None, *texts: str) -> dict[str, ProbeResult]:
    """Probes ties that share leaves, on the CPU."""
    (group,) = group_ties(make_ties(*texts))
    sources = Sources(in_memory(tied), None if original is None else in_memory(original))
    return {alias.spelling: found for alias, found in probe_group(group, sources, choose_device("cpu")).items()}


def probe_one(tied: Leaves, original: Leaves | None, text: str) -> ProbeResult:
    """Probes one tie."""
    (found,) = probe(tied, original, text).values()
    return found
