"""Subjects: one checkpoint as rules see it; what is costly is worked out once, when first asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiecli.checkpoints.protocol import Progress, ignore_progress
from tiecli.checkpoints.survey.orbax import OrbaxSurvey, survey_orbax
from tiecli.checkpoints.survey.safetensors import SafetensorsSurvey, survey_safetensors
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import CheckpointError, PartNotFoundError
from tiecli.leaves import LeafSpec
from tiecli.linting.aliases import Aliases, read_aliases
from tiecli.linting.naming import Naming, read_names
from tiecli.linting.placing import Placement, place_leaves
from tiecli.linting.tying import StatedTie, list_stated

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader
    from tiecli.checkpoints.survey.files import FileSurvey
    from tiecli.linting.declaring import DeclaredPair
    from tiecli.linting.searching import Searcher
    from tiecli.linting.statistics import Statistics
    from tiecli.linting.tails import ZeroTail
    from tiecli.linting.watching import Watch
    from tiecli.slots import SlotReport


@dataclass
class Subject:
    """One checkpoint: its files, headers, config and leaves; damaged ones included.

    Attributes:
        unit: Which checkpoint.
        declared: Ties that the settings declare for it.
        asked: Codes of the rules that run: figures that only some of them want are left out otherwise.
        progress: Told the bytes that have been read, of all leaves together.
        listing: Names of the files in its directory, if they are known already.
    """

    unit: Unit
    declared: tuple[DeclaredPair, ...] = ()
    asked: frozenset[str] = frozenset()
    progress: Progress = ignore_progress
    listing: frozenset[str] | None = None
    _opened: list[CheckpointReader] = field(default_factory=list)

    @cached_property
    def safetensors(self) -> SafetensorsSurvey:
        """Its files, index and listing; of a safetensors checkpoint only."""
        return survey_safetensors(self.unit, self.listing)

    @cached_property
    def orbax(self) -> OrbaxSurvey:
        """Its steps, items and metadata; of an Orbax checkpoint only."""
        return survey_orbax(self.unit)

    @cached_property
    def files(self) -> tuple[FileSurvey, ...]:
        """Its safetensors files; none of an Orbax checkpoint."""
        return self.safetensors.files if self.unit.format == "safetensors" else ()

    @cached_property
    def specs(self) -> Mapping[str, LeafSpec]:
        """Shape and dtype of every leaf that can be told, by on-disk name; the first file to name one wins."""
        if self.unit.format == "safetensors":
            if len(self.files) == 1:
                return self.files[0].specs
            return {name: spec for file in reversed(self.files) for name, spec in file.specs.items()}
        return {path.spelling: spec for path, spec in self.reader.specs().items()} if self.reader else {}

    @cached_property
    def homes(self) -> Mapping[str, str]:
        """In which file each leaf is, by name; of a safetensors checkpoint."""
        return {name: file.name for file in reversed(self.files) for name in file.infos}

    @cached_property
    def naming(self) -> Naming:
        """What the names of all leaves show at one look."""
        return read_names(self)

    @cached_property
    def placement(self) -> Placement:
        """Where index and files disagree about what is where."""
        return place_leaves(self)

    @cached_property
    def slots(self) -> SlotReport:
        """What optimizers keep for which parameters, by headers and metadata."""
        from tiecli.linting.slotleaves import survey_slots

        return survey_slots(self)

    @cached_property
    def reader(self) -> CheckpointReader | None:
        """The checkpoint through the door, which reads sound ones only; None of any other."""
        from tiecli.checkpoints import open_unit

        # A leaf that two shards hold has no one value.
        if len(self.files) > 1 and len(self.specs) < sum(len(file.infos) for file in self.files):
            return None
        try:
            reader = open_unit(self.unit)
        except (CheckpointError, PartNotFoundError):
            return None
        self._opened.append(reader)
        return reader

    @cached_property
    def config_text(self) -> str | None:
        """The text of `config.json`; None if there is none, or none that is UTF-8."""
        raw = self.safetensors.text("config.json") if self.unit.format == "safetensors" else None
        try:
            return None if raw is None else raw.decode("utf-8")
        except UnicodeDecodeError:
            return None

    @cached_property
    def config(self) -> Mapping[str, Any] | None:
        """The object in `config.json`; None if there is none, or it is damaged."""
        try:
            document = json.loads(self.config_text) if self.config_text is not None else None
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    @cached_property
    def tokenizer(self) -> Mapping[str, Any] | None:
        """The object in `tokenizer.json`; None if there is none, or it is damaged."""
        raw = self.safetensors.text("tokenizer.json") if self.unit.format == "safetensors" else None
        try:
            document = None if raw is None else json.loads(raw)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    @cached_property
    def aliases(self) -> Aliases:
        """Which names its metadata says are others' second names."""
        return read_aliases(self)

    @cached_property
    def stated(self) -> tuple[StatedTie, ...]:
        """Every pair that config, settings, manifest or metadata speak about."""
        return list_stated(self)

    @cached_property
    def watch(self) -> Watch:
        """Measures what the search reads, so that no byte is read for each rule anew; for rules that need data."""
        from tiecli.linting.watching import Watch

        assert self.reader is not None
        return Watch(self.reader, ranges="NUM004" in self.asked)

    @cached_property
    def searcher(self) -> Searcher:
        """Finds equal leaves and compares stated pairs; for rules that need data."""
        from tiecli.linting.searching import Searcher

        return Searcher(self.watch.reader, self.stated)

    @cached_property
    def statistics(self) -> Statistics:
        """What the values of every leaf are like; reads all bytes, for rules that need data."""
        from tiecli.linting.statistics import take_statistics

        assert self.reader is not None
        known, ranges = self.watch.list_measured(), self.watch.ranges
        return take_statistics(self.reader, known=known, ranges=ranges, progress=self.progress)

    @cached_property
    def zero_tails(self) -> tuple[ZeroTail, ...]:
        """The files that end in zeros; of a safetensors checkpoint."""
        from tiecli.linting.tails import find_zero_tails

        if self.reader is None or self.unit.format != "safetensors":
            return ()
        return find_zero_tails(self.reader, self.statistics.leaves)

    def close(self) -> None:
        """Closes what was opened."""
        while self._opened:
            self._opened.pop().close()
