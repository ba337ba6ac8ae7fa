"""ORB002: a step without the file that says it was committed, beside others that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiecli.checkpoints.orbax.directories import COMMITTED
from tiecli.checkpoints.survey.orbax import StepSurvey
from tiecli.linting.edits import WriteText
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_SHOWN = 3
_CUT_OFF = "its metadata say when its save began, but not when it ended"
_HINT = "Compare it with its source before anything else: the save, or a copy, may have been cut short."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a step, or item that stands alone."""
    survey = subject.orbax
    whole = subject.unit.directory.absolute().name
    if not survey.committed:
        yield Finding(f"`{whole}` has no `{COMMITTED}`, and {_CUT_OFF}.", hint=_HINT)
    marked = [step for step in survey.steps if step.marked]
    for step in survey.steps:
        inside = any(COMMITTED in item.listing.files for item in step.items if item.place != step.place)
        if step.marked or step.hollow or not (marked or inside or not step.committed):
            continue
        name = whole if step.place == "." else step.place
        called = f"`{name}`" if step.number is None else f"Step {step.number}"
        others = f"while {_name_steps(marked)}" if marked else "while its items have one"
        yield Finding(
            f"{called} has no `{COMMITTED}`, {others if step.committed else f'and {_CUT_OFF}'}.",
            file="" if step.place == "." else step.place,
            fix=_make_fix(step, name),
            hint=_HINT,
        )


def _name_steps(steps: Sequence[StepSurvey]) -> str:
    if len(steps) > _SHOWN:
        return f"{len(steps):,} other steps have one"
    numbers = " and ".join(str(step.number) for step in reversed(steps))
    return f"step {numbers} has one" if len(steps) == 1 else f"steps {numbers} have one"


def _make_fix(step: StepSurvey, name: str) -> Fix | None:
    """Makes a fix for a step that shows no other sign of a save that was cut off."""
    kinds = {item.kind for item in step.items}
    if not step.committed or "unfinished" in kinds or kinds <= {"empty"}:
        return None
    path = COMMITTED if step.place == "." else f"{step.place}/{COMMITTED}"
    # What Orbax writes is the path of the step, which seldom stays; nobody reads it.
    text = f"Checkpoint commit was successful to {name}"
    return Fix(f"add `{path}`", (WriteText(path, text),), safe=False)


RULE = Rule(
    code="ORB002",
    name="commit-marker-missing",
    severity="warning",
    needs=("header",),
    formats=("orbax",),
    cure="unsafe",
    check=check,
    what="""\
A step has no `commit_success.txt`, while other steps of the run have one, or the items in it do; or a step, or an item
that stands alone, has none and its own metadata say that its save began, and not that it ended. Orbax writes the file
last. Runs in which no step has one are left alone otherwise: older versions did without it on local disks.""",
    why="""\
In a bucket, where nothing can be renamed, the file is what tells a whole step from one that is being written.
A step copied there without it counts as temporary: restoring ends with `Found incomplete checkpoint`, and a clean-up
may delete it. On a local disk Orbax restores the step as it is, so the loss shows only after the copy.""",
    mend="""\
Unsafe: `--unsafe-fixes` adds the file. That makes a step count as whole, which nobody but its source can tell:
the file may be missing because the copy stopped before its end. There is no fix where the step itself shows that it
is not whole: an item lacks its `_METADATA` or manifest, or the metadata of the step say when its save began, and not
when it ended.""",
    bad="""\
checkpoints/1000/   _CHECKPOINT_METADATA  commit_success.txt  default/
checkpoints/2000/   _CHECKPOINT_METADATA  default/""",
    good="""\
checkpoints/1000/   _CHECKPOINT_METADATA  commit_success.txt  default/
checkpoints/2000/   _CHECKPOINT_METADATA  commit_success.txt  default/""",
    threads=("maxtext#5260", "orbax#394"),
)
