"""STF013: a file holds no tensors."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.errors import TiecliError
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file, save for shards that tying has emptied."""
    for file in subject.files:
        if file.header is not None and not file.infos and not _is_emptied(subject, file.name):
            yield Finding("File stores no tensors.", file=file.name)


def _is_emptied(subject: Subject, name: str) -> bool:
    """Whether tiecli's manifest says that the leaves of a file are tied, and come back with `untie`."""
    try:
        manifest = subject.reader.manifest() if subject.reader else None
    except TiecliError:
        return False
    return manifest is not None and name in manifest.originals


RULE = Rule(
    code="STF013",
    name="no-tensors",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
A safetensors file is sound and names no tensor at all. A shard whose only tensors were tied away with `tiecli tie` is
not meant: tiecli's manifest knows what belongs there.""",
    why="""\
Older releases of the library cannot read a file that holds metadata only, and where it can be read the model starts
from random weights. A state dict that was empty when it was saved, or filtered to nothing, is behind it.""",
    mend="No fix: nothing says what should be there. Save again, or remove the file if no index names it.",
    bad="""\
{"__metadata__": {"format": "pt"}}""",
    good="""\
{"__metadata__": {"format": "pt"}, "wte.weight": ...}""",
    threads=("safetensors#466",),
)
