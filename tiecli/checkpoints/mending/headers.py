"""Headers: the layout of a safetensors file that is written anew, its tensors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tiecli.checkpoints.safetensors.header import Info
from tiecli.checkpoints.safetensors.layout import FileLayout, Run, encode_header, merge_runs, pad_header
from tiecli.checkpoints.survey.files import FileSurvey
from tiecli.errors import FixError
from tiecli.leaves import LeafSpec


class _Entry(NamedTuple):
    """One tensor that stays: its new name, and what the header says of it."""

    name: str
    info: Info
    spec: LeafSpec
    begin: int


def lay_out_file(
    file: FileSurvey, descriptor: int, names: Mapping[str, str | None], metadata: Mapping[str, str] | None
) -> FileLayout:
    """Lays a file out anew, so that no two tensors share a byte, none is left over, and all are aligned.

    Args:
        file: What the file is now.
        descriptor: Of it.
        names: New names of tensors; None for one that goes. The others keep theirs.
        metadata: The strings it gets.

    Raises:
        FixError: Not all that stays is known and there.
        WriteFailedError: The header grows beyond what the format allows.
    """
    if not file.mendable:
        raise FixError(f"`{file.name}` lacks bytes, or does not say clearly what it holds: it cannot be written anew")
    entries = [_read_entry(file, leaf, name) for leaf in file.infos if (name := names.get(leaf, leaf)) is not None]
    ordered = _order(entries)
    places: dict[str, tuple[int, int]] = {}
    position = 0
    for entry in ordered:
        places[entry.name] = position, position + entry.spec.nbytes
        position += entry.spec.nbytes
    infos = {entry.name: {**entry.info, "data_offsets": [*places[entry.name]]} for entry in entries}
    if len(infos) < len(entries):
        raise FixError(f"two tensors of `{file.name}` would have one name")
    try:
        raw = encode_header(infos, metadata)
    except ValueError as error:
        raise FixError(f"the header of `{file.name}` holds what cannot be written: {error}") from error
    runs = merge_runs(Run(descriptor, file.data_start + entry.begin, entry.spec.nbytes) for entry in ordered)
    return FileLayout(pad_header(raw, runs), runs, len(entries))


def _read_entry(file: FileSurvey, leaf: str, name: str) -> _Entry:
    """Takes what a header says of a tensor; a file that is mendable says it rightly, but for unknown dtypes."""
    info, spec = file.infos[leaf], file.specs.get(leaf)
    if spec is None:
        raise FixError(f"`{leaf}` of `{file.name}` is of a dtype that safetensors does not know")
    begin, end = info["data_offsets"]
    if end - begin != spec.nbytes or end > file.size - file.data_start:
        raise FixError(f"`{leaf}` of `{file.name}` does not lie where its header says")
    return _Entry(name, info, spec, begin)


def _order(entries: Sequence[_Entry]) -> list[_Entry]:
    """Orders tensors as their bytes lie; or wide elements first, if else one would not lie at a multiple of its size.

    Wide elements first is how the reference writer orders them.
    """
    ordered = sorted(entries, key=lambda entry: (entry.begin, entry.begin + entry.spec.nbytes))
    position = 0
    for entry in ordered:
        if position * 8 % entry.spec.dtype.bits:
            return sorted(ordered, key=lambda entry: -entry.spec.dtype.bits)
        position += entry.spec.nbytes
    return ordered
