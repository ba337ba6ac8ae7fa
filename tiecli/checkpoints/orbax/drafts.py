"""Drafts: the leaves and the JSON files of the next state of an item, decided before a byte is written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.orbax.directories import STEP, TREE
from tiecli.checkpoints.orbax.documents import LeafChange, derive_documents, set_custom, store_name
from tiecli.checkpoints.orbax.leafdrafts import Encoded, LeafDraft, Stored, View
from tiecli.checkpoints.orbax.originals import Base, find_base, list_step_ties, remember
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.orbax.strays import list_strays
from tiecli.checkpoints.protocol import Metadata
from tiecli.checkpoints.streaming import LeafStream
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS, ArrayMetadata, make_array
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import KEY, Manifest, Original
from tiecli.ties import Tie


@dataclass(frozen=True, slots=True)
class Asked:
    """What a writer was told to store.

    Attributes:
        kept: Leaves taken over, stored bytes unchanged.
        fresh: Leaves whose bytes are new: their spec and their bytes, or the leaf they repeat.
        views: Leaves that become second names of others' bytes.
    """

    kept: Collection[KeyPath]
    fresh: Mapping[KeyPath, tuple[LeafSpec, Iterable[memoryview] | KeyPath]]
    views: Mapping[KeyPath, Tie]


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """What a commit is to publish.

    Attributes:
        leaves: What the store is to hold.
        strays: What its database holds beside them, by key, and goes on holding.
        documents: The JSON files, by name as `read_documents` names them.
        restored: Whether everything came back as before the first tie; None if nothing was to.
        notices: What the person at the terminal should know.
    """

    leaves: tuple[LeafDraft, ...]
    strays: Mapping[str, Value]
    documents: Mapping[str, bytes]
    restored: bool | None
    notices: tuple[str, ...]


class ItemDrafting:
    """Works a draft out, from the leaves asked for and what the source remembers."""

    def __init__(self, reader: OrbaxReader, step: Path | None, asked: Asked, metadata: Metadata) -> None:
        """Takes what a writer was told.

        Args:
            reader: The source.
            step: The directory of the item's step, if its metadata is to follow.
            asked: The leaves.
            metadata: The manifest.

        Raises:
            ManifestError: The source's manifest is damaged.
            OrbaxMetadataError: A file is damaged.
        """
        self.reader = reader
        self.asked = asked
        self.manifest = metadata.manifest
        self.before = reader.manifest()
        self.base: Base = find_base(reader.location.item, step, self.before)

    def draft(self) -> ItemDraft:
        """Works everything out.

        Raises:
            OrbaxMetadataError: A file is damaged.
        """
        leaves = tuple(self._draft_leaves())
        known = {*self.reader.item.arrays, *(self.before.by_alias if self.before else ())}
        added = [path for path in self.asked.fresh if path not in known]
        # Also an alias that returns: whoever changed the tree since may have written it without.
        derived = self._derive(leaves, tuple(self.asked.fresh))
        restored = None
        # A converted checkpoint has ties, and no files of before them.
        if self.manifest is None and self.before is not None and self.before.originals:
            restored = not self.base.edited and not added
        notices = tuple(
            f"`{name}` was changed by others since it was tied, so it is derived from what it says now"
            for name in self.base.edited
        )
        strays = list_strays(self.reader.item, {leaf.name for leaf in leaves})
        return ItemDraft(leaves, strays, self._with_manifest(derived), restored, notices)

    def _draft_leaves(self) -> Iterator[LeafDraft]:
        kept = set(self.asked.kept)
        for path in dict.fromkeys((*self.reader.item.arrays, *self.asked.fresh)):
            if path in self.asked.views:
                yield self._view(path, self.asked.views[path])
            elif path in self.asked.fresh:
                yield self._fresh(path, *self.asked.fresh[path])
            elif path in kept:
                array, raw = self.reader.item.array(path), self.reader.item.raw_metadata(path)
                yield LeafDraft(array.node.name, array.metadata, raw, Stored(self.reader.item.chunks(path)))

    def _view(self, path: KeyPath, tie: Tie) -> LeafDraft:
        permuted = self.reader.view_of(tie)
        if permuted is None:
            raise ValueError(f"{tie} cannot be told by metadata alone")
        of = self.reader.item.array(tie.canonicals[0]).node.name
        metadata = permuted.metadata
        return LeafDraft(store_name(path), metadata, metadata.to_bytes(), View(of, permuted.chunk_key_map))

    def _fresh(self, path: KeyPath, spec: LeafSpec, source: Iterable[memoryview] | KeyPath) -> LeafDraft:
        name = store_name(path)
        metadata, raw = self._encoding_of(path, spec, source)
        if not isinstance(source, KeyPath):
            return LeafDraft(name, metadata, raw, Encoded(source))
        item = self.reader.item
        if item.array(source).metadata.encoding == metadata.encoding:
            return LeafDraft(name, metadata, raw, Stored(item.chunks(source), again=True))
        return LeafDraft(name, metadata, raw, Encoded(LeafStream(self.reader, source)))

    def _encoding_of(
        self, path: KeyPath, spec: LeafSpec, source: Iterable[memoryview] | KeyPath
    ) -> tuple[ArrayMetadata, bytes]:
        """Chooses how a leaf is stored: as it was before it was tied, as it is now, or like its model."""
        item = self.reader.item
        was = self.base.arrays.get(store_name(path))
        if was is not None and was[0].spec == spec:
            return was
        if path in item.arrays and item.array(path).metadata.spec == spec:
            return item.array(path).metadata, item.raw_metadata(path)
        if isinstance(source, KeyPath):
            return item.array(source).metadata, item.raw_metadata(source)
        model = item.array(self._model_of(path)).metadata
        made = make_array(spec, model.version, like=model)
        return made, made.to_bytes()

    def _model_of(self, path: KeyPath) -> KeyPath:
        """Gives a leaf that a new one is stored like: the one it repeats or follows from, else any."""
        source = self.asked.fresh[path][1]
        if isinstance(source, KeyPath):
            return source
        return next(iter(self.reader.item.arrays))

    def _derive(self, leaves: Iterable[LeafDraft], added: Collection[KeyPath]) -> Mapping[str, bytes]:
        modes = {record.tie.alias: record.mode for record in (self.manifest.records if self.manifest else ())}
        drafts = {leaf.name: leaf for leaf in leaves}
        omitted, changed = [], {}
        for path, mode in modes.items():
            was = self._was(path)
            if was is None:
                continue  # It was tied before it came here, and never was in this tree.
            shape = drafts[store_name(path)].metadata.chunk_shape if mode == "alias" else ()
            if mode == "omit":
                omitted.append(path)
            elif shape != was[0].chunk_shape:
                changed[path] = LeafChange(write_shape=shape)
        return derive_documents(self.base.documents, omitted, changed, added)

    def _was(self, path: KeyPath) -> tuple[ArrayMetadata, bytes] | None:
        """How an alias was stored before it was tied; None if it never was."""
        item = self.reader.item
        if path in item.arrays and store_name(path) not in self.base.arrays:
            return item.array(path).metadata, item.raw_metadata(path)
        return self.base.arrays.get(store_name(path))

    def _with_manifest(self, derived: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Adds the manifest to what the files are to say, and the first state of each to the manifest."""
        documents = dict(derived)
        step_ties = self._ties_of_other_items()
        if self.manifest is not None:
            originals = {
                name: remember(name, self.base.documents[name], raw)
                for name, raw in derived.items()
                if raw != self.base.documents[name] or name in (TREE, STEP)
            }
            originals |= dict(self._arrays_before())
            manifest = replace(self.manifest, originals=originals)
            documents[TREE] = set_custom(documents[TREE], KEY, json.loads(manifest.to_json()))
            step_ties[self.reader.location.item_name] = json.loads(Manifest(self.manifest.records).to_json())
        if STEP in documents and step_ties:
            documents[STEP] = set_custom(documents[STEP], KEY, step_ties, STEP)
        return documents

    def _arrays_before(self) -> Iterator[tuple[str, Original]]:
        """Yields, for each alias, how it was stored before it was tied."""
        assert self.manifest is not None
        for record in self.manifest.records:
            was = self._was(record.tie.alias)
            if was is not None:
                key = f"{store_name(record.tie.alias)}/{METADATA_KEYS[was[0].version]}"
                yield key, Original.pack("array", was[1])

    def _ties_of_other_items(self) -> dict[str, object]:
        """The ties of the step's other items, as the step's metadata has them."""
        items = {} if self.base.step_before is None else list_step_ties(self.base.step_before)
        items.pop(self.reader.location.item_name, None)
        return items
