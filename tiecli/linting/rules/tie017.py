"""TIE017: two leaves hold the same bytes under transposed shapes."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair of leaves of the same bytes, whose axes are in another order."""
    from tiecli.linting.scrambling import find_scrambled

    for pair in find_scrambled(subject.watch.reader):
        first, second = (path.spelling for path in pair)
        shapes = [subject.specs[name] for name in (first, second)]
        yield Finding(
            f"`{first}` ({shapes[0]}) and `{second}` ({shapes[1]}) hold the same bytes under transposed shapes;"
            " one was written non-contiguous.",
            (first, second),
            subject.homes.get(second, ""),
            hint="Save the one that was a view again, from a contiguous copy: `numpy.ascontiguousarray(x.T)`.",
        )


RULE = Rule(
    code="TIE017",
    name="scrambled-transpose",
    severity="error",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
Two leaves hold the same bytes, element after element, though the axes of one are in another order than those
of the other. Equal values would need other bytes then. Square leaves cannot be told from plain copies.""",
    why="""\
A writer that takes the memory behind an array and ignores its strides stores a transposed view with its new
shape and its old bytes (`safetensors.numpy.save_file(x.T)` of 0.8.0 does). Every element but a few lands in the
wrong place, and the model answers in garbage, without an error.""",
    mend="""\
No fix: nothing in the file says which of the two shapes is the true one. Save the view again from a
contiguous copy.""",
    bad="""\
encoder.kernel   F32 256×512
decoder.kernel   F32 512×256, the same bytes in the same order""",
    good="""\
encoder.kernel   F32 256×512
decoder.kernel   F32 512×256, the transposed values""",
    threads=("safetensors#825", "model2vec#341", "Megatron-Bridge#3162"),
)
