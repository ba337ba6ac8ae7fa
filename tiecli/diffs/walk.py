"""Diffing: what is different between two checkpoints, leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial

from tiecli.checkpoints.protocol import CheckpointReader, Progress, ignore_progress, is_same_place
from tiecli.compare import Comparison, compare_leaf
from tiecli.declared import CONFIG, list_open_ties, list_ties
from tiecli.diffs.renames import match_renamed
from tiecli.diffs.report import Change, DiffEntry, DiffReport
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie
from tiecli.transforms import SAME, Transform


def diff_checkpoints(
    left: CheckpointReader, right: CheckpointReader, *, values: bool = False, progress: Progress = ignore_progress
) -> DiffReport:
    """Compares two checkpoints, leaf by leaf and bit for bit.

    A leaf that one side stores and the other has as an alias is compared through the tie's
    transform. Leaves of unlike shape or dtype, and leaves that lie in one and the same file,
    are never read.

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
    run = _Run(_Side(left), _Side(right), values, progress)
    leaves = tuple(run.diff_leaves())
    texts = (*_diff_texts(run.left.metadata(), run.right.metadata()), *_diff_configs(left, right))
    entries = (*leaves, *texts, *_diff_layout(left, right))
    for reader in (left, right):
        reader.check_unchanged()
    return DiffReport(left.root, right.root, entries, run.leaves_compared, run.bytes_compared)


class _Side:
    """One checkpoint: what it stores, and what it states about the rest."""

    def __init__(self, reader: CheckpointReader) -> None:
        self.reader = reader
        self.specs = reader.specs()
        self.stated = {tie.alias: tie for tie in list_ties(reader)}
        self.aliases = list_open_ties(reader).by_alias

    def has(self, path: KeyPath) -> bool:
        """Says whether a leaf is there, stored or as an alias."""
        return path in self.specs or path in self.aliases

    def tie(self, path: KeyPath) -> str | None:
        """Spells the tie that is stated for a leaf, whether or not it is stored as well."""
        if path in self.aliases:
            return str(self.aliases[path])
        stated = self.stated.get(path)
        if stated is None:
            return None
        then = "" if stated.transform == str(SAME) else f" | {stated.transform}"
        return f"{stated.alias.spelling} = {stated.canonical}{then}"

    def metadata(self) -> Mapping[str, str]:
        """The free-form metadata, without what only repeats the leaves or the ties."""
        plain = {(tie.alias.spelling, tie.canonical) for tie in self.stated.values() if tie.transform == str(SAME)}
        return {
            key: text
            for key, text in self.reader.metadata().items()
            if (key, text) not in plain and key != "total_size"
        }


class _Run:
    """One comparison of two checkpoints, and what it has compared so far."""

    def __init__(self, left: _Side, right: _Side, values: bool, progress: Progress) -> None:
        self.left = left
        self.right = right
        self.values = values
        self.progress = progress
        self.leaves_compared = 0
        self.bytes_compared = 0
        files = left.reader.files
        self.same_files = len(files) > 1 and set(files) == set(right.reader.files)

    def diff_leaves(self) -> Iterator[DiffEntry]:
        """Yields what is different about each leaf, in the order of the left side."""
        left, right = self.left, self.right
        gone = (path for path in left.specs if not right.has(path))
        new = (path for path in right.specs if not left.has(path))
        old_names = match_renamed(left.reader, gone, right.reader, new)
        new_names = {old: name for name, old in old_names.items()}
        for path in dict.fromkeys((*left.specs, *left.aliases, *right.specs, *right.aliases)):
            if path in new_names:
                yield self._renamed(path, new_names[path])
            elif path not in old_names:
                yield from self._diff_leaf(path)
            if path in left.specs and path not in right.specs:
                self.progress(left.specs[path].nbytes)

    def _diff_leaf(self, path: KeyPath) -> Iterator[DiffEntry]:
        left, right = self.left, self.right
        if path in left.specs and path in right.specs:
            yield from self._diff_stored(path)
        elif not right.has(path):
            yield DiffEntry(path.spelling, "removed", left=left.specs.get(path), before=left.tie(path))
        elif not left.has(path):
            yield DiffEntry(path.spelling, "added", right=right.specs.get(path), after=right.tie(path))
        elif path in left.specs:
            tie = right.aliases[path]
            comparison = self._compare(left, path, right, tie.canonicals, tie.transform)
            yield self._tie_entry(path, "tied", comparison)
        elif path in right.specs:
            tie = left.aliases[path]
            comparison = self._compare(right, path, left, tie.canonicals, tie.transform)
            yield self._tie_entry(path, "untied", comparison)
        elif left.aliases[path] != right.aliases[path]:
            yield self._tie_entry(path, "retied", self._compare_aliases(left.aliases[path], right.aliases[path]))

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
        if is_same_place(self.left.reader.stored_form(path), self.right.reader.stored_form(path)):
            self.progress(spec.nbytes)
            return Comparison(spec.size, 0)
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

    def _compare(
        self, side: _Side, path: KeyPath, other: _Side, canonicals: tuple[KeyPath, ...], transform: Transform
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
        side: _Side,
        path: KeyPath,
        other: _Side,
        canonicals: tuple[KeyPath, ...],
        transform: Transform,
        progress: Progress,
    ) -> Comparison:
        compare = partial(compare_leaf, side.reader, path, other.reader, canonicals, transform, progress=progress)
        comparison = compare(measure=False)
        return comparison if comparison.equal or not self.values else compare(measure=True, cosine=True)

    def _renamed(self, old: KeyPath, new: KeyPath) -> DiffEntry:
        spec = self.left.specs[old]
        return DiffEntry(new.spelling, "moved", spec, self.right.specs[new], old.spelling, new.spelling)

    def _tie_entry(self, path: KeyPath, change: Change, comparison: Comparison | None) -> DiffEntry:
        left, right = self.left, self.right
        specs = (left.specs.get(path), right.specs.get(path))
        return DiffEntry(path.spelling, change, *specs, left.tie(path), right.tie(path), comparison)


def _diff_texts(left: Mapping[str, str], right: Mapping[str, str], prefix: str = "") -> Iterator[DiffEntry]:
    for key in dict.fromkeys((*left, *right)):
        before, after = left.get(key), right.get(key)
        if before != after:
            yield DiffEntry(prefix + key, "metadata", before=before, after=after)


def _diff_configs(left: CheckpointReader, right: CheckpointReader) -> Iterator[DiffEntry]:
    before, after = left.text(CONFIG), right.text(CONFIG)
    if before == after or before is None or after is None:
        # A lone file lies beside a config or does not; only a directory can lose its own.
        if before != after and left.root.is_dir() and right.root.is_dir():
            yield DiffEntry(CONFIG, "metadata", before=before, after=after)
        return
    yield from _diff_texts(_config_members(before), _config_members(after), f"{CONFIG}:")


def _config_members(text: str) -> Mapping[str, str]:
    members = json.loads(text)
    return {key: json.dumps(value) for key, value in members.items()}


def _diff_layout(left: CheckpointReader, right: CheckpointReader) -> Iterator[DiffEntry]:
    if set(left.files) != set(right.files) and max(len(left.files), len(right.files)) > 1:
        before, after = (f"{len(side.files):,} file{'s'[: len(side.files) != 1]}" for side in (left, right))
        yield DiffEntry("", "resharded", before=before, after=after)
