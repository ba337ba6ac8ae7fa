"""Surroundings: what differs between two checkpoints beside their leaves."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import CONFIG
from tiecli.diffs.report import DiffEntry
from tiecli.diffs.sides import Side
from tiecli.keypaths import KeyPath


def diff_surroundings(left: Side, right: Side, recoded: Collection[KeyPath]) -> Iterator[DiffEntry]:
    """Yields what differs beside the leaves: other nodes of the tree, metadata, config, files.

    Args:
        left: What was.
        right: What is.
        recoded: Leaves that both store, in different ways.
    """
    yield from _diff_nodes(left, right)
    yield from _diff_texts(left.metadata, right.metadata)
    yield from _diff_configs(left.reader, right.reader)
    yield from _diff_storage(left, right, recoded)


def _diff_nodes(left: Side, right: Side) -> Iterator[DiffEntry]:
    """Tells of places that hold no array; where the other side has a leaf, that one is told of."""
    for path in dict.fromkeys((*left.nodes, *right.nodes)):
        before, after = left.nodes.get(path), right.nodes.get(path)
        if before == after or left.has(path) or right.has(path):
            continue
        if any(kind is not None and kind.startswith('"') for kind in (before, after)):
            change = "added" if before is None else "removed" if after is None else "changed"
            yield DiffEntry(path.spelling, change, before=before, after=after)  # type: ignore[arg-type]
        else:
            yield DiffEntry(path.spelling, "node", before=before, after=after)


def _diff_texts(left: Mapping[str, str], right: Mapping[str, str], prefix: str = "") -> Iterator[DiffEntry]:
    for key in dict.fromkeys((*left, *right)):
        before, after = left.get(key), right.get(key)
        if before != after and not _is_same_value(before, after):
            yield DiffEntry(prefix + key, "metadata", before=before, after=after)


def _is_same_value(before: str | None, after: str | None) -> bool:
    """Whether two texts are the same JSON value, which the formats write in different ways."""
    try:
        return before is not None and after is not None and bool(json.loads(before) == json.loads(after))
    except (ValueError, RecursionError):
        return False


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


def _diff_storage(left: Side, right: Side, recoded: Collection[KeyPath]) -> Iterator[DiffEntry]:
    if left.reader.format == right.reader.format == "safetensors":
        yield from _diff_files(left.reader, right.reader)
        return
    before, after = _word_layout(left.reader), _word_layout(right.reader)
    if recoded or before != after:
        yield DiffEntry(
            "", "recoded", before=before + _word_chunks(left, recoded), after=after + _word_chunks(right, recoded)
        )


def _diff_files(left: CheckpointReader, right: CheckpointReader) -> Iterator[DiffEntry]:
    if set(left.files) != set(right.files) and max(len(left.files), len(right.files)) > 1:
        before, after = (f"{len(side.files):,} file{'s'[: len(side.files) != 1]}" for side in (left, right))
        yield DiffEntry("", "resharded", before=before, after=after)


def _word_layout(reader: CheckpointReader) -> str:
    layout = reader.describe().rpartition("; ")[2]
    return f"{reader.format} ({layout})" if layout else reader.format


def _word_chunks(side: Side, paths: Collection[KeyPath]) -> str:
    """Words how some leaves are stored: `, zstd, 8 chunks`."""
    if side.reader.format != "orbax" or not paths:
        return ""
    stored = [side.reader.storage(side.own(path)) for path in paths]
    chunks = sum(leaf.chunks for leaf in stored)
    codecs = " and ".join(dict.fromkeys(leaf.codec for leaf in stored))
    return f", {codecs}, {chunks:,} chunk{'s'[: chunks != 1]}"
