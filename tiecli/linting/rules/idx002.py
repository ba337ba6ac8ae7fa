"""IDX002: the index places a tensor in a file that does not hold it."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.edits import IndexLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file and place where its tensors are instead."""
    index = subject.safetensors.shard_index
    if index is None:
        return
    for shard, leaves in subject.placement.absent.items():
        groups: dict[tuple[str, ...], list[str]] = {}
        for leaf in leaves:
            groups.setdefault(subject.placement.homes.get(leaf, ()), []).append(leaf)
        for homes, group in groups.items():
            it, where = ("it is", "it") if len(group) == 1 else ("they are", "them")
            many = "" if len(group) == 1 else f"{len(group):,} tensors, "
            place = f"{it} in {list_names(homes)}" if homes else f"no other file holds {where}"
            told = f"Index places {many}{list_names(group)} in `{shard}`, which does not contain {where}; {place}."
            yield Finding(told, tuple(group), index.name, fix=_mend(group, homes))


def _mend(leaves: list[str], homes: tuple[str, ...]) -> Fix | None:
    """Corrects rows whose tensors are in exactly one other file."""
    if len(homes) != 1:
        return None
    what = f"`{leaves[0]}`" if len(leaves) == 1 else f"{len(leaves):,} tensors"
    return Fix(f"place {what} in `{homes[0]}`", tuple(IndexLeaf(leaf, homes[0]) for leaf in leaves), safe=True)


RULE = Rule(
    code="IDX002",
    name="indexed-tensor-absent",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="A row of the shard index names a file that is there, but that does not hold the tensor.",
    why="""\
Loaders that follow the index fail when they ask the file for the tensor, often late and with a message about the file.
Loaders that go by the files never miss it, so that a tensor that is nowhere stays as it was initialised.
An index that was not written again after tensors were dropped, renamed or moved is the usual cause.""",
    mend="""\
The fix corrects the row if exactly one other file holds the tensor; it is safe, since no loader could read it where
the row said. If no file holds it, there is no fix: put the tensor back, or remove the row if the model needs none.""",
    bad="""\
model.safetensors.index.json       "lm_head.weight": "model-00001-of-00002.safetensors"
model-00001-of-00002.safetensors   model.embed_tokens.weight
model-00002-of-00002.safetensors   lm_head.weight""",
    good="""\
model.safetensors.index.json       "lm_head.weight": "model-00002-of-00002.safetensors"
model-00001-of-00002.safetensors   model.embed_tokens.weight
model-00002-of-00002.safetensors   lm_head.weight""",
    threads=("huggingface_hub#4725", "huggingface_hub#4728", "torchtitan#3764", "llama.cpp#12456"),
)
