"""IDX009: one file with the whole model beside a sharded index."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding if the file that goes by the index's own name is there, and the index does not name it."""
    survey = subject.safetensors
    index = survey.shard_index
    if index is None:
        return
    single = index.name.removesuffix(".index.json")
    if single in survey.listing and single not in index.weight_map.values():
        yield Finding(
            f"`{single}` sits beside a sharded index; which of the two is loaded depends on the loader.",
            file=single,
            hint=f"Remove `{single}`, or the shards and `{index.name}`: whichever is older.",
        )


RULE = Rule(
    code="IDX009",
    name="single-and-sharded",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="`model.safetensors` lies beside `model.safetensors.index.json`, which does not name it.",
    why="""\
transformers takes the single file, loaders that look for an index first take the shards, and loaders that read all
files take both. After a second save into the same directory one of the two is an older state of the model.""",
    mend="No fix: only its author knows which of the two is meant. Remove the other.",
    bad="""\
model.safetensors
model.safetensors.index.json   names model-00001-of-00002 and model-00002-of-00002
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors""",
    good="""\
model.safetensors.index.json   names model-00001-of-00002 and model-00002-of-00002
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors""",
    threads=("lerobot#826",),
)
