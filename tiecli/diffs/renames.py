"""Renames: which leaves of two checkpoints are the same values under another name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from tiecli.checkpoints.protocol import RAW, CheckpointReader
from tiecli.compare import digest_leaf
from tiecli.compare.streams import digest_values
from tiecli.keypaths import KeyPath

_HEAD_NBYTES = 1 << 16

_Group = tuple[Sequence[KeyPath], Sequence[KeyPath]]
_Trait = Callable[[CheckpointReader, KeyPath], Hashable]


def match_renamed(
    left: CheckpointReader, gone: Iterable[KeyPath], right: CheckpointReader, new: Iterable[KeyPath]
) -> Mapping[KeyPath, KeyPath]:
    """Matches leaves that are gone with new ones of the same shape, dtype and values.

    A leaf is read only as far as it still has a match: not at all where no other has its
    shape and dtype, and no further than its head where no other starts like it. Leaves that
    are compressed alike are matched by their stored bytes; what is left is decoded. Of several
    equal leaves, such as fresh norms, those go together whose names end most alike.

    Returns:
        The old name of each matched leaf, by its new one.

    Raises:
        ChunkError: A stored chunk does not decode.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    old_names: dict[KeyPath, KeyPath] = {}
    for group in _split(left, right, (tuple(gone), tuple(new)), lambda reader, path: reader.specs()[path]):
        found = dict(_match(left, right, group, (_stored_form, digest_leaf)))
        rest = (
            [path for path in group[0] if path not in found],
            [path for path in group[1] if path not in found.values()],
        )
        found |= _match(left, right, rest, (_read_head, digest_values))
        old_names |= {name: old for old, name in found.items()}
    return old_names


def _match(
    left: CheckpointReader, right: CheckpointReader, group: _Group, traits: Sequence[_Trait]
) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Matches leaves by what they share, one trait after another."""
    groups = [group]
    for trait in traits:
        groups = [smaller for found in groups for smaller in _split(left, right, found, trait)]
    for old_paths, new_paths in groups:
        yield from zip(_by_ending(old_paths), _by_ending(new_paths), strict=False)


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


def _stored_form(reader: CheckpointReader, path: KeyPath) -> Hashable:
    """Gives what two leaves share whose stored bytes may tell that they are equal; plain ones share nothing."""
    form = reader.stored_form(path)
    return (reader.root, path) if form.encoding == RAW else (form.encoding, form.lengths)


def _read_head(reader: CheckpointReader, path: KeyPath) -> int:
    return hash(reader.read_pieces(path, [(0, min(reader.specs()[path].nbytes, _HEAD_NBYTES))]))


def _by_ending(paths: Sequence[KeyPath]) -> list[KeyPath]:
    return sorted(paths, key=lambda path: [str(key) for key in reversed(path.keys)])
