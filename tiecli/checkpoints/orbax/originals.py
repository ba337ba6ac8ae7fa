"""Originals: what the JSON files of an item said before the first tie, and whether anybody changed them since."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiecli.checkpoints.jsonfiles import decode_object
from tiecli.checkpoints.orbax.directories import STEP, TREE
from tiecli.checkpoints.orbax.documents import derive_documents, set_custom
from tiecli.checkpoints.orbax.location import Location
from tiecli.checkpoints.storedfile import read_text_file, reading
from tiecli.checkpoints.zarr.arrays import ArrayMetadata, parse_array
from tiecli.digests import digest_bytes
from tiecli.errors import CheckpointError
from tiecli.manifest import KEY, Manifest, Original

_SIDE_FILES = ("_sharding",)
_ARRAY_METADATA = "array_metadatas"


@dataclass(frozen=True, slots=True)
class Base:
    """The state that every later one is derived from.

    Attributes:
        documents: The JSON files of the item and its step, by name, before the first tie.
        arrays: For each alias, by its name in the store, what was said of its chunks.
        edited: Files that others changed since they were tied; these are taken as they are.
        step_before: The metadata of the step as it is now; None without one.
    """

    documents: Mapping[str, bytes]
    arrays: Mapping[str, tuple[ArrayMetadata, bytes]]
    edited: tuple[str, ...]
    step_before: bytes | None


def find_base(item: Path, step: Path | None, manifest: Manifest | None) -> Base:
    """Works out what an item was before the first tie.

    Args:
        item: Its directory.
        step: The directory of its step, if that is to follow.
        manifest: The ties it carries now.

    Raises:
        ManifestError: What the manifest keeps is damaged.
        OrbaxMetadataError: A file is damaged.
        UnreadableFileError: The system refuses.
    """
    originals = manifest.originals if manifest else {}
    documents: dict[str, bytes] = {}
    edited: list[str] = []
    present = read_documents(item, step)
    for name, raw in present.items():
        kept = originals.get(name)
        if kept is None and name == STEP and step is not None:
            documents[name] = _find_before_others(step, raw)
        elif kept is None:
            documents[name] = without_manifest(name, raw)
        elif digest_document(name, raw) == kept.written:
            documents[name] = kept.unpack()
        else:
            documents[name] = without_manifest(name, raw)
            edited.append(name)
    arrays = {}
    for name, original in originals.items():
        if original.part == "array":
            leaf, _, _ = name.rpartition("/")
            raw = original.unpack()
            arrays[leaf] = (parse_array(raw, name), raw)
    return Base(documents, arrays, tuple(edited), present.get(STEP))


def list_step_ties(raw: bytes) -> dict[str, object]:
    """Lists what the metadata of a step tells of the ties of its items, by their names.

    Raises:
        OrbaxMetadataError: It is damaged.
    """
    custom = decode_object(raw, STEP).get("custom_metadata")
    told = custom.get(KEY) if isinstance(custom, dict) else None
    return dict(told) if isinstance(told, dict) else {}


def _find_before_others(step: Path, raw: bytes) -> bytes:
    """Finds what the metadata of a step was before any of its items was tied, as those remember that are."""
    for name in list_step_ties(raw):
        # Somebody else's item may be damaged, or gone; then the ties are taken out as they were put in.
        with contextlib.suppress(CheckpointError, KeyError, ValueError):
            tree = read_text_file(step / Path(name).name / TREE, TREE)
            custom = decode_object(tree or b"", TREE).get("custom_metadata")
            manifest = Manifest.from_json(json.dumps(custom[KEY] if isinstance(custom, dict) else None))
            kept = manifest.originals[STEP]
            if kept.written == digest_document(STEP, raw):
                return kept.unpack()
    return without_manifest(STEP, raw)


def check_documents(location: Location, manifest: Manifest | None) -> None:
    """Checks that the JSON files can follow when leaves come and go, before time is spent on the leaves.

    Raises:
        ManifestError: What the manifest keeps is damaged.
        OrbaxMetadataError: A file is damaged.
        UnsupportedCheckpointError: There is no room in one for a manifest.
        UnreadableFileError: The system refuses.
    """
    base = find_base(location.item, None if location.level == "item" else location.step, manifest)
    derive_documents(base.documents, (), {})
    for name in {TREE, STEP} & base.documents.keys():
        set_custom(base.documents[name], KEY, {}, name)


def read_documents(item: Path, step: Path | None) -> Mapping[str, bytes]:
    """Reads the JSON files that follow when leaves come and go, by name; the step's by the item's if it has one."""
    with reading(str(item)):
        processes = sorted(entry.name for entry in (item / _ARRAY_METADATA).glob("process_*") if entry.is_file())
        names = [TREE, *_SIDE_FILES, *(f"{_ARRAY_METADATA}/{name}" for name in processes)]
        found = {name: read_text_file(item / name, name) for name in names}
        found[STEP] = read_text_file((step or item) / STEP, STEP)
    return {name: raw for name, raw in found.items() if raw is not None}


def without_manifest(name: str, raw: bytes) -> bytes:
    """Gives a JSON file as it is without what tiecli put into it."""
    return set_custom(raw, KEY, None, name) if name in (TREE, STEP) else raw


def digest_document(name: str, raw: bytes) -> str:
    """Digests what a JSON file says, without the manifest and however it is written.

    Raises:
        OrbaxMetadataError: It is no JSON object.
    """
    document = decode_object(raw, name)
    if name in (TREE, STEP):
        custom = document.pop("custom_metadata", None)
        others = {key: value for key, value in custom.items() if key != KEY} if isinstance(custom, dict) else custom
        document["custom_metadata"] = others or None
    return digest_bytes(json.dumps(document, sort_keys=True).encode())


def remember(name: str, base: bytes, derived: bytes) -> Original:
    """Records what a file was, and what it became."""
    return Original.pack("text", base, digest_document(name, derived))
