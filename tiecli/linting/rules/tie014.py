"""TIE014: leaves that are to be tied have different dtypes."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.quantized import quantized_parts
from tiecli.errors import TransformMismatchError
from tiecli.leaves import LeafSpec
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import derive_spec, list_stored_ties
from tiecli.linting.tying import StatedTie


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair of fitting shapes; quantised heads are TIE015's."""
    for tie, sources, target in list_stored_ties(subject):
        derived = _derive(tie, sources)
        if derived is None or derived.dtype == target.dtype or derived.shape != target.shape or not target.size:
            continue
        if quantized_parts(tie.alias, subject.specs):
            continue
        made = f"`{tie.canonical}` is {derived.dtype}"
        if tie.transform != "same":
            made = f"`{tie.transform}` of `{tie.canonical}` is {derived.dtype}"
        yield Finding(
            f"Tied {made}, `{tie.alias}` is {target.dtype}.",
            (tie.alias, *(tie.parts or (tie.canonical,))),
            subject.homes.get(tie.alias, ""),
            hint="Save both from one model in one dtype; or drop the one that was only cast.",
        )


def _derive(tie: StatedTie, sources: tuple[LeafSpec, ...]) -> LeafSpec | None:
    """Says what the alias must look like; None if TIE013 has to say that it cannot."""
    try:
        return derive_spec(tie, sources)
    except TransformMismatchError:
        return None


RULE = Rule(
    code="TIE014",
    name="tied-dtype-mismatch",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
Config or settings tie two stored leaves of one shape, and they have different dtypes. A cast that the settings
declare is taken into account.""",
    why="""\
They cannot be one tensor. A loader that ties them keeps the one it meets first; one that does not computes the
logits in another precision than the model was trained in, or stops (`mat1 and mat2 must have the same dtype`).
Quantising or casting one side only brings it about.""",
    mend="""\
No fix: a cast loses bits, and headers do not tell which of the two is the original. If the tie holds, drop
the leaf of the lower precision; if it does not, set the config's flag to false.""",
    bad="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 32000×2048
lm_head.weight              F32 32000×2048""",
    good="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 32000×2048""",
    threads=("Automodel#3491", "trl#6330", "llm-compressor#2798"),
)
