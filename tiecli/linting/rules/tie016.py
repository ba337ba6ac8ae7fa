"""TIE016: one leaf is the transpose of another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tiecli.leaves import format_bytes
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf that is another one turned, unless a tie is stated for the two."""
    stated = {frozenset((tie.alias, tie.canonical)) for tie in subject.stated}
    for equal in subject.searcher.list_equal():
        if equal.same_bytes or {equal.alias, equal.canonical} in stated:
            continue
        is_matrix = len(subject.specs[equal.alias].shape) == len(subject.specs[equal.canonical].shape) == 2
        turned = "the transpose of" if is_matrix else f"turned by `{equal.transform}` from"
        options = ["--src", equal.canonical, "--dst", equal.alias, "--transform", str(equal.transform)]
        command = shlex.join(["tiecli", "tie", str(subject.unit.root), *options])
        yield Finding(
            f"`{equal.alias}` is {turned} `{equal.canonical}` ({format_bytes(equal.nbytes)} could be shared).",
            (equal.alias, equal.canonical),
            subject.homes.get(equal.alias, ""),
            hint=f"If they are one by design: `{command}`.",
        )


RULE = Rule(
    code="TIE016",
    name="transposed-duplicate",
    severity="info",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
A leaf is another one with its axes in another order, bit for bit, and no tie is stated for the two.""",
    why="""\
Exporters that store a tied head the way a matrix product wants it write the embedding a second time. Tools
that look for equal tensors do not see it, and files grow past the limits of their format.""",
    mend="""\
No fix: safetensors has no transposed alias, so stock loaders would miss the leaf. Where the code that loads the
checkpoint can go by tiecli's manifest, or in Orbax, tie it with `tiecli tie --transform transpose`.""",
    bad="""\
transformer.word_embeddings.weight   F32 250880×1024
lm_head.kernel                       F32 1024×250880, the transpose""",
    good="""\
transformer.word_embeddings.weight   F32 250880×1024""",
    threads=(
        "optimum#1326", "optimum#1333", "transformers#12985", "pytorch#108342", "Marian-ONNX-Converter#2",
        "onnxruntime#15365", "mobius#154",
    ),
)  # fmt: skip
