"""IDX008: the index names a file outside the checkpoint's directory."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding for all such names; none of them is ever opened."""
    index = subject.safetensors.shard_index
    if index is None or not index.escapes:
        return
    escapes = frozenset(index.escapes)
    yield Finding(
        f"Index names {list_names([name[:200] for name in index.escapes])} outside the checkpoint directory.",
        tuple(leaf for leaf, shard in index.weight_map.items() if shard in escapes),
        index.name,
        hint="Do not load this checkpoint before somebody has looked at the index.",
    )


RULE = Rule(
    code="IDX008",
    name="shard-path-escape",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The index gives, in place of a file name, a path that leads out of the directory on some system: `../`, an absolute
path, a drive letter, a backslash, a null character. The linter opens none of them.""",
    why="""\
Loaders that join the directory and the name open whatever lies there: another user's model, or any file that the
process may read. No library writes such names; somebody did, and may have meant to.""",
    mend="""\
No fix: what the index should have named is not known. Take the checkpoint from a place that you trust, or correct the
names by hand once it is clear where they came from.""",
    bad="""\
model.safetensors.index.json   "lm_head.weight": "../../other/model.safetensors\"""",
    good="""\
model.safetensors.index.json   "lm_head.weight": "model-00001-of-00002.safetensors\"""",
    threads=("transformers#46913", "transformers#47851", "transformers#47176"),
)
