"""Drafts: every file of the next checkpoint, decided in full before a byte is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tiecli.checkpoints.protocol import Metadata
from tiecli.checkpoints.safetensors.layout import (
    FileLayout,
    Fresh,
    Part,
    Run,
    merge_runs,
    order_leaves,
    pad_header,
    write_header,
)
from tiecli.checkpoints.safetensors.originals import (
    MAIN,
    Base,
    derive_index,
    digest_index,
    encode_index,
    find_base,
    find_index_base,
    find_text_base,
)
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.digests import digest_bytes
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import KEY, Manifest, Original


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A leaf whose bytes are new.

    Attributes:
        spec: Its shape and dtype.
        blocks: Its bytes; or the stored leaf whose bytes it repeats.
        beside: A leaf in whose file to put it, if no file has a place for it.
    """

    spec: LeafSpec
    blocks: Iterable[memoryview] | KeyPath = field(compare=False)
    beside: KeyPath | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a commit is to publish.

    Attributes:
        layouts: By file name, the safetensors files that differ from the source's.
        texts: By file name, the text files that differ.
        restored: Whether everything came back as before the first tie; None if nothing was to.
        notices: What the person at the terminal should know.
    """

    layouts: Mapping[str, FileLayout]
    texts: Mapping[str, bytes]
    restored: bool | None
    notices: tuple[str, ...]


class Drafting:
    """Works a draft out, from the leaves asked for and what the source remembers."""

    def __init__(
        self, reader: SafetensorsReader, kept: Iterable[KeyPath], fresh: Mapping[KeyPath, Rewrite], metadata: Metadata
    ) -> None:
        """Takes what `keep`, `write` and `commit` were told.

        Raises:
            ManifestError: The source's manifest is damaged.
        """
        self.reader = reader
        self.metadata = metadata
        self.fresh = {path.spelling: rewrite for path, rewrite in fresh.items()}
        self.manifest = reader.manifest()
        self.bases = {file.name: find_base(reader, file, self.manifest) for file in reader.stored}
        self.originals: dict[str, Original] = {}
        self.layouts: dict[str, FileLayout] = {}
        self.texts: dict[str, bytes] = {}
        self.notices: list[str] = []
        remembered = {
            name for name, it in (self.manifest.originals if self.manifest else {}).items() if it.part == "header"
        }
        self.intact = not any(base.edited for base in self.bases.values()) and remembered <= {MAIN, *self.bases}
        self.wanted = self._assign(kept, fresh)

    def _assign(self, kept: Iterable[KeyPath], fresh: Mapping[KeyPath, Rewrite]) -> dict[str, dict[str, LeafSpec]]:
        """Decides which file holds which leaf."""
        asked = {path.spelling for path in kept}
        wanted: dict[str, dict[str, LeafSpec]] = {}
        homes: dict[str, str] = {}
        for file, base in self.bases.items():
            header = base.file.header
            wanted[file] = {name: header.specs[name] for name in header.order if name in asked}
            homes.update(dict.fromkeys(base.header.specs, file))
            homes.update(dict.fromkeys(header.specs, file))
        last = self.reader.stored[-1].name if self.reader.stored else ""
        for path, rewrite in fresh.items():
            beside = homes.get(rewrite.beside.spelling, last) if rewrite.beside else last
            wanted[homes.get(path.spelling, beside)][path.spelling] = rewrite.spec
        return wanted

    def draft(self) -> Draft:
        """Works everything out.

        Raises:
            ManifestError: The source's manifest is damaged.
            WriteFailedError: A header grows beyond what the format allows.
        """
        tied = self.metadata.manifest is not None
        self._draft_texts(tied=tied)
        if self.reader.index is None:
            self._draft_single()
        else:
            self._draft_sharded()
        # A converted checkpoint has ties, and no files of before them.
        remembered = self.manifest is not None and bool(self.manifest.originals)
        if not tied and remembered and not self.intact:
            self.notices.append("the files were changed by others since they were tied, so their headers are new ones")
        restored = None if tied or not remembered else self.intact and not self._list_additions()
        return Draft(self.layouts, self.texts, restored, tuple(self.notices))

    def _list_additions(self) -> list[str]:
        """Lists the leaves that no original had: somebody else's ties, stored for the first time."""
        return [name for name in self.fresh if all(name not in base.header.specs for base in self.bases.values())]

    def _draft_single(self) -> None:
        (base,) = self.bases.values()
        wanted = self.wanted[base.file.name]
        metadata = self._file_metadata(base)
        if self.metadata.manifest is not None:
            if base.original is not None:
                self.originals[MAIN] = base.original
            # The manifest stands in the header whose original it holds.
            metadata = dict(metadata or {})
            metadata.setdefault("format", "pt")
            metadata[KEY] = self._manifest().to_json()
        self._lay_out(base, wanted, metadata)

    def _draft_sharded(self) -> None:
        for base in self.bases.values():
            name, wanted = base.file.name, self.wanted[base.file.name]
            metadata = self._file_metadata(base)
            if metadata and base.metadata != metadata:
                metadata.setdefault("format", "pt")
            self._lay_out(base, wanted, metadata)
            raw = self.layouts[name].raw if name in self.layouts else base.file.header.raw
            if base.original is not None and raw != base.header.raw:
                self.originals[name] = base.original
            if not wanted and base.file.header.specs:
                self.notices.append(f"`{name}` holds no leaf any more; it stays, so that untying can fill it again")
        self._draft_index()

    def _draft_index(self) -> None:
        index = self.reader.index
        assert index is not None
        base, original, edited = find_index_base(index, self.manifest)
        self.intact &= not edited
        after = {leaf: (file, spec) for file, wanted in self.wanted.items() for leaf, spec in wanted.items()}
        known = {leaf: spec for each in self.bases.values() for leaf, spec in each.header.specs.items()}
        before = {leaf: known[leaf] for leaf in base.weight_map if leaf in known}
        document = derive_index(base, before, after, self._conventional(after))
        if self.metadata.manifest is not None:
            if original is not None:
                self.originals[index.name] = replace(original, written=digest_index(document))
            document["metadata"] = {**(document.get("metadata") or {}), KEY: self._manifest().to_json()}
        raw = base.raw if document == base.document and not edited else encode_index(document)
        if raw != index.raw:
            self.texts[index.name] = raw

    def _conventional(self, stored: Iterable[str]) -> dict[str, str]:
        present = set(stored)
        return {
            alias: canonical
            for alias, canonical in self.metadata.conventional.items()
            if alias not in present and canonical in present
        }

    def _file_metadata(self, base: Base) -> dict[str, str] | None:
        """The metadata that a file gets, the manifest not yet in it."""
        everywhere = {leaf for each in self.wanted.values() for leaf in each}
        here = base.header.specs.keys() | base.file.header.specs.keys()
        metadata = dict(base.metadata or {})
        for name in self.fresh:
            # It said that this leaf follows from another one; now it is stored.
            if name not in base.header.specs and metadata.get(name) in everywhere:
                del metadata[name]
        for alias, canonical in self._conventional(everywhere).items():
            if alias in here or self.reader.index is None:
                metadata.setdefault(alias, canonical)
        return metadata if metadata or base.metadata is not None else None

    def _lay_out(self, base: Base, wanted: Mapping[str, LeafSpec], metadata: Mapping[str, str] | None) -> None:
        """Lays a file out, unless it stays as it is."""
        now = base.file.header
        raw = write_header(base.header, wanted, metadata)
        if raw is base.header.raw and raw == now.raw and self.fresh.keys().isdisjoint(wanted):
            return
        parts: list[Part] = []
        for name in order_leaves(base.header, wanted):
            if name in self.fresh:
                parts.append(self._fresh_part(name, wanted[name].nbytes))
            else:
                begin, end = now.infos[name]["data_offsets"]
                parts.append(Run(base.file.descriptor, now.data_start + begin, end - begin))
        merged = merge_runs(parts)
        padded = raw if raw is base.header.raw else pad_header(raw, merged)
        self.layouts[base.file.name] = FileLayout(padded, merged, len(wanted))

    def _fresh_part(self, name: str, nbytes: int) -> Part:
        blocks = self.fresh[name].blocks
        if isinstance(blocks, KeyPath):
            extent = self.reader.extent(blocks)
            return Run(extent.descriptor, extent.offset, extent.nbytes)
        return Fresh(name, nbytes, blocks)

    def _draft_texts(self, *, tied: bool) -> None:
        before = self.manifest.originals if self.manifest else {}
        index = self.reader.index.name if self.reader.index else ""
        remembered = [name for name, original in before.items() if original.part == "text" and name != index]
        for name in dict.fromkeys([*self.metadata.texts, *remembered]):
            raw = read_text_file(self.reader.location.directory / name, name)
            if raw is None:
                self.notices.append(f"`{name}` is not there any more")
                self.intact = False
                continue
            self._draft_text(name, raw, tied=tied)

    def _draft_text(self, name: str, raw: bytes, *, tied: bool) -> None:
        if self.reader.root != self.reader.location.directory:
            self.notices.append(f"`{name}` stays as it is: the file beside it was given, not the directory")
            return
        base = find_text_base(name, raw, self.manifest)
        asked = self.metadata.texts.get(name)
        new = raw if asked is None else asked.encode("utf-8")
        if tied and new != base.raw:
            self.originals[name] = replace(base.original, written=digest_bytes(new))
        elif not tied and base.edited:
            self.intact = False
            self.notices.append(f"`{name}` was changed by others since it was tied; what it was before is not put back")
        elif not tied and base.remembered:
            new = base.raw
        if new != raw:
            self.texts[name] = new

    def _manifest(self) -> Manifest:
        assert self.metadata.manifest is not None
        return replace(self.metadata.manifest, originals=self.originals)
