"""OPT002: a parameter without a slot that the others have."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.slotgaps import list_gaps
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a parameter."""
    report = subject.slots
    gaps = list_gaps(report)
    aliases = {tie.alias for tie in subject.stated if tie.tied} if gaps else set()
    for gap in gaps:
        leaf = report.parameters[gap.parameter]
        if gap.has_others or leaf.name not in aliases:
            yield Finding(
                f"`{leaf.name}` has no {list_names(gap.slots)}, {gap.having:,} of {gap.total:,} parameters like it do.",
                (leaf.name,),
                leaf.file,
                ", ".join(gap.slots),
                hint="If it is frozen, nothing is wrong; else it trains on from moments of zero.",
            )


RULE = Rule(
    code="OPT002",
    name="missing-optimizer-slot",
    severity="warning",
    needs=("header",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
A parameter lacks a slot that nearly all parameters like it have: it has `mu` and no `nu`, or no slot at all while its
counterparts in the other layers, or the other leaves of its module, have theirs. Parameters that a mask leaves out, and
whole modules or embeddings without slots, are taken for frozen; aliases of a tie need none.""",
    why="""\
Restoring the state of training fails for want of the leaf, or drops all moments without a word and goes on with zeros:
the first steps are up to three times too long then, and the loss jumps. Shards that were merged by name, and scripts
that stripped what they took for temporary, lose single slots.""",
    mend="No fix: the moments are elsewhere. Take the slots from another copy of the step, or start afresh.",
    bad="""\
params.layers.0.kernel   opt_state[0].mu.layers.0.kernel   opt_state[0].nu.layers.0.kernel
params.layers.1.kernel   opt_state[0].mu.layers.1.kernel""",
    good="""\
params.layers.0.kernel   opt_state[0].mu.layers.0.kernel   opt_state[0].nu.layers.0.kernel
params.layers.1.kernel   opt_state[0].mu.layers.1.kernel   opt_state[0].nu.layers.1.kernel""",
    threads=("ms-swift#8240", "AReaL#1468", "Megatron-Bridge#3832"),
)
