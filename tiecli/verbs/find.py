"""Finding: which leaves are equal under some transform, and which have drifted apart."""

from __future__ import annotations

from pathlib import Path

from tiecli.architectures import named_like_ties
from tiecli.checkpoints import open_reader
from tiecli.declared import list_ties
from tiecli.detect import FindReport, find_ties
from tiecli.keypaths import KeyPath
from tiecli.verbs.tie import Tracker, track_nothing


def find(checkpoint: str | Path, *, track: Tracker = track_nothing) -> FindReport:
    """Finds ties that a checkpoint does not write down.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, or any file of one.
        track: Shows progress.

    Raises:
        CheckpointError: The checkpoint cannot be trusted or read.
    """
    with open_reader(Path(checkpoint)) as reader:
        specs = reader.specs()
        declared = [
            (KeyPath.from_name(tie.canonical), KeyPath.from_name(tie.alias))
            for tie in list_ties(reader)
            if KeyPath.from_name(tie.alias) in specs
        ]
        named = [
            (KeyPath.from_name(canonical), KeyPath.from_name(alias))
            for canonical, alias in named_like_ties(path.spelling for path in specs)
        ]
        with track("searching", sum(spec.nbytes for spec in specs.values())) as progress:
            return find_ties(reader, declared=declared, named=named, progress=progress)
