"""IDX003: a tensor is in a shard and not in the index."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.edits import IndexLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file that holds tensors without a row."""
    for file, leaves in subject.placement.unindexed.items():
        many, are = ("", "is") if len(leaves) == 1 else (f"{len(leaves):,} tensors, ", "are")
        what = f"`{leaves[0]}`" if len(leaves) == 1 else f"{len(leaves):,} tensors"
        yield Finding(
            f"{many}{list_names(leaves)} {are} in `{file}` but not in the index.",
            leaves,
            file,
            fix=Fix(f"add {what} to the index", tuple(IndexLeaf(leaf, file) for leaf in leaves), safe=True),
        )


RULE = Rule(
    code="IDX003",
    name="unindexed-tensor",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="A shard that the index names holds a tensor for which the index has no row.",
    why="""\
Whether the tensor is loaded depends on the loader: those that read whole files have it, those that follow the index do
not, and then it is missing, or the part of the model that it belongs to is taken to be absent.""",
    mend="""\
The fix adds the row, and to `total_size` what that left out. It is safe: the row says what the file holds. If the
tensor is not to be loaded, it should not be in the file either.""",
    bad="""\
model.safetensors.index.json       "lm_head.weight": "model-00001-of-00001.safetensors"
model-00001-of-00001.safetensors   lm_head.weight, mtp.0.proj.weight""",
    good="""\
model.safetensors.index.json       "lm_head.weight": "model-00001-of-00001.safetensors"
                                   "mtp.0.proj.weight": "model-00001-of-00001.safetensors"
model-00001-of-00001.safetensors   lm_head.weight, mtp.0.proj.weight""",
    threads=("vmlx-swift#388", "mlx-swift-lm#562"),
)
