"""STF011: a header does not say which framework its tensors are for."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.edits import SetMetadata
from tiecli.linting.frameworks import guess_format
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_KEY = "format"


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file with tensors."""
    for file in subject.files:
        if not file.infos or (file.metadata is not None and _KEY in file.metadata):
            continue
        # Metadata that cannot be read as such may well hold it.
        if file.metadata is None and any(it.kind == "unreadable" and not it.leaves for it in file.damages):
            continue
        tag = guess_format(file.specs) if file.mendable else None
        yield Finding(
            "`__metadata__` has no `format`." if file.metadata else "There is no `__metadata__` that gives a `format`.",
            file=file.name,
            fix=Fix(f"set `{_KEY}` to `{tag}`", (SetMetadata(file.name, _KEY, tag),), safe=True) if tag else None,
            hint="" if tag else "Say `pt`, `flax`, `tf` or `mlx`, by what the names of the tensors are made for.",
        )


RULE = Rule(
    code="STF011",
    name="format-tag-missing",
    severity="info",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
The `__metadata__` of a safetensors file is not there, is empty, or lacks `format`, which says for which framework the
tensors are named and laid out: `pt`, `flax`, `tf` or `mlx`.""",
    why="""\
Releases of transformers, accelerate and diffusers refuse a file without it ("does not contain metadata. Make sure to
save your model with the save_pretrained method"), and some readers stumble over metadata that is there and empty.
Plain `save_file` of the library does not write it.""",
    mend="""\
The fix adds `format: pt` if the names are PyTorch's: most end in `weight` or `bias`. It is safe, since that is what
loaders take an untagged file for. Where names look like those of Flax (`kernel`, `embedding`), TensorFlow or quantised
MLX models there is no fix: `pt` would have them loaded under names, and in a layout, that do not fit.""",
    bad="""\
{"wte.weight": ...}""",
    good="""\
{"__metadata__": {"format": "pt"}, "wte.weight": ...}""",
    threads=("safetensors#823", "fastsafetensors#89", "accelerate#1151", "mlx#743", "diffusers#10863"),
)
