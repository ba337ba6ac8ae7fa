"""Publishing: puts a drafted item, with all that lies around it, beside its target and then in its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tiecli.checkpoints.exchanging import exchange_directory
from tiecli.checkpoints.orbax.directories import DATABASE, PROCESS, STEP, TREE
from tiecli.checkpoints.orbax.drafts import ItemDraft
from tiecli.checkpoints.orbax.filestore import write_files
from tiecli.checkpoints.orbax.packing import write_database
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.protocol import Progress, Target, WrittenFile
from tiecli.checkpoints.safetensors.filling import fill_text
from tiecli.checkpoints.staging import Stage
from tiecli.checkpoints.trees import Entry, carry_file, finish_directories, list_tree, set_mode
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS

_STORE = (DATABASE, "d", "ocdbt_data", "ocdbt_meta")
_ROOT_METADATA = "metadata"
_BUG = "This is a bug; report it."


class Unit(NamedTuple):
    """What is published together.

    Attributes:
        source: The directory: an item, a step, or a root of steps.
        item: The item within it; empty if it is the unit.
        step: The step within it whose metadata follows; None if it has none, or is not part of the unit.
    """

    source: Path
    item: str
    step: str | None


def choose_unit(reader: OrbaxReader, target: Target) -> Unit:
    """Says what has to be written or replaced together.

    A new checkpoint is of the level of what was given. In place, the step is replaced: its
    own metadata follows that of the item, and other steps have nothing to do with it.
    """
    location = reader.location
    if location.step is None or (location.level == "item" and not target.in_place):
        return Unit(location.item, "", None)
    item = "" if location.item == location.step else location.item.name
    if location.level != "root" or target.in_place:
        return Unit(location.step, item, "")
    return Unit(location.root, str(PurePosixPath(location.step.name, item)), location.step.name)


class ItemPublishing:
    """Publishes a draft as a new directory, or in the source's place.

    Attributes:
        reader: The source.
        target: Where the new checkpoint goes.
        unit: What is published together.
        draft: What the item is to hold.
        progress: Told of every piece written.
        notices: What the person at the terminal should know.
    """

    def __init__(self, reader: OrbaxReader, target: Target, unit: Unit, draft: ItemDraft, progress: Progress) -> None:
        self.reader = reader
        self.target = target
        self.unit = unit
        self.draft = draft
        self.progress = progress
        self.notices: list[str] = [*reader.location.notices, *draft.notices]

    def publish(self) -> list[WrittenFile]:
        """Publishes, or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            TargetError: The target cannot be written; the class says why.
            OSError: The system refused.
        """
        return self._exchange() if self.target.in_place else self._publish_new()

    def _publish_new(self) -> list[WrittenFile]:
        entries, odd = self._list_source()
        if odd:
            self.notices.append(f"left out, being neither files nor directories: {', '.join(odd)}")
        stage = Stage(self.target.path, directory=True)
        try:
            replaced = self._list_replaced(entries)
            kept = [entry for entry in entries if entry.name not in replaced]
            files = [file for entry in kept if (file := self._bring(entry, stage.path)) is not None]
            files += self._build(stage.path)
            finish_directories(self.unit.source, stage.path, entries, sync=self.target.sync)
            self.reader.check_unchanged()
            stage.publish(sync=self.target.sync)
        finally:
            stage.discard()
        return files

    def _exchange(self) -> list[WrittenFile]:
        if self.reader.location.level == "root":
            self.notices.append(f"only step {self.reader.location.step_number} is changed")
        entries, _ = list_tree(self.unit.source.resolve())
        return exchange_directory(
            self.unit.source,
            self._list_replaced(entries),
            lambda stage, _: self._build(stage),
            self.reader.check_unchanged,
            self.notices,
            sync=self.target.sync,
        )

    def _list_source(self) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
        """Lists what belongs to the new checkpoint; of a root, one step and what is said of all."""
        source, step = self.unit.source, self.unit.step
        if not step:
            return list_tree(source)
        entries: list[Entry] = []
        odd: list[str] = []
        for name in (_ROOT_METADATA, step):
            if (source / name).is_dir():
                below, strange = list_tree(source / name)
                mode = stat.S_IMODE((source / name).stat().st_mode)
                entries.append(Entry(name, "directory", mode, is_link=False))
                entries += [entry.placed_below(name) for entry in below]
                odd += [f"{name}/{inner}" for inner in strange]
        if any(entry.is_dir() and entry.name not in (_ROOT_METADATA, step) for entry in source.iterdir()):
            self.notices.append(f"only step {self.reader.location.step_number} is written; `{source}` holds more")
        return tuple(entries), tuple(odd)

    def _list_replaced(self, entries: Sequence[Entry]) -> frozenset[str]:
        """Names what of the unit is written anew, or goes; files of others between the chunks of a leaf stay."""
        item = f"{self.unit.item}/" if self.unit.item else ""
        stored = {item + name for name in self._list_stored()}
        gone = stored | self._documents.keys()
        if self.reader.item.use_ocdbt:
            below = (entry.name for entry in entries if entry.name.startswith(item))
            gone |= {name for name in below if _is_of_database(name[len(item) :])}
        left = {above for entry in entries if entry.name not in gone for above in _list_above(entry)}
        emptied = {above for name in stored for above in _prefixes(name)} - left - {*_prefixes(item.rstrip("/"))}
        return frozenset(gone | emptied)

    def _list_stored(self) -> Iterator[str]:
        """Yields the names, within the item, of all files that hold a part of a leaf."""
        item = self.reader.item
        if item.use_ocdbt:
            yield from (value.file for value in item.values.values() if value.file)
            return
        for path, parts in item.parts.items():
            array = item.arrays[path]
            yield f"{array.node.name}/{METADATA_KEYS[array.metadata.version]}"
            yield from (part.file for part in parts)

    @property
    def _documents(self) -> dict[str, bytes]:
        """The JSON files by their names within the unit, the one without which nothing is found last."""
        placed = {}
        for name, raw in sorted(self.draft.documents.items(), key=lambda document: document[0] == TREE):
            of_step = name == STEP and self.unit.step is not None and self.reader.location.step is not None
            placed[str(PurePosixPath(self.unit.step or "" if of_step else self.unit.item, name))] = raw
        return placed

    def _bring(self, entry: Entry, stage: Path) -> WrittenFile | None:
        source, target = self.unit.source / entry.name, stage / entry.name
        if entry.kind == "directory":
            target.mkdir(mode=0o700)
            return None
        if entry.kind == "link":
            target.symlink_to(source.readlink())
            return None
        return carry_file(source, target, entry.name, self.target.kept_files, self.target.sync, self.progress)

    def _build(self, stage: Path) -> list[WrittenFile]:
        """Writes the store and the JSON files, and opens the result once."""
        item = stage / self.unit.item
        data, draft = self.reader.item.data, self.draft
        if self.reader.item.use_ocdbt:
            files = write_database(item, data, draft.leaves, self.target, self.progress, draft.strays)
        else:
            files = write_files(item, data, draft.leaves, self.target, self.progress)
        mode = stat.S_IMODE((self.reader.location.item / TREE).stat().st_mode)
        for file in files:
            if file.how == "written":
                set_mode(item / file.name, mode)
        prefix = f"{self.unit.item}/" if self.unit.item else ""
        files = [file._replace(name=prefix + file.name) for file in files]
        status = (self.reader.location.item / TREE).stat()
        for name, raw in self._documents.items():
            descriptor = os.open(stage / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fill_text(descriptor, stage / name, raw, status, self.target.sync)
            finally:
                os.close(descriptor)
            files.append(WrittenFile(name, len(raw), "written"))
        return files


def _is_of_database(name: str) -> bool:
    top = name.partition("/")[0]
    return top in _STORE or top.startswith(PROCESS)


def _list_above(entry: Entry) -> list[str]:
    """Lists what has to stay for something to stay: all directories above it, and itself if it is more than one."""
    return [] if entry.kind == "directory" else _prefixes(entry.name)


def _prefixes(name: str) -> list[str]:
    """Lists a path and all directories above it."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
