"""Writing: the destination with its new values; its ties go on, with the digests of those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tiecli.checkpoints import open_writer
from tiecli.checkpoints.protocol import (
    CheckpointReader,
    CommitReport,
    Metadata,
    Progress,
    Target,
    ignore_progress,
)
from tiecli.compare import digest_blocks, transformed_blocks
from tiecli.copies.planning import CopyPlan, PlannedCopy
from tiecli.declared import list_shared
from tiecli.errors import TieConflictError
from tiecli.keypaths import KeyPath
from tiecli.manifest import Manifest, TieRecord
from tiecli.transforms import compose


def write_copies(
    source: CheckpointReader,
    destination: CheckpointReader,
    plan: CopyPlan,
    target: Target,
    progress: Progress = ignore_progress,
) -> CommitReport:
    """Writes the destination anew, and publishes it whole or not at all.

    Args:
        source: The checkpoint that values come from.
        destination: The checkpoint that is rewritten.
        plan: Which leaf gets which values.
        target: Where the result goes.
        progress: Told the bytes written.

    Raises:
        TieConflictError: A leaf would change from which, with others that would not, an alias is made.
        TargetError: The target cannot be written.
        SourceChangedError: One of the two changed meanwhile.
    """
    copies = {copy.dst: copy for copy in plan.copies}
    manifest = destination.manifest()
    shared = list_shared(destination)
    records = tuple(_renew(source, record, copies) for record in manifest.records) if manifest else ()
    with open_writer(destination, target) as writer:
        for path in destination.specs():
            if path in copies:
                copy = copies[path]
                blocks = transformed_blocks(source, copy.sources, copy.transform, copy.spec)
                writer.write(path, copy.spec, blocks)
            elif path not in shared:
                writer.keep(path)
        for record in records:
            if record.tie.alias in shared:
                writer.alias(record.tie.alias, record.tie)
        plain = (record.tie for record in records if record.tie.transform.is_same)
        conventional = {tie.alias.spelling: tie.canonical for tie in plain}
        report = writer.commit(Metadata(Manifest(records) if records else None, conventional), progress)
    source.check_unchanged()
    return report


def _renew(source: CheckpointReader, record: TieRecord, copies: Mapping[KeyPath, PlannedCopy]) -> TieRecord:
    """Gives the record of a tie whose canonical leaf may have got new values."""
    tie = record.tie
    changed = [path for path in tie.canonicals if path in copies]
    if not changed:
        return record
    if len(tie.canonicals) > 1:
        raise TieConflictError(
            f"`{changed[0].spelling}` cannot get new values while {tie}: what is recorded of the tie would be wrong",
            f"`tiecli untie --dst {tie.alias.spelling}` first.",
        )
    copy = copies[changed[0]]
    through = compose(copy.transform, tie.transform)
    alias_blocks = transformed_blocks(source, copy.sources, through, record.alias_spec)
    canonical_blocks = transformed_blocks(source, copy.sources, copy.transform, copy.spec)
    return replace(
        record,
        alias_digest=digest_blocks(alias_blocks),
        canonical_digests=(digest_blocks(canonical_blocks),),
        exact=True,
    )
