"""Converting: an Orbax checkpoint as safetensors, or the other way round, with its ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.contents import Contents, Form, OrbaxForm, SafetensorsForm
from tiecli.checkpoints.creating import can_share, describe_source, draft_creation
from tiecli.checkpoints.protocol import CheckpointReader, Selection, Target, Tracker, track_nothing
from tiecli.checkpoints.surroundings import list_left_behind
from tiecli.checkpoints.targets import check_target
from tiecli.conversion import ConvertReport, carry_metadata, carry_ties, to_name, to_path
from tiecli.conversion.report import ConvertedTie
from tiecli.errors import UsageError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.plan import Mode
from tiecli.ties import Tie

_SUFFIX = ".safetensors"


def convert(
    checkpoint: str | Path,
    target: Target | None = None,
    *,
    shard_nbytes: int | None = None,
    zarr: Literal[2, 3] | None = None,
    compress: bool = False,
    mode: Mode | None = None,
    step: int | None = None,
    item: str | None = None,
    track: Tracker = track_nothing,
) -> ConvertReport:
    """Writes a checkpoint in the other format: Orbax as safetensors, safetensors as Orbax.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or any file of one.
        target: Where the result goes: for safetensors one file, if its name ends so, or a
            directory; for Orbax the directory of an item. None reports only.
        shard_nbytes: To safetensors: begin another shard where one would grow beyond this.
        zarr: To Orbax: which version of zarr describes the arrays; 2 without it.
        compress: To Orbax: compress the arrays as Orbax does, rather than copy them as they are.
        mode: To Orbax: what becomes of aliases; None makes them second names of the same
            stored bytes where zarr can say so, `omit` leaves all of them out.
        step: Of a root of steps, which one; None for the latest.
        item: Of a step, which item; None for the only one.
        track: Shows progress.

    Raises:
        UsageError: An option is for the other format, or a leaf cannot be held by it.
        CheckpointError: The source cannot be trusted or read.
        TargetError: The target cannot be written; nothing was published.
    """
    with open_reader(Path(checkpoint), Selection(step, item)) as reader:
        form = _choose_form(reader, target, shard_nbytes, zarr, compress=compress, mode=mode)
        if target is not None:
            check_target(target, reader.root)
        contents, report = _decide(reader, form, mode)
        creation = draft_creation(reader, contents, form)
        report = replace(report, copied_nbytes=creation.copied_nbytes)
        if target is None:
            return report
        with track("writing", report.nbytes) as progress:
            commit = creation.publish(target, progress)
        return replace(report, output=commit.target, files=commit.files, notices=(*report.notices, *commit.notices))


def _choose_form(
    reader: CheckpointReader,
    target: Target | None,
    shard_nbytes: int | None,
    zarr: Literal[2, 3] | None,
    *,
    compress: bool,
    mode: Mode | None,
) -> Form:
    """Settles how the new checkpoint is laid out, and refuses what its format does not know."""
    names_file = target is not None and target.path.name.endswith(_SUFFIX)
    if reader.format == "orbax":
        if zarr is not None or compress or mode is not None:
            raise UsageError(
                f"`{reader.root}` becomes safetensors, which knows neither zarr nor compression nor second names",
                "Leave out --zarr3, --compress and --mode.",
            )
        if names_file and shard_nbytes is not None:
            raise UsageError(
                "--shard-size makes a directory, and the output names one file",
                f"Leave out --shard-size, or the `{_SUFFIX}` of the name.",
            )
        return SafetensorsForm(single=names_file, shard_nbytes=shard_nbytes)
    if shard_nbytes is not None:
        raise UsageError(f"`{reader.root}` becomes an Orbax item, which has no shards", "Leave out --shard-size.")
    if names_file:
        raise UsageError(
            f"an Orbax item is a directory, and the output is named like a `{_SUFFIX}` file",
            f"Choose a name that does not end in `{_SUFFIX}`.",
        )
    return OrbaxForm(zarr or 2, compressed=compress)


def _decide(reader: CheckpointReader, form: Form, mode: Mode | None) -> tuple[Contents, ConvertReport]:
    """Decides what the new checkpoint holds; reads the leaves that others follow from, and nothing else."""
    to_safetensors = isinstance(form, SafetensorsForm)
    rename = to_name if to_safetensors else to_path

    def share(tie: Tie, spec: LeafSpec) -> bool:
        """Whether an alias becomes a second name."""
        return mode != "omit" and can_share(tie, spec, form)

    stored: dict[KeyPath, KeyPath] = {rename(path): path for path in reader.specs()}
    ties = carry_ties(reader, rename, share)
    if mode == "alias":
        _refuse_alone(ties.reported)
    leaves = {path: source for path, source in stored.items() if source not in ties.dropped}
    record, left = describe_source(reader)
    carried = carry_metadata(reader.custom_metadata(), record, to_texts=to_safetensors, implied=ties.conventional)
    contents = Contents(
        leaves,
        carried.record,
        ties.manifest,
        ties.shared,
        ties.omitted,
        ties.conventional if to_safetensors else {},
        carried.custom,
    )
    specs = reader.specs()
    report = ConvertReport(
        reader.root,
        "orbax" if to_safetensors else "safetensors",
        "safetensors" if to_safetensors else "orbax",
        len(leaves),
        sum(specs[source].nbytes for source in leaves.values()),
        0,
        ties.reported,
        notices=(*ties.notices, *left, *list_left_behind(reader)),
    )
    return contents, report


def _refuse_alone(ties: Sequence[ConvertedTie]) -> None:
    """Refuses aliases that no metadata can tell, where all were to be second names."""
    alone = next((tie for tie in ties if tie.after == "omit"), None)
    if alone is not None:
        raise UsageError(
            f"`{alone.alias}` = `{alone.canonical}` | {alone.transform} cannot share stored bytes: "
            "the store's metadata can turn axes and nothing else",
            "Leave out --mode, or give --mode omit; --zarr3 can tell more orders of axes than zarr 2.",
        )
