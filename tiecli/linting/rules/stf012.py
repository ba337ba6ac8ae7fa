"""STF012: a tensor has a length of zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

if TYPE_CHECKING:
    from tiecli.checkpoints.survey.files import FileSurvey

_MANY = 4
_HINT = "Gather the parameters before saving, as DeepSpeed's `zero_to_fp32.py` or `accelerator.get_state_dict` do."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a tensor, or one a file in which most are empty."""
    for file in subject.files:
        empty = [name for name, spec in file.specs.items() if 0 in spec.shape and not _is_table(spec.shape)]
        if empty and file.damages:
            wrong = {leaf for damage in file.damages if damage.kind == "size-mismatch" for leaf in damage.leaves}
            empty = [name for name in empty if name not in wrong]
        if len(empty) > _MANY and 2 * len(empty) > len(file.specs):
            yield _tell_of_all(file, empty)
            continue
        for name in empty:
            shape = list(file.specs[name].shape)
            yield Finding(f"`{name}` has shape {shape!r:.60} and stores nothing.", (name,), file.name, hint=_HINT)


def _is_table(shape: Sequence[int]) -> bool:
    """Whether a shape is that of a table of no rows, as `[1, 0, 384]`; what is not gathered is empty from its start."""
    return shape[0] == 1 and shape[-1] != 0


def _tell_of_all(file: FileSurvey, empty: Sequence[str]) -> Finding:
    """Words that it is the file that is hollow, and not a tensor here and there."""
    told = f"{len(empty):,} of {len(file.specs):,} tensors store nothing, `{empty[0]}` the first."
    return Finding(told, tuple(empty), file.name, hint=_HINT)


RULE = Rule(
    code="STF012",
    name="empty-tensor",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The shape of a tensor holds a zero, so that its name is there and its values are not. Tables that are laid out for
batches and happen to have no rows, such as register tokens of shape [1, 0, 384], are not meant.""",
    why="""\
Under DeepSpeed ZeRO-3, parameters are empty placeholders on every rank until they are gathered, and a plain save writes
those. Loading stops with "copying a param with shape torch.Size([0]) from checkpoint", or the file is 138 kB for a
model of 3.2 billion parameters, which nobody notices before the training state is gone.""",
    mend="""\
No fix: the values are not in the file. Save again with the parameters gathered, or convert the checkpoint of ZeRO.""",
    bad="""\
model.embed_tokens.weight   BF16 [0]""",
    good="""\
model.embed_tokens.weight   BF16 [32000, 4096]""",
    threads=("DeepSpeed#6836", "DeepSpeed#3841", "transformers#20082", "accelerate#883", "FastChat#508"),
)
