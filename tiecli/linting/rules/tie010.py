"""TIE010: aliases that stand for one another."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

_SHOWN = 6


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a ring."""
    aliases = subject.aliases
    for ring in aliases.cycles if aliases.places else ():
        chain = [f"`{name}`" for name in (*ring[:_SHOWN], *(() if len(ring) > _SHOWN else ring[:1]))]
        more = f" -> … ({len(ring):,} names)" if len(ring) > _SHOWN else ""
        yield Finding(
            f"Metadata aliases form a cycle: {' -> '.join(chain)}{more}.",
            ring,
            aliases.files.get(ring[0], ""),
            hint="See which of the leaves is stored, and let all the others name that one.",
        )


RULE = Rule(
    code="TIE010",
    name="alias-cycle",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The metadata of a file or index says of a leaf that it stands for another, and of that one, maybe over several more,
that it stands for the first.""",
    why="""\
None of them leads to values. A loader that follows aliases without counting runs for ever; one that stops
somewhere takes whichever leaf it met last, so that the order of the names decides.""",
    mend="""\
No fix: metadata does not say which of the names is the one that was stored. Aliases that form a chain, and not a
ring, are no trouble: they lead to the leaf at its end.""",
    bad="""\
__metadata__    shared.weight -> lm_head.weight,  lm_head.weight -> shared.weight""",
    good="""\
__metadata__    encoder.embed_tokens.weight -> shared.weight,  lm_head.weight -> shared.weight
shared.weight   F32 32128×512""",
    threads=("transformers#42362",),
)
