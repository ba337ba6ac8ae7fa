"""Diffing: what is different between two checkpoints, leaf by leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from tiecli.checkpoints.protocol import CheckpointReader, Progress, ignore_progress, is_same_place
from tiecli.compare import Comparison, compare_leaf
from tiecli.diffs.renames import match_renamed
from tiecli.diffs.report import Change, DiffEntry, DiffReport
from tiecli.diffs.sides import Side
from tiecli.diffs.surroundings import diff_surroundings
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie
from tiecli.transforms import SAME, Transform

# What an alias is, by whether it is in the tree.
_MODES = {False: "left out", True: "a second name of the same bytes"}


def diff_checkpoints(
    left: CheckpointReader, right: CheckpointReader, *, values: bool = False, progress: Progress = ignore_progress
) -> DiffReport:
    """Compares two checkpoints, leaf by leaf and bit for bit.

    A leaf that one side stores and the other has as an alias is compared through the tie's
    transform. Leaves of unlike shape or dtype, and leaves that are one and the same stored
    bytes, are never read; compressed ones are decoded only where their stored bytes differ.

    Args:
        left: What was.
        right: What is.
        values: Measure how far changed leaves lie apart; otherwise reading a leaf stops
            where it first differs.
        progress: Told the bytes of the left side's leaves that have been dealt with.

    Raises:
        CheckpointError: A manifest or config is damaged, or a file changed or failed while it was read.
        TieConflictError: The ties that one side states contradict each other.
    """
    run = _Run(Side(left, right), Side(right, left), values, progress)
    leaves = tuple(run.diff_leaves())
    entries = (*leaves, *diff_surroundings(run.left, run.right, run.recoded))
    for reader in (left, right):
        reader.check_unchanged()
    return DiffReport(left.root, right.root, entries, run.leaves_compared, run.bytes_compared)


class _Run:
    """One comparison of two checkpoints, and what it has compared so far."""

    def __init__(self, left: Side, right: Side, values: bool, progress: Progress) -> None:
        self.left = left
        self.right = right
        self.values = values
        self.progress = progress
        self.leaves_compared = 0
        self.bytes_compared = 0
        self.recoded: list[KeyPath] = []
        files = left.reader.files
        # The data files of Orbax have random names, and people do not choose what lies in which.
        self.same_files = (
            left.reader.format == "safetensors" and len(files) > 1 and set(files) == set(right.reader.files)
        )

    def diff_leaves(self) -> Iterator[DiffEntry]:
        """Yields what is different about each leaf, in the order of the left side."""
        left, right = self.left, self.right
        old_names = self._match_renamed()
        new_names = {old: name for name, old in old_names.items()}
        for path in dict.fromkeys((*left.specs, *left.aliases, *right.specs, *right.aliases)):
            if path in new_names:
                yield self._renamed(path, new_names[path])
            elif path not in old_names:
                yield from self._diff_leaf(path)
            if path in left.specs and not (left.is_plain(path) and right.is_plain(path)):
                self.progress(left.specs[path].nbytes)

    def _match_renamed(self) -> Mapping[KeyPath, KeyPath]:
        left, right = self.left, self.right
        gone = [left.own(path) for path in left.specs if not right.has(path)]
        new = [right.own(path) for path in right.specs if not left.has(path)]
        found = match_renamed(left.reader, gone, right.reader, new)
        return {right.common(name): left.common(old) for name, old in found.items()}

    def _diff_leaf(self, path: KeyPath) -> Iterator[DiffEntry]:
        left, right = self.left, self.right
        if left.is_plain(path) and right.is_plain(path):
            yield from self._diff_stored(path)
        elif not right.has(path):
            yield DiffEntry(path.spelling, "removed", left=left.specs.get(path), before=left.tie(path))
        elif not left.has(path):
            yield DiffEntry(path.spelling, "added", right=right.specs.get(path), after=right.tie(path))
        elif left.is_plain(path):
            yield self._tie_entry(path, "tied", self._compare_tied(path))
        elif right.is_plain(path):
            yield self._tie_entry(path, "untied", self._compare_tied(path))
        elif left.aliases[path] != right.aliases[path]:
            yield self._tie_entry(path, "retied", self._compare_tied(path))
        elif (path in left.specs) != (path in right.specs) and left.reader.format == right.reader.format:
            # Between formats that is no choice: a safetensors file knows no second names.
            before, after = (_MODES[path in side.specs] for side in (left, right))
            specs = (left.specs.get(path), right.specs.get(path))
            yield DiffEntry(path.spelling, "retied", *specs, before, after, self._compare_tied(path))

    def _diff_stored(self, path: KeyPath) -> Iterator[DiffEntry]:
        left, right = self.left.specs[path], self.right.specs[path]
        comparison: Comparison | None = None
        if left != right:
            change: Change = "retyped" if left.shape == right.shape else "reshaped"
            yield DiffEntry(path.spelling, change, left, right)
            self.progress(left.nbytes)
        else:
            comparison = self._compare_stored(path)
            if not comparison.equal:
                yield DiffEntry(path.spelling, "changed", left, right, comparison=comparison)
            elif self.same_files:
                before, after = self.left.reader.file_of(path), self.right.reader.file_of(path)
                if before != after:
                    yield DiffEntry(path.spelling, "moved", left, right, before, after)
        if self.left.tie(path) != self.right.tie(path):
            yield self._tie_entry(path, "retied", comparison)

    def _compare_stored(self, path: KeyPath) -> Comparison:
        spec = self.left.specs[path]
        self.leaves_compared += 1
        self.bytes_compared += spec.nbytes
        forms = [side.reader.stored_form(side.own(path)) for side in (self.left, self.right)]
        if is_same_place(*forms):
            self.progress(spec.nbytes)
            return Comparison(spec.size, 0)
        if forms[0].encoding != forms[1].encoding:
            self.recoded.append(path)
        reported = 0

        def report(nbytes: int) -> None:
            """Passes progress on, up to the size of the leaf."""
            # A leaf that is measured is read from its start again; its bytes count once.
            nonlocal reported
            nbytes = min(nbytes, spec.nbytes - reported)
            reported += nbytes
            self.progress(nbytes)

        comparison = self._read(self.left, path, self.right, (path,), SAME, report)
        report(spec.nbytes)
        return comparison

    def _compare_tied(self, path: KeyPath) -> Comparison | None:
        """Compares a leaf that is an alias on one side at least: by its own bytes, where it has some on both."""
        left, right = self.left, self.right
        if path in left.specs and path in right.specs:
            return self._compare(left, path, right, (path,), SAME)
        if path in left.specs:
            tie = right.aliases[path]
            return self._compare(left, path, right, tie.canonicals, tie.transform)
        if path in right.specs:
            tie = left.aliases[path]
            return self._compare(right, path, left, tie.canonicals, tie.transform)
        return self._compare_aliases(left.aliases[path], right.aliases[path])

    def _compare(
        self, side: Side, path: KeyPath, other: Side, canonicals: tuple[KeyPath, ...], transform: Transform
    ) -> Comparison | None:
        """Compares a stored leaf with what an alias of the other side stands for; None if it cannot be it."""
        try:
            made = transform.spec(tuple(other.specs[canonical] for canonical in canonicals))
        except (KeyError, TransformMismatchError):
            # Its canonical leaf is gone or was reshaped by somebody who did not know of the tie.
            return None
        if made != side.specs[path]:
            return None
        return self._read(side, path, other, canonicals, transform, ignore_progress)

    def _compare_aliases(self, left: Tie, right: Tie) -> Comparison | None:
        if right.transform.is_same:
            return self._compare(self.right, right.canonicals[0], self.left, left.canonicals, left.transform)
        if left.transform.is_same:
            return self._compare(self.left, left.canonicals[0], self.right, right.canonicals, right.transform)
        return None

    def _read(
        self,
        side: Side,
        path: KeyPath,
        other: Side,
        canonicals: tuple[KeyPath, ...],
        transform: Transform,
        progress: Progress,
    ) -> Comparison:
        own = tuple(map(other.own, canonicals))
        compare = partial(compare_leaf, side.reader, side.own(path), other.reader, own, transform, progress=progress)
        comparison = compare(measure=False)
        return comparison if comparison.equal or not self.values else compare(measure=True, cosine=True)

    def _renamed(self, old: KeyPath, new: KeyPath) -> DiffEntry:
        spec = self.left.specs[old]
        return DiffEntry(new.spelling, "moved", spec, self.right.specs[new], old.spelling, new.spelling)

    def _tie_entry(self, path: KeyPath, change: Change, comparison: Comparison | None) -> DiffEntry:
        left, right = self.left, self.right
        specs = (left.specs.get(path), right.specs.get(path))
        return DiffEntry(path.spelling, change, *specs, left.tie(path), right.tie(path), comparison)
