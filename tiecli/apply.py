"""Applying: prove every tie bit for bit, copy what stays, commit once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from tiecli.checkpoints import open_writer
from tiecli.checkpoints.protocol import (
    CheckpointReader,
    CheckpointWriter,
    CommitReport,
    Metadata,
    Progress,
    Target,
    ignore_progress,
)
from tiecli.compare import (
    Comparison,
    compare_leaf,
    describe_drift,
    digest_blocks,
    has_digest,
    renew_records,
    root_anew,
    transformed_blocks,
)
from tiecli.digests import Digest
from tiecli.errors import (
    AmbiguousTieError,
    DriftedPairError,
    TieConflictError,
    TransformMismatchError,
    UsageError,
)
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import Manifest, TieRecord
from tiecli.plan import Mode, Plan, PlannedTie, Side
from tiecli.ties import Tie
from tiecli.transforms import Transform, permutations_that_fit

Blocks = Callable[[], Iterator[memoryview]]
"""Gives the bytes of a leaf, as often as it is asked."""


@dataclass(frozen=True, slots=True)
class ProvenTie:
    """One tie and what its bytes said.

    Attributes:
        record: What the manifest will hold.
        also_fits: Other transforms under which the same bytes agree.
        drift: How far the pair had drifted apart; None when it agreed bit for bit.
    """

    record: TieRecord
    also_fits: tuple[Transform, ...] = ()
    drift: Comparison | None = None


def prove_ties(
    reader: CheckpointReader, plan: Plan, *, keep: Side | None = None, progress: Progress = ignore_progress
) -> tuple[ProvenTie, ...]:
    """Rebuilds each new alias from its canonical leaf and compares it bit for bit.

    Args:
        reader: The checkpoint that `plan` is about.
        plan: As `plan_tie` gives it.
        keep: Which side's values survive where the two have drifted apart; None refuses.
        progress: Told the bytes compared.

    Raises:
        DriftedPairError: A pair differs and `keep` is None.
        AmbiguousTieError: A pair also fits another transform and nobody named one.
    """
    return tuple(_prove(reader, planned, plan, keep, progress) for planned in plan.added)


def choose_shared(reader: CheckpointReader, plan: Plan, mode: Mode | None) -> frozenset[KeyPath]:
    """Chooses which new aliases become second names of their canonical leaves' bytes.

    Args:
        reader: The checkpoint that `plan` is about.
        plan: The ties.
        mode: What was asked for; None shares wherever the format can, since whoever
            restores the checkpoint then finds what was there before.

    Raises:
        UsageError: `alias` was asked for and cannot be had.
    """
    if mode == "omit":
        return frozenset()
    if mode == "alias" and reader.format == "safetensors":
        raise UsageError(
            "--mode alias is for Orbax: in a safetensors file no two leaves may have the same bytes",
            "Leave out --mode; stock loaders know the ties of a safetensors file.",
        )
    shared = frozenset(planned.tie.alias for planned in plan.added if reader.can_share(planned.tie))
    alone = [planned.tie for planned in plan.added if planned.tie.alias not in shared]
    if mode == "alias" and alone:
        raise UsageError(
            f"{alone[0]} cannot share stored bytes: the store's metadata can turn axes and nothing else",
            "Leave out --mode, or give --mode omit.",
        )
    return shared


def apply_plan(
    reader: CheckpointReader,
    plan: Plan,
    proven: Sequence[ProvenTie],
    target: Target,
    *,
    shared: Collection[KeyPath] = (),
    rewritten: Mapping[KeyPath, Blocks] = MappingProxyType({}),
    texts: Mapping[str, str] | None = None,
    keep: Side | None = None,
    progress: Progress = ignore_progress,
) -> CommitReport:
    """Writes the checkpoint that the plan describes, and publishes it whole or not at all.

    Args:
        reader: The checkpoint that `plan` is about.
        plan: What happens to each leaf.
        proven: The new ties, proved.
        target: Where the new checkpoint goes.
        shared: New aliases that become second names of their canonical leaves' bytes.
        rewritten: Leaves that are kept with new values, such as the state of an optimizer.
        texts: New contents of text files, such as `config.json`.
        keep: As for `prove_ties`.
        progress: Told the bytes written.

    Raises:
        TargetError: The target cannot be written.
        SourceChangedError: The source changed meanwhile.
    """
    manifest = reader.manifest()
    recorded = manifest.by_alias if manifest else {}
    records = _merge_records(reader, plan, renew_records(recorded, rewritten), proven, shared)
    replaced = {tie.record.tie.canonicals[0]: tie.record for tie in proven if tie.drift is not None and keep == "dst"}
    moved = _list_moved(reader, plan, recorded, rewritten)
    with open_writer(reader, target) as writer:
        for path in plan.kept:
            if path in moved:
                writer.alias(path, moved[path])
            elif path in rewritten:
                writer.write(path, reader.specs()[path], rewritten[path]())
            elif path not in replaced:
                writer.keep(path)
        for path, record in replaced.items():
            spec = record.canonical_specs[0]
            writer.write(path, spec, _replacement_blocks(reader, record.tie, spec))
        for planned in plan.added:
            if planned.tie.alias in shared:
                writer.alias(planned.tie.alias, planned.tie)
        for planned in plan.restored:
            _restore(reader, planned, recorded.get(planned.tie.alias), writer)
        conventional = {
            record.tie.alias.spelling: record.tie.canonical for record in records if record.tie.transform.is_same
        }
        return writer.commit(Metadata(Manifest(records) if records else None, conventional, texts or {}), progress)


def _prove(
    reader: CheckpointReader, planned: PlannedTie, plan: Plan, keep: Side | None, progress: Progress
) -> ProvenTie:
    tie = planned.tie
    compare = partial(compare_leaf, reader, tie.alias, reader, tie.canonicals, tie.transform, digests=True)
    comparison = compare(measure=False, progress=progress)
    if not comparison.equal:
        measured = compare(measure=True)
        if keep is None:
            raise _drift_error(planned, measured)
        if keep == "dst":
            _check_replaceable(planned, plan)
        return ProvenTie(_record(reader, planned, measured, keep), drift=measured)
    also = _other_fits(reader, planned)
    if also and not planned.stated:
        fits = ", ".join(map(str, (tie.transform, *also)))
        raise AmbiguousTieError(
            f"`{tie.alias.spelling}` follows from `{tie.canonical}` under more than one transform: {fits}",
            f"Say which one is meant, for example --transform {tie.transform}.",
        )
    return ProvenTie(_record(reader, planned, comparison, None), also)


def _other_fits(reader: CheckpointReader, planned: PlannedTie) -> tuple[Transform, ...]:
    """Finds the axis permutations, `same` among them, that the bytes fit as well."""
    tie = planned.tie
    if len(tie.canonicals) > 1 or planned.canonical_specs[0].dtype != planned.alias_spec.dtype:
        return ()
    return tuple(
        other
        for other in permutations_that_fit(planned.canonical_specs[0], planned.alias_spec)
        if other != tie.transform
        and compare_leaf(reader, tie.alias, reader, tie.canonicals, other, measure=False).equal
    )


def _drift_error(planned: PlannedTie, measured: Comparison) -> DriftedPairError:
    tie = planned.tie
    under = "" if tie.transform.is_same else f" | {tie.transform}"
    return DriftedPairError(
        f"`{tie.alias.spelling}` is not `{tie.canonical}{under}`: {describe_drift(measured)}",
        f"`--keep src` ties them and gives up `{tie.alias.spelling}`; `--keep dst` gives up `{tie.canonical}`.",
        "`tiecli find` tells which other transform fits, if any does.",
    )


def _check_replaceable(planned: PlannedTie, plan: Plan) -> None:
    """Refuses `--keep dst` where the alias's values cannot become the canonical leaf's."""
    tie = planned.tie
    if len(tie.canonicals) > 1 or tie.transform.inverse(planned.canonical_specs) is None:
        raise TransformMismatchError(
            f"`{tie.alias.spelling}` cannot replace `{tie.canonical}`: `{tie.transform}` has no exact inverse",
            "Use --keep src, or tie the other way round.",
        )
    others = [other.alias.spelling for other in plan.ties if other != tie and tie.canonicals[0] in other.canonicals]
    if others:
        raise TieConflictError(
            f"`{tie.canonical}` cannot take the values of `{tie.alias.spelling}`: "
            f"{', '.join(others)} follows from it too",
            "Use --keep src, or untie the others first.",
        )


def _record(reader: CheckpointReader, planned: PlannedTie, compared: Comparison, keep: Side | None) -> TieRecord:
    tie, sources = planned.tie, planned.canonical_specs
    if compared.alias_digest is None:
        raise AssertionError("the comparison was asked for digests")
    canonical_digests = compared.canonical_digests
    if keep == "dst":
        canonical_digests = (digest_blocks(_replacement_blocks(reader, tie, sources[0])),)
    return TieRecord(tie, planned.alias_spec, sources, compared.alias_digest, canonical_digests, keep is None)


def _replacement_blocks(reader: CheckpointReader, tie: Tie, spec: LeafSpec) -> Iterator[memoryview]:
    """Yields what the canonical leaf becomes when the alias's values are kept."""
    inverse = tie.transform.inverse((spec,))
    if inverse is None:
        raise AssertionError(f"{tie} was checked to have an inverse")
    return transformed_blocks(reader, (tie.alias,), inverse, spec)


def _restore(reader: CheckpointReader, planned: PlannedTie, record: TieRecord | None, writer: CheckpointWriter) -> None:
    """Has an alias stored again: in the kernel where it is its canonical leaf, else block by block."""
    tie = planned.tie
    if tie.transform.is_same:
        writer.repeat(tie.alias, tie.canonicals[0])
    else:
        writer.write(tie.alias, planned.alias_spec, _restored_blocks(reader, planned, record), tie.canonicals[0])


def _restored_blocks(reader: CheckpointReader, planned: PlannedTie, record: TieRecord | None) -> Iterator[memoryview]:
    """Yields an alias again, and fails at the end if it is not what was tied, bit for bit."""
    tie = planned.tie
    blocks = transformed_blocks(reader, tie.canonicals, tie.transform, planned.alias_spec)
    digest = Digest()
    for block in blocks:
        digest.update(block)
        yield block
    # Other bits are right where the canonical leaf changed since, or a side was given up.
    if record is not None and record.exact and str(digest) != record.alias_digest and is_as_tied(reader, record):
        raise DriftedPairError(
            f"`{tie.alias.spelling}` = {tie.canonical} | {tie.transform} gives other bits here than where it was tied",
            "Untie it with the releases of numpy and ml_dtypes that it was tied with, and report this.",
        )


def is_as_tied(reader: CheckpointReader, record: TieRecord) -> bool:
    """Whether its canonical leaves still have the bytes that were recorded."""
    recorded = zip(record.tie.canonicals, record.canonical_digests, strict=True)
    return all(has_digest(reader, path, digest) for path, digest in recorded)


def _list_moved(
    reader: CheckpointReader, plan: Plan, recorded: Mapping[KeyPath, TieRecord], rewritten: Collection[KeyPath]
) -> Mapping[KeyPath, Tie]:
    """Lists second names of bytes that are elsewhere then: their leaf is an alias itself, or is written anew."""
    return {
        tie.alias: tie
        for tie in plan.ties
        if tie.alias in recorded
        and (recorded[tie.alias].tie != tie or tie.canonicals[0] in rewritten)
        and reader.specs().keys() >= {tie.alias, *recorded[tie.alias].tie.canonicals}
        and reader.shares_bytes(tie.alias, recorded[tie.alias].tie.canonicals[0])
        and reader.can_share(tie)
    }


def _merge_records(
    reader: CheckpointReader,
    plan: Plan,
    old: Mapping[KeyPath, TieRecord],
    proven: Sequence[ProvenTie],
    shared: Collection[KeyPath],
) -> tuple[TieRecord, ...]:
    """Gives the records of the new manifest: the old ties that go on, rooted anew, and the new ones."""
    new = {
        tie.record.tie.alias: replace(tie.record, mode="alias" if tie.record.tie.alias in shared else "omit")
        for tie in proven
    }
    records = []
    for tie in plan.ties:
        record = new.get(tie.alias) or old.get(tie.alias)
        if record is None:
            continue  # Somebody else declares it, and goes on doing so.
        records.append(record if record.tie == tie else root_anew(reader, record, tie, {**old, **new}))
    return tuple(records)
