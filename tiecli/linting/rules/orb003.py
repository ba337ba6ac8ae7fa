"""ORB003: the directory of a step with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.edits import RemovePath
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a step."""
    survey = subject.orbax
    if survey.level == "item" and survey.items[0].kind == "empty":
        yield Finding(f"`{subject.unit.directory.absolute().name}` is empty.", hint=_HINT)
    # Directories with other prefixes than the steps that hold something are none of Orbax's.
    prefixes = {step.prefix for step in survey.steps if not step.hollow}
    for place, step in enumerate(survey.steps):
        if step.hollow and step.number is not None and (not prefixes or step.prefix in prefixes):
            effect = "will be picked as the latest" if place == 0 else "Orbax lists it with the others"
            yield Finding(
                f"Step {step.number} is empty but {effect}.",
                file=step.place,
                fix=Fix(f"remove the empty directory `{step.place}`", (RemovePath(step.place),), safe=False),
                hint=_HINT,
            )


_HINT = "Delete the directory, or copy the step again from where it is whole."

RULE = Rule(
    code="ORB003",
    name="empty-step-dir",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="unsafe",
    check=check,
    what="A directory that is named as a step of the run holds nothing, or only empty directories.",
    why="""\
On a local disk Orbax takes every directory of that name for a finished step. `latest_step()` gives its number, and
the restore that follows dies with a message about something else, although the steps before it are whole.
A copy or a clean-up that failed at once leaves such directories.""",
    mend="""\
Unsafe: `--unsafe-fixes` removes the directory; the run resumes from the step before it then. That loses no values,
but it may not be what you want where the step exists elsewhere and only its copy failed.""",
    bad="""\
checkpoints/1000/   _CHECKPOINT_METADATA  default/
checkpoints/2000/   (nothing)""",
    good="""\
checkpoints/1000/   _CHECKPOINT_METADATA  default/
checkpoints/2000/   _CHECKPOINT_METADATA  default/""",
    threads=("maxtext#5260",),
)
