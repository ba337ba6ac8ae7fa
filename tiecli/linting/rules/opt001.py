"""OPT001: a slot of an optimizer for a parameter that is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiecli.checkpoints.wording import list_names
from tiecli.linting.edits import DropLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.slots import Keys, Leaf


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a parameter."""
    report = subject.slots
    found: dict[Keys, list[Leaf]] = {}
    for tree in report.trees:
        for parameter, slot in tree.orphans.items():
            found.setdefault(parameter, []).append(slot)
    canonicals = {tie.alias: tie.canonical for tie in subject.stated} if found else {}
    for parameter, slots in found.items():
        name = report.spell(parameter)
        names = tuple(slot.name for slot in slots)
        they = f"Slot {list_names(names)} exists" if len(names) == 1 else f"Slots {list_names(names)} exist"
        said = f"{they} for `{name}`, which is not a parameter"
        if name in canonicals:
            said += f": it is tied to `{canonicals[name]}`"
        yield Finding(
            f"{said}.",
            names,
            slots[0].file,
            fix=_make_fix(subject, slots, name in canonicals),
            hint="If it was tied, add its moments to those of the parameter it follows from before you drop them.",
        )


def _make_fix(subject: Subject, slots: Sequence[Leaf], is_alias: bool) -> Fix | None:
    """Makes a fix where the slots lie in a file of the checkpoint itself."""
    files = {file.name for file in subject.files}
    if not all(slot.file in files for slot in slots):
        return None
    summary = f"drop {list_names([slot.name for slot in slots])}"
    return Fix(summary, tuple(DropLeaf(slot.name, slot.file) for slot in slots), safe=not is_alias)


RULE = Rule(
    code="OPT001",
    name="orphan-optimizer-slot",
    severity="error",
    needs=("header",),
    formats=("safetensors", "orbax"),
    cure="either",
    check=check,
    what="""\
The state of an optimizer holds a slot, such as `mu` or `exp_avg`, for a parameter that the checkpoint does not have.
Slots are found by the names that optimizers give them, by the path of the parameter and by its shape: optax states in
an Orbax item or in one beside the parameters, `exp_avg` and the like in a safetensors file, and a file
`optimizer*.safetensors` beside the model.""",
    why="""\
A program that restores the state of training builds its optimizer from the parameters that it has, and finds one slot
too many: Orbax refuses the tree, torch says that a parameter group does not match the size of the optimizer's group.
The usual cause is a tie: the head went, its moments stayed. What they hold of the gradient is lost to the embedding
then, whose steps come out too small at first.""",
    mend="""\
Safe in a safetensors file of the checkpoint: the slots are dropped, and nothing could have used them. Unsafe where the
parameter is known to be tied, since untying brings it back without its moments. There is no fix in Orbax checkpoints,
nor in an optimizer's file beside the model: add the moments to those of the canonical leaf, and save again.""",
    bad="""\
params.embed.embedding
opt_state[0].mu.embed.embedding
opt_state[0].mu.lm_head.kernel""",
    good="""\
params.embed.embedding
opt_state[0].mu.embed.embedding""",
    threads=("ms-swift#8240", "stereo-transformer#58", "latent-diffusion#231"),
)
