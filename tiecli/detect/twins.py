"""Twins: leaves that are stored once under two names, or whose stored bytes are equal: found before any is decoded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tiecli.checkpoints.protocol import RAW, CheckpointReader, StoredForm, ignore_progress
from tiecli.compare import digest_leaf, equal_as_stored
from tiecli.detect.threads import run_in_pairs
from tiecli.keypaths import KeyPath

Forms = Mapping[KeyPath, StoredForm]
Count = Callable[..., None]
"""Told how many bytes were read, and which leaves have been read whole by that."""

_HEAD_NBYTES = 4 << 10


def find_shared(reader: CheckpointReader, forms: Forms) -> tuple[tuple[KeyPath, ...], ...]:
    """Groups leaves that are the same stored bytes, be it along other axes; reads nothing.

    Args:
        reader: The checkpoint.
        forms: How its leaves are stored.
    """
    specs = reader.specs()
    traits = {path: (specs[path].dtype, frozenset(form.places)) for path, form in forms.items() if form.places}
    return tuple(
        (first, *others)
        for first, *candidates in _group(traits, traits.__getitem__)
        if (others := [path for path in candidates if reader.shares_bytes(first, path)])
    )


def find_twins(reader: CheckpointReader, forms: Forms, count: Count) -> Mapping[KeyPath, KeyPath]:
    """Finds compressed leaves whose stored bytes are equal, for then their values are, and none need be decoded.

    Leaves are told apart by shape, dtype, encoding and the lengths of their parts, then by how
    they begin; only what is alike so far is compared whole. Leaves that are stored plainly are
    left out: a few samples say as much of them.

    Args:
        reader: The checkpoint.
        forms: How the leaves to look at are stored, in stored order.
        count: Told what was read.

    Returns:
        For each leaf that is equal to an earlier one: the first of those.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    search = _Search(reader, forms, count)
    groups = _group((path for path, form in forms.items() if form.encoding != RAW and form.lengths), search.trait)
    groups = [smaller for group in groups for smaller in _group(group, search.read_head)]
    found = run_in_pairs(search.match, [smaller for group in groups for smaller in search.split(group)])
    return {twin: first for twins in found for twin, first in twins.items()}


def _group(paths: Iterable[KeyPath], trait: Callable[[KeyPath], Hashable]) -> list[list[KeyPath]]:
    """Groups leaves by what they share; who is alone is left out."""
    groups: dict[Hashable, list[KeyPath]] = {}
    for path in paths:
        groups.setdefault(trait(path), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


@dataclass(frozen=True, slots=True)
class _Search:
    """The leaves of one checkpoint, by ever more of their stored bytes."""

    reader: CheckpointReader
    forms: Forms
    count: Count

    def trait(self, path: KeyPath) -> Hashable:
        """Gives what is known without reading."""
        form = self.forms[path]
        return self.reader.specs()[path], form.encoding, form.lengths

    def read_head(self, path: KeyPath) -> bytes:
        """Reads how the first part begins."""
        head = bytearray(min(self.forms[path].lengths[0], _HEAD_NBYTES))
        self.reader.read_stored(path, 0, 0, memoryview(head))
        self.count(len(head))
        return bytes(head)

    def split(self, group: Sequence[KeyPath]) -> Sequence[Sequence[KeyPath]]:
        """Splits many leaves by their digests; two are compared as quickly."""
        return [group] if len(group) == 2 else _group(group, self._digest)

    def _digest(self, path: KeyPath) -> str:
        self.count(sum(self.forms[path].lengths))
        return digest_leaf(self.reader, path)

    def match(self, group: Sequence[KeyPath]) -> Mapping[KeyPath, KeyPath]:
        """Compares the first leaf of a group with the others."""
        first, *others = group
        twins = [path for path in others if equal_as_stored(self.reader, first, self.reader, path, ignore_progress)]
        if twins:
            self.count(sum(sum(self.forms[path].lengths) for path in (first, *twins)), first, *twins)
        return dict.fromkeys(twins, first)
