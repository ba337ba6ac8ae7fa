"""Inspecting: what is in a checkpoint, and which of its leaves are tied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, LeafStorage, Selection
from tiecli.declared import DeclaredTie, TieSource, list_ties
from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.leaves import LeafSpec

SortKey = Literal["stored", "name", "size", "dtype"]


class InspectedLeaf(NamedTuple):
    """One stored leaf: where it stands, what it is, how it is stored."""

    path: KeyPath
    spec: LeafSpec
    storage: LeafStorage


@dataclass(frozen=True, slots=True)
class InspectedTie:
    """One tie of a checkpoint.

    Attributes:
        alias: The leaf that follows.
        canonicals: The leaves it follows from; one, but for `concat` and `stack`.
        transform: How, in canonical text.
        source: Who says so: tiecli's manifest, the file's metadata, or the model's config.
        stored_twice: Whether the alias has stored bytes of its own all the same.
        shares_bytes: Whether the alias is a second name of the canonical leaf's stored
            bytes, so that a plain restore gives both.
    """

    alias: KeyPath
    canonicals: tuple[KeyPath, ...]
    transform: str
    source: TieSource
    stored_twice: bool
    shares_bytes: bool

    @property
    def canonical(self) -> str:
        """What it follows from as people see it; several are written `(a, b)`."""
        return spell_leaves(self.canonicals)


@dataclass(frozen=True, slots=True)
class InspectReport:
    """What is in a checkpoint.

    Attributes:
        root: The file or directory.
        format: `safetensors` or `orbax`.
        description: Which part of the checkpoint this is and how it is laid out, for people.
        files: Files that hold leaves.
        leaves: The leaves that the filter let through, in the order asked for.
        leaf_count: All stored leaves, whatever the filter.
        nbytes: Bytes of all stored leaves.
        stored_nbytes: What they take up, compressed if they are, shared bytes once.
        dtypes: Dtype names with how many leaves have each.
        ties: Who follows whom.
        metadata: The file's own metadata, without tiecli's.
        other_nodes: Places of the tree that hold no array, each with what it holds.
    """

    root: Path
    format: str
    description: str
    files: tuple[str, ...]
    leaves: tuple[InspectedLeaf, ...]
    leaf_count: int
    nbytes: int
    stored_nbytes: int
    dtypes: Mapping[str, int]
    ties: tuple[InspectedTie, ...]
    metadata: Mapping[str, str]
    other_nodes: tuple[tuple[KeyPath, str], ...]


def inspect(
    checkpoint: str | Path,
    *,
    select: str | None = None,
    sort: SortKey = "stored",
    step: int | None = None,
    item: str | None = None,
) -> InspectReport:
    """Lists the leaves and ties of a checkpoint, from its headers alone.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, or an Orbax checkpoint,
            step or item.
        select: Key pattern; leaves that do not match are left out of `leaves`.
        sort: Order of `leaves`; sizes come largest first.
        step: A step of an Orbax checkpoint; None for the latest.
        item: An item of an Orbax step; None for the only one.

    Raises:
        CheckpointError: The checkpoint cannot be trusted or read.
        LeafNotFoundError: The pattern matches no leaf.
        PartNotFoundError: There is no such step or item.
    """
    with open_reader(Path(checkpoint), Selection(step, item)) as reader:
        specs = reader.specs()
        leaves = [InspectedLeaf(path, spec, reader.storage(path)) for path, spec in specs.items()]
        ties = tuple(_inspect_tie(reader, tie) for tie in list_ties(reader))
        shared = sum(reader.storage(tie.alias).nbytes for tie in ties if tie.shares_bytes)
        stored = sum(leaf.storage.nbytes for leaf in leaves) - shared
        if select is not None:
            from tiecli.patterns import select_leaves

            chosen = frozenset(select_leaves(select, specs))
            leaves = [leaf for leaf in leaves if leaf.path in chosen]
        alike = Counter(specs.values())
        dtypes: Counter[str] = Counter()
        for spec, count in alike.items():
            dtypes[spec.dtype.name] += count
        return InspectReport(
            root=reader.root,
            format=reader.format,
            description=reader.describe(),
            files=reader.files,
            leaves=tuple(_sort_leaves(leaves, sort)),
            leaf_count=len(specs),
            nbytes=sum(spec.nbytes * count for spec, count in alike.items()),
            stored_nbytes=stored,
            dtypes=dict(dtypes.most_common()),
            ties=ties,
            metadata=reader.metadata(),
            other_nodes=reader.other_nodes,
        )


def _inspect_tie(reader: CheckpointReader, tie: DeclaredTie) -> InspectedTie:
    """Looks up how both sides of a tie are stored."""
    specs = reader.specs()
    stored = tie.alias in specs and all(path in specs for path in tie.canonicals)
    shares = stored and len(tie.canonicals) == 1 and reader.shares_bytes(tie.alias, tie.canonicals[0])
    twice = tie.alias in specs and not shares
    return InspectedTie(tie.alias, tie.canonicals, tie.transform, tie.source, twice, shares)


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
