"""Finding: which leaves are equal under some transform, and which have drifted apart."""

from __future__ import annotations

from pathlib import Path

from tiecli.architectures import named_like_ties
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Selection, Tracker, track_nothing
from tiecli.declared import list_ties
from tiecli.detect import FindReport, find_ties


def find(
    checkpoint: str | Path, *, step: int | None = None, item: str | None = None, track: Tracker = track_nothing
) -> FindReport:
    """Finds ties that a checkpoint does not write down.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, or an Orbax checkpoint,
            step or item.
        step: A step of an Orbax checkpoint; None for the latest.
        item: An item of an Orbax step; None for the only one.
        track: Shows progress.

    Raises:
        CheckpointError: The checkpoint cannot be trusted or read.
        PartNotFoundError: There is no such step or item.
    """
    with open_reader(Path(checkpoint), Selection(step, item)) as reader:
        specs = reader.specs()
        declared = [
            (tie.canonicals[0], tie.alias)
            for tie in list_ties(reader)
            if tie.alias in specs and len(tie.canonicals) == 1
        ]
        places = {path.spelling: path for path in specs}
        named = [(places[canonical], places[alias]) for canonical, alias in named_like_ties(places)]
        with track("searching", sum(spec.nbytes for spec in specs.values())) as progress:
            return find_ties(reader, declared=declared, named=named, progress=progress)
