"""File surveys: one safetensors file, sound or damaged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tiecli.checkpoints.safetensors.header import Header, parse_header
from tiecli.checkpoints.storedfile import open_regular, read_header, reading
from tiecli.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    HeaderError,
    LfsPointerError,
    TruncatedFileError,
    UncoveredBytesError,
)
from tiecli.leaves import LeafSpec

DamageKind = Literal[
    "truncated",
    "trailing",
    "hole",
    "overlap",
    "repeated-key",
    "size-mismatch",
    "unknown-dtype",
    "unreadable",
    "lfs-pointer",
    "metadata-type",
]

_BETWEEN_TENSORS = frozenset({"trailing", "hole", "overlap", "metadata-type"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})

# The last header of each name, as long as all of them together stay small.
_RECENT: dict[str, Header] = {}
_MOST_RECENT = 64
_SMALL = 1 << 18


class Damage(NamedTuple):
    """One thing that is wrong with a file; places are counted from the start of its data, ends not included.

    Attributes:
        kind: What.
        leaves: The tensors it concerns.
        facts: The figures that a message about it needs, by name:
            `truncated`: `need` and `have`, the bytes of the `part` that is cut short, which is the
            `length` of the header, the `header` or the `data`.
            `trailing`: `count`, the bytes behind the last tensor.
            `hole`: `start` and `stop`.
            `overlap`: `start` and `stop`, equal if an empty tensor lies inside another.
            `repeated-key`: `key`, `count`, and `inside`: the tensor or `__metadata__` whose key it
            is; empty for a key of the header itself.
            `size-mismatch`: `dtype`, `shape`, `need` and `have`.
            `unknown-dtype`: `name`, and `nbytes`: how many bytes the tensor takes; None if unknown.
            `unreadable`: `reason`, worded to follow "Header is"; of a file in another format, a `hint`.
            `lfs-pointer`: `size` of the file it stands for; None if it does not say.
            `metadata-type`: `key`; `type`, as it is called in a sentence; `text`, the value as JSON.
    """

    kind: DamageKind
    leaves: tuple[str, ...] = ()
    facts: Mapping[str, Any] = _NOTHING


class FileSurvey(NamedTuple):
    """What can be told of one safetensors file.

    Attributes:
        name: Its name inside the checkpoint's directory.
        path: Where it is, links not followed.
        size: Bytes in the file.
        header: The parsed header of a sound file; None if anything is wrong with it.
        data_start: Where the data begins, counted from the start of the file; 0 if the header is no JSON object.
        infos: What the header says of each tensor: `dtype`, `shape`, `data_offsets`. In a damaged
            file any of them may be missing, or be any JSON value.
        specs: Shape and dtype of each tensor for which both are valid, in the order written.
        metadata: `__metadata__` as it stands there, values that are no strings included; None
            without one, or if it is no object.
        damages: What is wrong. Where one damage implies another, only the first is there.
        mendable: Whether all its tensors are known and all their bytes are there, so that it
            can be written anew.
    """

    name: str
    path: Path
    size: int
    header: Header | None
    data_start: int
    infos: Mapping[str, Mapping[str, Any]]
    specs: Mapping[str, LeafSpec]
    metadata: Mapping[str, Any] | None
    damages: tuple[Damage, ...] = ()
    mendable: bool = True

    @property
    def legible(self) -> bool:
        """Whether it can be told which tensors the file holds; if not, that none is listed means nothing."""
        return self.data_start > 0


def survey_file(path: Path, name: str) -> FileSurvey:
    """Reads the header of a file, whatever state it is in.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreadableFileError: The system refuses, or it is no regular file.
        SourceChangedError: The file became shorter meanwhile.
    """
    descriptor, status = open_regular(path, name)
    size = status.st_size
    try:
        with reading(name):
            raw = read_header(descriptor, size, name)
    except (LfsPointerError, CheckpointNotFoundError, HeaderError, TruncatedFileError) as error:
        with reading(name):
            start = os.pread(descriptor, 512, 0)
        return FileSurvey(name, path, size, None, 0, {}, {}, None, (_find_root(error, start, size),), mendable=False)
    finally:
        os.close(descriptor)
    have = size - 8 - len(raw)
    header = None
    # What the strict reading held when it gave up must be gone before the lenient one begins.
    with contextlib.suppress(HeaderError, UncoveredBytesError):
        header = _parse(raw, name)
    if header is None:
        return _read_damaged(path, name, size, raw)
    known = (header.infos, header.specs, header.metadata)
    if header.data_size == have:
        return FileSurvey(name, path, size, header, header.data_start, *known)
    damages = (_compare_sizes(header, have),)
    return FileSurvey(name, path, size, None, header.data_start, *known, damages, _are_between(damages))


def _parse(raw: bytes, name: str) -> Header:
    """Parses a header; that of another file of the same name serves if it is the same to the byte.

    So are those of all checkpoints of one training run, and parsing takes half of their time.

    Raises:
        HeaderError: It is damaged.
        UncoveredBytesError: Bytes belong to no tensor.
    """
    before = _RECENT.get(name)
    if before is not None and before.raw == raw:
        return before
    header = parse_header(raw, name, None)
    if len(raw) <= _SMALL:
        if len(_RECENT) >= _MOST_RECENT:
            _RECENT.clear()
        _RECENT[name] = header
    return header


def _read_damaged(path: Path, name: str, size: int, raw: bytes) -> FileSurvey:
    # Most files are sound, and never need what this brings along.
    from tiecli.checkpoints.survey.damages import read_leniently

    found = read_leniently(raw, size - 8 - len(raw))
    data_start = 8 + len(raw) if found.legible else 0
    damages = tuple(found.damages)
    known = (found.infos, found.specs, found.metadata)
    return FileSurvey(name, path, size, None, data_start, *known, damages, _are_between(damages))


def _are_between(damages: Iterable[Damage]) -> bool:
    """Whether damages leave every tensor as it is."""
    return all(it.kind in _BETWEEN_TENSORS or it.facts.get("nbytes") == 0 for it in damages)


def _find_root(error: CheckpointError, start: bytes, size: int) -> Damage:
    """Puts into figures why no header could be read at all."""
    from tiecli.checkpoints.lookalikes import name_lookalike, read_pointer

    length = int.from_bytes(start[:8], "little")
    if isinstance(error, LfsPointerError):
        return Damage("lfs-pointer", (), {"size": read_pointer(start)})
    if isinstance(error, TruncatedFileError):
        if len(start) < 8:
            return Damage("truncated", (), {"part": "length", "need": 8, "have": size})
        return Damage("truncated", (), {"part": "header", "need": length, "have": size - 8})
    lookalike = name_lookalike(start)
    if lookalike:
        return Damage("unreadable", (), {"reason": f"missing: the file is {lookalike[0]}", "hint": lookalike[1]})
    return Damage("unreadable", (), {"reason": f"said to be {length:,} bytes long, which the format does not allow"})


def _compare_sizes(header: Header, have: int) -> Damage:
    """Says how the data differs in length from what a header that is sound in itself states."""
    need = header.data_size
    if need < have:
        return Damage("trailing", header.order[-1:], {"count": have - need})
    cut = tuple(name for name in header.order if header.infos[name]["data_offsets"][1] > have)
    return Damage("truncated", cut, {"part": "data", "need": need, "have": have})
