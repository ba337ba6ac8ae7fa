"""Index surveys: a shard index, sound or damaged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tiecli.checkpoints.safetensors.shardindex import parse_index, stays_inside
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.errors import CheckpointError, CheckpointNotFoundError

_KINDS = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}


class IndexSurvey(NamedTuple):
    """What can be told of a shard index.

    The door's strict reading accepts an index exactly if there is neither a problem nor an escape.

    Attributes:
        name: The file's name.
        path: Where it is.
        raw: Its bytes.
        document: The whole JSON; None if it does not parse to an object.
        weight_map: The rows that name a file, tensor names to file names; paths that lead
            out of the directory are among them. Of a repeated name the last row counts.
        problems: What is wrong with it as JSON or as an index, worded to follow "Index ".
        escapes: The file names that lead out of the directory, in the order of their first mention.
    """

    name: str
    path: Path
    raw: bytes
    document: Mapping[str, Any] | None
    weight_map: Mapping[str, str]
    problems: tuple[str, ...] = ()
    escapes: tuple[str, ...] = ()

    @property
    def shards(self) -> tuple[str, ...]:
        """The files that it names, in the order of their first mention."""
        return tuple(dict.fromkeys(self.weight_map.values()))


def survey_index(path: Path, name: str) -> IndexSurvey:
    """Reads an index, whatever state it is in.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreadableFileError: The system refuses, or it is absurdly large.
    """
    raw = read_text_file(path, name)
    if raw is None:
        raise CheckpointNotFoundError(f"`{path}` is gone", "Run the command again.")
    try:
        index = parse_index(raw, name)
    except CheckpointError:
        return _read_leniently(path, name, raw)
    return IndexSurvey(name, path, raw, index.document, index.weight_map)


def _read_leniently(path: Path, name: str, raw: bytes) -> IndexSurvey:
    """Reads what the strict reading refuses, and lists all that is wrong."""
    problems: list[str] = []
    document = _decode(raw, problems)
    if not isinstance(document, dict):
        return IndexSurvey(name, path, raw, None, {}, tuple(problems))
    rows = document.get("weight_map")
    if not isinstance(rows, dict):
        problems.append("has no `weight_map` object, which says where each tensor is")
        rows = {}
    if not isinstance(document.get("metadata") or {}, dict):
        problems.append(f"has {_kind(document['metadata'])} as `metadata`, expected an object")
    weight_map = {leaf: shard for leaf, shard in rows.items() if isinstance(shard, str)}
    if len(weight_map) < len(rows):
        leaf = next(leaf for leaf in rows if leaf not in weight_map)
        told = f"gives {_shorten(leaf)} {_kind(rows[leaf])} in place of a file name"
        problems.append(told + _and_others(len(rows) - len(weight_map)))
    shards = tuple(dict.fromkeys(weight_map.values()))
    escapes = tuple(shard for shard in shards if not stays_inside(shard))
    roundabout = [shard for shard in shards if str(PurePosixPath(shard)) != shard and stays_inside(shard)]
    if roundabout:
        told = f"spells the file {_shorten(roundabout[0])} in a roundabout way"
        problems.append(told + _and_others(len(roundabout)))
    return IndexSurvey(name, path, raw, document, weight_map, tuple(problems), escapes)


def _decode(raw: bytes, problems: list[str]) -> object:
    """Reads JSON whose keys may repeat, the last one counting; None if it is none."""
    repeated: Counter[str] = Counter()
    try:
        text = raw.decode("utf-8")
        if text.startswith("\ufeff"):
            problems.append("begins with a byte order mark, which JSON does not allow")
        document = json.loads(
            text.removeprefix("\ufeff"), object_pairs_hook=lambda pairs: _note_repeats(pairs, repeated)
        )
        problems.extend(_find_surrogates(document))
    except UnicodeDecodeError as error:
        problems.append(f"is not UTF-8: {error.reason} at byte {error.start:,}")
    except RecursionError:
        problems.append("is nested too deep")
    except ValueError as error:
        problems.append(f"is not JSON: {str(error).split(';')[0].lower()}")
    else:
        if repeated:
            key, count = next(iter(repeated.items()))
            problems.append(f"holds the key {_shorten(key)} {count} times" + _and_others(len(repeated)))
        if not isinstance(document, dict):
            problems.append("is no JSON object")
        return document
    return None


def _note_repeats(pairs: list[tuple[str, Any]], repeated: Counter[str]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated.update({key: count for key, count in counts.items() if count > 1})
    return members


def _find_surrogates(document: object) -> Iterator[str]:
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        yield "holds half of a surrogate pair, which is no character"


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a string"
    return _KINDS.get(type(value), "null")


def _shorten(name: str) -> str:
    return f"`{name[:77]}...`" if len(name) > 80 else f"`{name}`"


def _and_others(count: int) -> str:
    return f", and {count - 1:,} more such" if count > 1 else ""
