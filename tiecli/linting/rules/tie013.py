"""TIE013: leaves that are to be tied have shapes that cannot be."""

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
    """Yields one finding a pair; empty leaves are STF012's, and quantised ones have shapes of their own."""
    for tie, sources, target in list_stored_ties(subject):
        if not target.size or not all(spec.size for spec in sources) or _is_exempt(subject, tie, sources[0], target):
            continue
        problem = _find_problem(tie, sources, target)
        if problem:
            yield Finding(
                problem,
                (tie.alias, *(tie.parts or (tie.canonical,))),
                subject.homes.get(tie.alias, ""),
                hint="If one of them was resized without the other, save both again from the model; or untie them.",
            )


def _find_problem(tie: StatedTie, sources: tuple[LeafSpec, ...], target: LeafSpec) -> str:
    """Says why the alias cannot be what it is to be; empty if it can."""
    try:
        shape = derive_spec(tie, sources).shape
    except TransformMismatchError as error:
        return f"Tied `{tie.alias}` cannot be `{tie.transform}` of `{tie.canonical}`: {error.message}."
    if shape == target.shape:
        return ""
    if tie.transform == "same":
        return f"Tied `{tie.canonical}` {_word(shape)} and `{tie.alias}` {_word(target.shape)} have different shapes."
    what = f"`{tie.transform}` of `{tie.canonical}` is {_word(shape)}"
    return f"Tied `{tie.alias}` is {_word(target.shape)}, but {what}: different shapes."


def _is_exempt(subject: Subject, tie: StatedTie, source: LeafSpec, target: LeafSpec) -> bool:
    if tie.source != "config":
        return False
    # A guess by names goes for leaves that differ in their rows at most.
    if tie.guessed and source.shape[1:] != target.shape[1:]:
        return True
    return any(quantized_parts(name, subject.specs) for name in (tie.alias, tie.canonical))


def _word(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"


RULE = Rule(
    code="TIE013",
    name="tied-shape-mismatch",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
Config or settings tie two stored leaves, and what the tie makes of the one has another shape than the other.
Settings may declare that a leaf is a slice of another, or another transform of it: then the shapes are compared
under that. Classes whose embedding has rows that the head lacks by design do not tie the two, and are passed over;
so are quantised leaves.""",
    why="""\
The tie cannot be made. Loaders that try overwrite one leaf by the other, and the number of classes or the width no
longer fits the config; others stop (`size mismatch for lm_head.weight`). Mostly the vocabulary was resized or
padded on one side only.""",
    mend="""\
No fix: which of the two sizes is right, and what the rows hold that only one of them has, the checkpoint does
not say. Resize both in the model and save it again, or untie them in the config if they are meant to differ.""",
    bad="""\
config.json        tie_word_embeddings: true
shared.weight      BF16 250112×512
lm_head.weight     BF16 250102×512""",
    good="""\
config.json        tie_word_embeddings: true
shared.weight      BF16 250112×512
lm_head.weight     BF16 250112×512""",
    threads=("transformers#19418", "transformers#25729", "transformers#9055", "transformers#46835"),
)
