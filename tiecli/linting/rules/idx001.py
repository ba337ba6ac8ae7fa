"""IDX001: the index names a file that is not there."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding for all files that are missing; those that lie outside are another rule's."""
    survey = subject.safetensors
    index = survey.shard_index
    if index is None or len(survey.missing) == len(index.escapes):
        return
    escapes = frozenset(index.escapes)
    missing = dict.fromkeys(name for name in survey.missing if name not in escapes)
    leaves = tuple(leaf for leaf, shard in index.weight_map.items() if shard in missing)
    shown = list_names(tuple(missing))
    alone = len(missing) == 1
    told = f"{shown}, which does not exist. It" if alone else f"{len(missing):,} files that do not exist: {shown}. They"
    yield Finding(
        f"Index names {told} should hold {len(leaves):,} of {len(index.weight_map):,} tensors.",
        leaves,
        index.name,
        hint="Fetch what is missing again, from where the index comes from.",
    )


RULE = Rule(
    code="IDX001",
    name="missing-shard",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="The shard index names a file that is not in the directory, or a link to a file that is not there.",
    why="""\
The tensors of that file are not to be had. Some loaders stop with a file that is not found; others go by the files
that are there, pass over the rest, and leave those weights as they were initialised, so that the model answers in
gibberish.""",
    mend="""\
No fix: the tensors are elsewhere. Fetch the file again. If the index is the one that is wrong, take the index that
belongs to these files.""",
    bad="""\
model.safetensors.index.json       "model.norm.weight": "model-00002-of-00002.safetensors"
model-00001-of-00002.safetensors""",
    good="""\
model.safetensors.index.json       "model.norm.weight": "model-00002-of-00002.safetensors"
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors""",
    threads=("sglang#32279", "CoSER#3", "colibri#1317", "mlx-vlm#1827"),
)
