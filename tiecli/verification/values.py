"""Values: whether the bytes of aliases, and of all other leaves, are what they were."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tiecli.checkpoints.protocol import CheckpointReader, Progress, ignore_progress
from tiecli.compare import Comparison, compare_leaf, describe_drift, digest_blocks, has_digest, transformed_blocks
from tiecli.digests import is_of_stored
from tiecli.keypaths import KeyPath
from tiecli.manifest import TieRecord
from tiecli.ties import Tie
from tiecli.transforms import SAME, Transform
from tiecli.transforms.steps import Cast, Scale
from tiecli.verification.processes import ALONE, Processes
from tiecli.verification.verdicts import BytesState, Judgement, OtherLeaves


@dataclass(frozen=True, slots=True)
class ValueCheck:
    """How the bytes of one alias compare.

    Attributes:
        state: Against what, and how it came out.
        judgement: PASS or FAIL; VACUOUS where there is nothing to compare with.
        comparison: What was measured against an original; None without one.
    """

    state: BytesState
    judgement: Judgement
    comparison: Comparison | None = None


def check_alias(
    reader: CheckpointReader,
    tie: Tie,
    record: TieRecord | None,
    original: CheckpointReader | None,
    progress: Progress = ignore_progress,
) -> ValueCheck:
    """Checks that an alias, expanded, has the bytes it had before it was tied.

    NaN payloads and signed zeros count. The transform is carried out in the alias's dtype,
    rounding included.

    Args:
        reader: The tied checkpoint.
        tie: A tie whose statement holds.
        record: What the manifest recorded of it.
        original: The checkpoint before it was tied; without it the recorded digest serves.
        progress: Told the bytes compared.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    if original is not None:
        return _against_original(reader, tie, original, progress)
    if record is None:
        return ValueCheck("unknown", Judgement("VACUOUS", "neither an original nor a digest to compare with"))
    if not record.exact:
        return ValueCheck("unknown", Judgement("FAIL", "one side's values were given up when it was tied"))
    if _is_as_recorded(reader, record):
        return ValueCheck("as recorded", Judgement("PASS"))
    return ValueCheck(
        "not as recorded", Judgement("FAIL", f"`{tie}` does not give the bytes that `{tie.alias.spelling}` had")
    )


def _against_original(reader: CheckpointReader, tie: Tie, original: CheckpointReader, progress: Progress) -> ValueCheck:
    specs = original.specs()
    if tie.alias not in specs:
        return ValueCheck("unknown", Judgement("REJECT", f"the original has no leaf `{tie.alias.spelling}`"))
    made = tie.transform.spec(tuple(reader.specs()[path] for path in tie.canonicals))
    if specs[tie.alias] != made:
        reason = f"`{tie.alias.spelling}` is {specs[tie.alias]} in the original, the tie gives {made}"
        return ValueCheck("differ", Judgement("FAIL", reason))
    found = compare_leaf(original, tie.alias, reader, tie.canonicals, tie.transform, measure=False, progress=progress)
    if found.equal:
        return ValueCheck("equal", Judgement("PASS"), found)
    found = compare_leaf(original, tie.alias, reader, tie.canonicals, tie.transform, measure=True)
    # Where only one differs, or all by as much, the first says it.
    worst = f", worst at {list(found.worst)}" if found.worst not in (None, found.first) else ""
    reason = describe_drift(found) + worst + _word_loss(reader, tie, original)
    return ValueCheck("differ", Judgement("FAIL", reason), found)


def _word_loss(reader: CheckpointReader, tie: Tie, original: CheckpointReader) -> str:
    """Says that the alias had values that the dtype of the canonical leaves cannot hold, if it had."""
    had, kept = original.specs()[tie.alias].dtype, reader.specs()[tie.canonicals[0]].dtype
    kinds = [type(step) for step in tie.transform.steps]
    if Cast not in kinds or Scale in kinds:
        return ""
    there_and_back = Transform((Cast(kept), Cast(had)))
    if compare_leaf(original, tie.alias, original, (tie.alias,), there_and_back, measure=False).equal:
        return ""
    return f"; lossy: no {kept} leaf can give the {had} values of `{tie.alias.spelling}`"


def _is_as_recorded(reader: CheckpointReader, record: TieRecord) -> bool:
    tie = record.tie
    if is_of_stored(record.alias_digest):
        # Such a pair was proved equal as stored, so the canonical leaf has what the alias had.
        return tie.transform.is_same and has_digest(reader, tie.canonicals[0], record.alias_digest)
    blocks = transformed_blocks(reader, tie.canonicals, tie.transform, record.alias_spec)
    return digest_blocks(blocks) == record.alias_digest


def check_others(
    reader: CheckpointReader,
    original: CheckpointReader | None,
    aliases: Collection[KeyPath],
    progress: Progress = ignore_progress,
    processes: Processes = ALONE,
) -> OtherLeaves:
    """Checks that every leaf that is no alias is, byte for byte, the original's, and that none is new.

    Args:
        reader: The tied checkpoint.
        original: The checkpoint before it was tied; None compares nothing.
        aliases: The leaves that are tied.
        progress: Told the bytes compared.
        processes: Those that do this together; each compares its share of the leaves.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    if original is None:
        return OtherLeaves()
    now, before = reader.specs(), original.specs()
    expected = [path for path in before if path not in aliases]

    def is_same(path: KeyPath) -> bool:
        """Compares one leaf."""
        if now.get(path) != before[path]:
            return False
        return compare_leaf(original, path, reader, (path,), SAME, measure=False, progress=progress).equal

    same = processes.map(expected, is_same)
    differing = [path.spelling for path, holds in zip(expected, same, strict=True) if not holds]
    differing += [path.spelling for path in now if path not in before and path not in aliases]
    return OtherLeaves(len(expected), tuple(differing))
