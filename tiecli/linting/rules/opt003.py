"""OPT003: a slot whose shape is not that of its parameter."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject
from tiecli.slots import Keys, Leaf


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a parameter."""
    report = subject.slots
    found: dict[Keys, list[Leaf]] = {}
    for tree in report.trees:
        odd = [keys for keys in tree.held if tree.has_odd_shape(keys, report.parameters[keys].spec)]
        # Where many differ, the optimizer keeps them otherwise: flat, in blocks, or in parts.
        if odd and 4 * len(odd) <= max(4, len(tree.held)):
            for keys in odd:
                found.setdefault(keys, []).append(tree.held[keys])
    for keys, slots in found.items():
        leaf = report.parameters[keys]
        names = tuple(slot.name for slot in slots)
        yield Finding(
            f"Slot {list_names(names)} is {slots[0].spec}, parameter `{leaf.name}` is {leaf.spec}.",
            (leaf.name, *names),
            slots[0].file,
            hint="Take both from the same step; a parameter that was resized needs its moments resized as well.",
        )


RULE = Rule(
    code="OPT003",
    name="optimizer-shape",
    severity="error",
    needs=("header",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
A slot that has one number for each element of its parameter, such as `mu`, `nu` or `exp_avg_sq`, has another shape than
the parameter, while nearly all slots beside it have the shapes of theirs. Slots that are factored on purpose, and
placeholders of one element, are passed over.""",
    why="""\
The first update fails with a message about shapes that do not broadcast, or broadcasts and updates the wrong elements.
An embedding that was resized without its optimizer, a leaf that was transposed by a conversion, and a state of training
that belongs to another model leave this behind.""",
    mend="No fix: the shapes do not tell which of both is right, nor where values belong. Take both from one step.",
    bad="""\
params.embed.embedding            F32 32064×16
opt_state[0].mu.embed.embedding   F32 32000×16""",
    good="""\
params.embed.embedding            F32 32064×16
opt_state[0].mu.embed.embedding   F32 32064×16""",
)
