"""Statements: whether what a checkpoint says of its ties can be so at all."""

from __future__ import annotations

from collections.abc import Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import compare_leaf, has_digest
from tiecli.errors import TransformMismatchError
from tiecli.leaves import LeafSpec
from tiecli.manifest import TieRecord
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.shapes import stage_specs
from tiecli.verification.verdicts import Judgement

PASS = Judgement("PASS")


def check_statement(reader: CheckpointReader, tie: Tie, record: TieRecord | None) -> Judgement:
    """Checks one tie against what is stored.

    Args:
        reader: The tied checkpoint.
        tie: What it states.
        record: What its manifest has recorded of that, if it has one.

    Returns:
        REJECT for a tie that cannot be: a canonical leaf that is not stored, a transform
        that gives another shape or dtype, an alias that is stored with other bytes. FAIL for
        a stale one, whose canonical leaf changed since. PASS otherwise.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    specs = reader.specs()
    missing = [path.spelling for path in tie.canonicals if path not in specs]
    if missing:
        return Judgement("REJECT", f"its canonical leaf `{missing[0]}` is not stored")
    sources = tuple(specs[path] for path in tie.canonicals)
    try:
        made = tie.transform.spec(sources)
    except TransformMismatchError as error:
        return Judgement("REJECT", error.message)
    if record is not None and (made != record.alias_spec or sources != record.canonical_specs):
        return Judgement("REJECT", f"the manifest says {record.alias_spec}, the stored leaves give {made}")
    if tie.alias in specs:
        return _check_stored_alias(reader, tie)
    return PASS if record is None else check_fresh(reader, record)


def _check_stored_alias(reader: CheckpointReader, tie: Tie) -> Judgement:
    spec = reader.specs()[tie.alias]
    made = tie.transform.spec(tuple(reader.specs()[path] for path in tie.canonicals))
    if spec != made:
        return Judgement("REJECT", f"`{tie.alias.spelling}` is stored as {spec}, expected {made}")
    found = compare_leaf(reader, tie.alias, reader, tie.canonicals, tie.transform, measure=False)
    if not found.equal:
        return Judgement("REJECT", f"`{tie.alias.spelling}` is stored again, with other bytes")
    return PASS


def check_fresh(reader: CheckpointReader, record: TieRecord) -> Judgement:
    """Checks that the canonical leaves still are what they were when they were tied.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    for path, digest in zip(record.tie.canonicals, record.canonical_digests, strict=True):
        if not has_digest(reader, path, digest):
            return Judgement("FAIL", f"stale: `{path.spelling}` was changed after it was tied")
    return PASS


def check_gradient(transform: Transform, sources: Sequence[LeafSpec]) -> Judgement:
    """Checks that a gradient can flow through a transform at all.

    Args:
        transform: The transform.
        sources: What it is applied to.

    Returns:
        NOT APPLICABLE where integers, booleans or the like are on the way; PASS otherwise.

    Raises:
        TransformMismatchError: The transform does not fit.
    """
    stages = (*sources, *stage_specs(transform.steps, sources))
    if plain := [stage for stage in stages if stage.dtype.kind not in ("float", "complex")]:
        return Judgement("NOT APPLICABLE", f"{plain[0].dtype} has no gradient")
    return PASS
