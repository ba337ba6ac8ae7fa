"""Inspecting: what is in a checkpoint, and which of its leaves are tied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints import open_reader
from tiecli.declared import TieSource, list_ties
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

SortKey = Literal["stored", "name", "size", "dtype"]


class InspectedLeaf(NamedTuple):
    """One stored leaf: where it stands, what it is, which file holds it."""

    path: KeyPath
    spec: LeafSpec
    shard: str


@dataclass(frozen=True, slots=True)
class InspectedTie:
    """One tie of a checkpoint.

    Attributes:
        alias: On-disk name of the leaf that follows.
        canonical: On-disk name of the leaf it follows from.
        transform: How, in canonical text.
        source: Who says so: tiecli's manifest, the file's metadata, or the model's config.
        stored_twice: Whether the alias is stored all the same.
    """

    alias: str
    canonical: str
    transform: str
    source: TieSource
    stored_twice: bool


@dataclass(frozen=True, slots=True)
class InspectReport:
    """What is in a checkpoint.

    Attributes:
        root: The file or directory.
        format: `safetensors`.
        files: Files that hold leaves.
        leaves: The leaves that the filter let through, in the order asked for.
        leaf_count: All stored leaves, whatever the filter.
        nbytes: Bytes of all stored leaves.
        dtypes: Dtype names with how many leaves have each.
        ties: Who follows whom.
        metadata: The file's own metadata, without tiecli's.
    """

    root: Path
    format: str
    files: tuple[str, ...]
    leaves: tuple[InspectedLeaf, ...]
    leaf_count: int
    nbytes: int
    dtypes: Mapping[str, int]
    ties: tuple[InspectedTie, ...]
    metadata: Mapping[str, str]


def inspect(checkpoint: str | Path, *, select: str | None = None, sort: SortKey = "stored") -> InspectReport:
    """Lists the leaves and ties of a checkpoint, from its headers alone.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, or any file of one.
        select: Key pattern; leaves that do not match are left out of `leaves`.
        sort: Order of `leaves`; sizes come largest first.

    Raises:
        CheckpointError: The checkpoint cannot be trusted or read.
        LeafNotFoundError: The pattern matches no leaf.
    """
    with open_reader(Path(checkpoint)) as reader:
        specs = reader.specs()
        chosen = list(specs)
        if select is not None:
            from tiecli.patterns import select_leaves

            chosen = list(select_leaves(select, specs))
        leaves = [InspectedLeaf(path, specs[path], reader.file_of(path)) for path in chosen]
        ties = tuple(
            InspectedTie(tie.alias.spelling, tie.canonical, tie.transform, tie.source, tie.alias in specs)
            for tie in list_ties(reader)
        )
        alike = Counter(specs.values())
        dtypes: Counter[str] = Counter()
        for spec, count in alike.items():
            dtypes[spec.dtype.name] += count
        return InspectReport(
            root=reader.root,
            format="safetensors",
            files=reader.files,
            leaves=tuple(_sort_leaves(leaves, sort)),
            leaf_count=len(specs),
            nbytes=sum(spec.nbytes * count for spec, count in alike.items()),
            dtypes=dict(dtypes.most_common()),
            ties=ties,
            metadata=reader.metadata(),
        )


def _sort_leaves(leaves: list[InspectedLeaf], sort: SortKey) -> list[InspectedLeaf]:
    match sort:
        case "stored":
            return leaves
        case "name":
            return sorted(leaves, key=lambda leaf: leaf.path.spelling)
        case "size":
            return sorted(leaves, key=lambda leaf: -leaf.spec.nbytes)
        case "dtype":
            return sorted(leaves, key=lambda leaf: leaf.spec.dtype.name)
