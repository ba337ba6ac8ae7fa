"""IDX004: several files hold a tensor of the same name."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.edits import DropLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding for the tensors that the same files hold."""
    for files, leaves in subject.placement.doubled.items():
        many, are = ("", "is") if len(leaves) == 1 else (f"{len(leaves):,} tensors, ", "are")
        alike = "of the same shape and dtype" if _are_alike(subject, files, leaves) else "of other shapes or dtypes"
        yield Finding(
            f"{many}{list_names(leaves)} {are} stored in {list_names(files)}, {alike}.",
            leaves,
            fact=",".join(files),
            fix=_mend(subject, files, leaves),
            hint="Remove the file that is left over from another save, if one is.",
        )


def _are_alike(subject: Subject, files: tuple[str, ...], leaves: tuple[str, ...]) -> bool:
    specs = [file.specs for file in subject.files if file.name in files]
    return all(len({each.get(leaf) for each in specs}) == 1 for leaf in leaves)


def _mend(subject: Subject, files: tuple[str, ...], leaves: tuple[str, ...]) -> Fix | None:
    """Keeps what the index names, if that is one of the files for every tensor."""
    index = subject.safetensors.shard_index
    rows = index.weight_map if index else {}
    if any(rows.get(leaf) not in files for leaf in leaves):
        return None
    what = f"`{leaves[0]}`" if len(leaves) == 1 else f"{len(leaves):,} tensors"
    edits = tuple(DropLeaf(leaf, file) for leaf in leaves for file in files if file != rows[leaf])
    return Fix(f"keep {what} only where the index says", edits, safe=False)


RULE = Rule(
    code="IDX004",
    name="tensor-in-two-shards",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
Two or more files of one checkpoint hold a tensor of the same name. Shapes and dtypes are compared, bytes are not.""",
    why="""\
Loaders that follow the index take one of them, loaders that read all files take the last one they come to, which
depends on the order that the system lists them in. If the copies differ, so do the models; if they are equal, the
space is wasted. Two splits of one model side by side, or a save into a used directory, are the usual causes.""",
    mend="""\
The unsafe fix keeps the copy that the index names and drops the others; where the index names none of them there is no
fix. It is unsafe since nothing here says which copy is the one that was meant.""",
    bad="""\
model-00001-of-00002.safetensors   model.embed_tokens.weight, model.norm.weight
model-00002-of-00002.safetensors   model.norm.weight, lm_head.weight""",
    good="""\
model-00001-of-00002.safetensors   model.embed_tokens.weight
model-00002-of-00002.safetensors   model.norm.weight, lm_head.weight""",
    threads=("sglang#35107",),
)
