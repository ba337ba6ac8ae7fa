"""Rooting: what is recorded of a tie whose canonical leaf becomes an alias itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare.streams import digest_blocks, digest_leaf, transformed_blocks
from tiecli.digests import is_of_stored
from tiecli.keypaths import KeyPath
from tiecli.manifest import TieRecord
from tiecli.ties import Tie


def root_anew(reader: CheckpointReader, record: TieRecord, tie: Tie, known: Mapping[KeyPath, TieRecord]) -> TieRecord:
    """Gives the record of a tie that goes on, from another leaf.

    Args:
        reader: The checkpoint, which still stores the leaf that it went from.
        record: What is recorded of it now.
        tie: What it becomes.
        known: The records of all ties, by their aliases.

    Raises:
        ChunkError: A stored chunk does not decode.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    specs, alias_digest = reader.specs(), record.alias_digest
    if is_of_stored(alias_digest) and specs.keys() >= {*record.tie.canonicals}:
        # How one leaf is stored tells nothing of what another gives; values do.
        blocks = transformed_blocks(reader, record.tie.canonicals, record.tie.transform, record.alias_spec)
        alias_digest = digest_blocks(blocks)
    inner = [known[path] for path in record.tie.canonicals if path in known]
    if len(inner) == 1 and inner[0].tie.canonicals == tie.canonicals:
        digests = inner[0].canonical_digests
    else:
        digests = tuple(digest_leaf(reader, path) for path in tie.canonicals)
    return replace(
        record,
        tie=tie,
        canonical_specs=tuple(specs[path] for path in tie.canonicals),
        alias_digest=alias_digest,
        canonical_digests=digests,
        exact=record.exact and all(other.exact for other in inner),
        slot="merged" if any(other.slot == "merged" for other in inner) else record.slot,
    )


def renew_records(
    recorded: Mapping[KeyPath, TieRecord], rewritten: Mapping[KeyPath, Callable[[], Iterable[memoryview]]]
) -> Mapping[KeyPath, TieRecord]:
    """Gives the records of ties that go on while leaves get new values, as the state of an optimizer does.

    Args:
        recorded: What is recorded now, by alias.
        rewritten: The leaves that get new values, each with what gives those.
    """
    renewed = dict(recorded)
    for alias, record in recorded.items():
        if not rewritten.keys().isdisjoint(record.tie.canonicals):
            digests = tuple(
                digest_blocks(rewritten[path]()) if path in rewritten else digest
                for path, digest in zip(record.tie.canonicals, record.canonical_digests, strict=True)
            )
            renewed[alias] = replace(record, canonical_digests=digests, exact=False, slot="merged")
    return renewed
