"""Originals: what each file was before the first tie, and what it is to become now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiecli.checkpoints.safetensors.header import Header, parse_header
from tiecli.checkpoints.safetensors.layout import descends
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.safetensors.shardindex import ShardIndex, parse_index, without_manifest
from tiecli.checkpoints.storedfile import StoredFile
from tiecli.digests import digest_bytes
from tiecli.errors import CheckpointError, ManifestError
from tiecli.leaves import LeafSpec
from tiecli.manifest import KEY, Manifest, Original

MAIN = "."
"""What the only file of a checkpoint is called in its manifest."""


@dataclass(frozen=True, slots=True)
class Base:
    """The header that a file's next header is derived from.

    Attributes:
        file: The file as it is.
        header: As it was before the first tie, if that is known and still fits; else as it is.
        metadata: The metadata to start from, free of what tiecli added.
        original: The record to keep for the last untie; None if what was is not known.
        edited: Whether a record exists that does not fit any more.
    """

    file: StoredFile
    header: Header
    metadata: Mapping[str, str] | None
    original: Original | None
    edited: bool = False


@dataclass(frozen=True, slots=True)
class TextBase:
    """A text file as it was before the first tie, if that is known and still fits; else as it is.

    Attributes:
        raw: Its bytes.
        original: The record to keep for the last untie.
        remembered: Whether the manifest knew it.
        edited: Whether the manifest has a record that does not fit any more.
    """

    raw: bytes
    original: Original
    remembered: bool = False
    edited: bool = False


def digest_index(document: Mapping[str, Any]) -> str:
    """Digests an index, but for the manifest in it, which could not hold its own digest."""
    return digest_bytes(encode_index(without_manifest(document)))


def encode_index(document: Mapping[str, Any]) -> bytes:
    """Writes an index the way the Hugging Face libraries do, in the order of its keys."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def find_base(reader: SafetensorsReader, file: StoredFile, manifest: Manifest | None) -> Base:
    """Finds what a file's header was before the first tie.

    Raises:
        ManifestError: The record is damaged.
    """
    header = file.header
    key = MAIN if reader.index is None else file.name
    if manifest is None:
        return Base(file, header, header.metadata, Original.pack("header", header.raw))
    original = manifest.originals.get(key)
    aliases = {record.tie.alias.spelling: record for record in manifest.records}
    if original is not None:
        before = _parse_original(original, key)
        if descends(header, before, aliases.keys(), KEY):
            return Base(file, before, before.metadata, original)
    elif reader.index is not None and aliases.keys().isdisjoint(header.metadata or {}):
        return Base(file, header, header.metadata, Original.pack("header", header.raw))
    cleaned = {
        name: text
        for name, text in (header.metadata or {}).items()
        if name != KEY and not (name in aliases and aliases[name].tie.canonical == text)
    }
    return Base(file, header, cleaned or None, None, edited=True)


def _parse_original(original: Original, key: str) -> Header:
    try:
        return parse_header(original.unpack(), key, None)
    except ManifestError:
        raise
    except CheckpointError as error:
        raise ManifestError(
            f"the manifest's copy of an original header is damaged: {error.message}",
            "See docs/manifest.md; untie with the tiecli that wrote it, or from the original checkpoint.",
        ) from error


def find_text_base(name: str, raw: bytes, manifest: Manifest | None) -> TextBase:
    """Finds what a text file was before the first tie."""
    original = manifest.originals.get(name) if manifest else None
    if original is None:
        return TextBase(raw, Original.pack("text", raw))
    if original.written != digest_bytes(raw):
        return TextBase(raw, Original.pack("text", raw), edited=True)
    return TextBase(original.unpack(), original, remembered=True)


def find_index_base(index: ShardIndex, manifest: Manifest | None) -> tuple[ShardIndex, Original | None, bool]:
    """Finds what an index was before the first tie.

    Returns:
        That index, the record to keep, and whether a record exists that does not fit any more.

    Raises:
        ManifestError: The record is damaged.
    """
    original = manifest.originals.get(index.name) if manifest else None
    if manifest is None:
        return index, Original.pack("text", index.raw), False
    if original is not None and original.written == digest_index(index.document):
        try:
            return parse_index(original.unpack(), index.name), original, False
        except ManifestError:
            raise
        except CheckpointError as error:
            raise ManifestError(f"the manifest's copy of an original index is damaged: {error.message}") from error
    aliases = {record.tie.alias.spelling: record.tie.canonical for record in manifest.records}
    document = without_manifest(index.document)
    if "metadata" in document:
        metadata = document["metadata"] or {}
        document["metadata"] = {key: value for key, value in metadata.items() if aliases.get(key, KEY) != value}
    return ShardIndex(index.name, index.raw, document), None, True


def derive_index(
    base: ShardIndex,
    before: Mapping[str, LeafSpec],
    after: Mapping[str, tuple[str, LeafSpec]],
    conventional: Mapping[str, str],
) -> dict[str, Any]:
    """Derives the index that fits the leaves, the manifest not yet in it.

    Args:
        base: The index to start from.
        before: The leaves that it lists.
        after: The leaves to list, with their shards.
        conventional: Alias names to canonical names, in the convention of huggingface_hub.
    """
    places = {name: after[name][0] for name in base.weight_map if name in after}
    places.update((name, shard) for name, (shard, _) in after.items())
    sizes_before, sizes_after = list(before.values()), [spec for _, spec in after.values()]
    metadata: dict[str, Any] = dict(base.metadata)
    for key, measure in (("total_size", "nbytes"), ("total_parameters", "size")):
        if type(metadata.get(key)) is int:
            metadata[key] += sum(getattr(spec, measure) for spec in sizes_after)
            metadata[key] -= sum(getattr(spec, measure) for spec in sizes_before)
    if conventional and "metadata" not in base.document:
        metadata["total_size"] = sum(spec.nbytes for spec in sizes_after)
    for alias, canonical in conventional.items():
        metadata.setdefault(alias, canonical)
    document = dict(base.document)
    if metadata or "metadata" in document:
        document["metadata"] = metadata
    document["weight_map"] = places
    return document
