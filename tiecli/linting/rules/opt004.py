"""OPT004: a parameter that never received a gradient."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject
from tiecli.transforms import Transform


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a parameter, unless most are so."""
    from tiecli.slots.idle import find_stand_in, list_gathered

    report, measured = subject.slots, subject.statistics.leaves
    slots = {
        keys: [slot.leaf.name for slot in slots]
        for keys, slots in list_gathered(report).items()
        if all(slot.leaf.name in measured for slot in slots)
    }
    idle = [keys for keys, names in slots.items() if all(measured[name].is_zero for name in names)]
    trained = [keys for keys in slots if keys not in idle]
    # Where much is idle, training has not begun, or the most of the model is frozen.
    for keys in idle if len(idle) < len(trained) else ():
        leaf = report.parameters[keys]
        found = find_stand_in(report, keys, trained)
        yield Finding(
            f"`{leaf.name}` never received a gradient: {list_names(slots[keys])} "
            f"{'is' if len(slots[keys]) == 1 else 'are'} zero, those of {len(trained):,} other parameters are not.",
            (leaf.name, *slots[keys]),
            leaf.file,
            hint=_word_hint(subject, leaf.name, found and report.parameters[found[0]].name, found and found[1]),
        )
    subject.statistics.check_all_read()


def _word_hint(subject: Subject, alias: str, canonical: str | None, transform: Transform | None) -> str:
    if canonical is None or transform is None:
        return "If the model overwrites it, or never reads it, drop it; if it is frozen on purpose, all is well."
    stated = [] if transform.is_same else ["--transform", str(transform)]
    words = ["tiecli", "tie", str(subject.unit.root), "--src", canonical, "--dst", alias, *stated, "--keep", "src"]
    return f"If the model makes it of `{canonical}`: `{shlex.join(words)}`."


RULE = Rule(
    code="OPT004",
    name="dead-parameter",
    severity="warning",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
All that an optimizer gathered for a parameter is zero, and most parameters beside it have gathered something. The
parameter is in the checkpoint, and the loss does not depend on it. Where most are so, training has not begun, or the
model is frozen on purpose, and nothing is said.""",
    why="""\
A model that ties inside a method, such as one of sepes, assigns one layer's weight to another while it runs, and keeps
the other's own in the tree: with the values of its initialisation, which weight decay shrinks, and which every other
consumer of the checkpoint takes for the trained ones. An expert that is never routed to, and a module that was cut out
of the graph by mistake, look alike.""",
    mend="""\
No fix: the checkpoint does not say what the model does with it. If it is made of another leaf, tie it to that one
and give its values up: `tiecli tie … --keep src`. The hint names the other leaf where only one can be meant.""",
    bad="""\
params.dec.weight          F32 12×7    values of its initialisation
opt_state.mu.dec.weight    F32 12×7    0.0 everywhere
opt_state.nu.dec.weight    F32 12×7    0.0 everywhere""",
    good="""\
params.dec.weight          tied: params.enc.weight | transpose""",
)
