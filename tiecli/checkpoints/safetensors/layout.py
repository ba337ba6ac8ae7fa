"""Layout: the header and the order of bytes of a safetensors file that is to be written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiecli.checkpoints.copying import BLOCK
from tiecli.checkpoints.safetensors.header import LIMIT_HEADER, Header, Info
from tiecli.errors import WriteFailedError
from tiecli.leaves import LeafSpec

# Below this, blocks that could be shared are not worth a padded header.
_WORTH_PADDING = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes taken over from an open file: leaves that follow each other there and here."""

    descriptor: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Fresh:
    """The bytes of a leaf that is written anew."""

    name: str
    nbytes: int
    blocks: Iterable[memoryview] = field(compare=False)


Part = Run | Fresh


@dataclass(frozen=True, slots=True)
class FileLayout:
    """All of a file that is to be written.

    Attributes:
        raw: The header, padded, without its length.
        parts: The data, in order.
        leaves: How many leaves it holds.
    """

    raw: bytes
    parts: tuple[Part, ...]
    leaves: int

    @property
    def nbytes(self) -> int:
        """The size of the whole file."""
        return 8 + len(self.raw) + sum(part.nbytes for part in self.parts)


def descends(current: Header, original: Header, aliases: Collection[str], own_key: str) -> bool:
    """Whether a header is what tying made of the original one, and nobody touched it since.

    Args:
        current: The header as it stands.
        original: The header before the first tie.
        aliases: Leaves that were tied away.
        own_key: The metadata key that tiecli adds.
    """
    kept = {name: info for name, info in original.infos.items() if name not in aliases or name in current.infos}
    if kept.keys() != current.infos.keys():
        return False
    for name, info in kept.items():
        now = current.infos[name]
        if original.specs[name] != current.specs[name] or len(info) != len(now):
            return False
        if len(info) > 3 and {**info, "data_offsets": 0} != {**now, "data_offsets": 0}:
            return False
    before = original.metadata or {}
    added = {key: text for key, text in (current.metadata or {}).items() if before.get(key) != text}
    added.pop(own_key, None)
    if added.get("format") == "pt" and "format" not in before:
        del added["format"]
    return added.keys() <= set(aliases) - before.keys() and before.keys() <= (current.metadata or {}).keys()


def order_leaves(base: Header, wanted: Mapping[str, LeafSpec]) -> tuple[str, ...]:
    """Orders leaves as the base has them, new ones behind."""
    known = tuple(name for name in base.order if name in wanted)
    return known + tuple(name for name in wanted if name not in base.infos)


def write_header(base: Header, wanted: Mapping[str, LeafSpec], metadata: Mapping[str, str] | None) -> bytes:
    """Writes the header that a file gets, or gives the base's own bytes if nothing differs.

    Args:
        base: The header that entries, their order and their extra fields are taken from.
        wanted: The leaves that the file is to hold.
        metadata: Its `__metadata__`.
    """
    if dict(base.specs) == dict(wanted) and base.metadata == metadata:
        return base.raw
    offsets: dict[str, list[int]] = {}
    position = 0
    for name in order_leaves(base, wanted):
        end = position + wanted[name].nbytes
        offsets[name] = [position, end]
        position = end
    known = {name: _entry(info, wanted[name], offsets[name]) for name, info in base.infos.items() if name in wanted}
    added = {name: _entry({}, wanted[name], offsets[name]) for name in wanted if name not in base.infos}
    return encode_header({**known, **added}, metadata)


def encode_header(entries: Mapping[str, Info], metadata: Mapping[str, str] | None) -> bytes:
    """Writes a header, not padded yet, from what it says of each tensor."""
    members = {**({} if metadata is None else {"__metadata__": dict(metadata)}), **entries}
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _entry(info: Mapping[str, Any], spec: LeafSpec, offsets: list[int]) -> dict[str, Any]:
    return {**info, "dtype": spec.dtype.name, "shape": list(spec.shape), "data_offsets": offsets}


def merge_runs(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Joins runs that follow each other in the same file."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if (
            isinstance(part, Run)
            and isinstance(last, Run)
            and (part.descriptor, part.offset) == (last.descriptor, last.offset + last.nbytes)
        ):
            merged[-1] = Run(last.descriptor, last.offset, last.nbytes + part.nbytes)
        elif part.nbytes or isinstance(part, Fresh):
            merged.append(part)
    return tuple(merged)


def pad_header(raw: bytes, parts: tuple[Part, ...]) -> bytes:
    """Pads a header with spaces, so that most kept bytes can share their blocks.

    Blocks are shared only between places that lie alike in their block. Which place suits
    most bytes depends on the parts alone, so equal input gives equal files everywhere.
    """
    weights: Counter[int] = Counter()
    position = 0
    for part in parts:
        if isinstance(part, Run) and part.nbytes >= _WORTH_PADDING:
            weights[(part.offset - position) % BLOCK] += part.nbytes
        position += part.nbytes
    start = 8 + len(raw)
    padding = -start % 8
    fitting = [(nbytes, residue) for residue, nbytes in weights.items() if residue % 8 == 0]
    if fitting:
        padding = (max(fitting)[1] - start) % BLOCK
    if len(raw) + padding > LIMIT_HEADER:
        raise WriteFailedError(
            f"the new header takes {len(raw) + padding:,} bytes, more than the {LIMIT_HEADER:,} that the format allows",
            "Split the checkpoint into shards first.",
        )
    return raw + b" " * padding
