"""Renames: which leaves of two checkpoints are the same bytes under another name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import digest_leaf
from tiecli.keypaths import KeyPath

_HEAD_NBYTES = 1 << 16

_Group = tuple[Sequence[KeyPath], Sequence[KeyPath]]
_Trait = Callable[[CheckpointReader, KeyPath], object]


def match_renamed(
    left: CheckpointReader, gone: Iterable[KeyPath], right: CheckpointReader, new: Iterable[KeyPath]
) -> Mapping[KeyPath, KeyPath]:
    """Matches leaves that are gone with new ones of the same shape, dtype and bytes.

    A leaf is read only as far as it still has a match: not at all where no other has its
    shape and dtype, and no further than its head where no other starts like it. Of several
    equal leaves, such as fresh norms, those go together whose names end most alike.

    Returns:
        The old name of each matched leaf, by its new one.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    groups: list[_Group] = [(tuple(gone), tuple(new))]
    traits: tuple[_Trait, ...] = (lambda reader, path: reader.specs()[path], _read_head, digest_leaf)
    for trait in traits:
        groups = [smaller for group in groups for smaller in _split(left, right, group, trait)]
    return {
        new_path: old_path
        for old_paths, new_paths in groups
        for old_path, new_path in zip(_by_ending(old_paths), _by_ending(new_paths), strict=False)
    }


def _split(left: CheckpointReader, right: CheckpointReader, group: _Group, trait: _Trait) -> Iterator[_Group]:
    gone, new = group
    if not gone or not new:
        return
    shared: dict[object, tuple[list[KeyPath], list[KeyPath]]] = {}
    for path in gone:
        shared.setdefault(trait(left, path), ([], []))[0].append(path)
    for path in new:
        if (bucket := shared.get(trait(right, path))) is not None:
            bucket[1].append(path)
    yield from (bucket for bucket in shared.values() if bucket[1])


def _read_head(reader: CheckpointReader, path: KeyPath) -> int:
    head = bytearray(min(reader.specs()[path].nbytes, _HEAD_NBYTES))
    reader.read_into(path, 0, memoryview(head))
    return hash(bytes(head))


def _by_ending(paths: Sequence[KeyPath]) -> list[KeyPath]:
    return sorted(paths, key=lambda path: [str(key) for key in reversed(path.keys)])
