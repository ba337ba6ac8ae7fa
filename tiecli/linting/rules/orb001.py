"""ORB001: the directory of a save that never ended."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.edits import RemovePath
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a directory."""
    for place in subject.orbax.temporary:
        whole = place == "."
        name = subject.unit.directory.absolute().name if whole else place
        yield Finding(
            f"`{name}` is an unfinished Orbax save.",
            file="" if whole else place,
            fix=None if whole else Fix(f"remove the directory `{place}`", (RemovePath(place),), safe=False),
            hint="Make sure that no save is running, then delete the directory.",
        )


RULE = Rule(
    code="ORB001",
    name="leftover-temp-dir",
    severity="warning",
    needs=("header",),
    formats=("orbax",),
    cure="unsafe",
    check=check,
    what="""\
A directory whose name contains `.orbax-checkpoint-tmp`. Orbax saves into such a directory, and renames it when all is
there; one that stays belongs to a save that was killed, or that is still running.""",
    why="""\
It takes the space of a whole checkpoint, and no clean-up by number of steps ever removes it. A later save of the same
step can fail with `FileExistsError`; resume scripts that take the directory with the highest number pick it.
CheckpointManager itself passes it over, so training goes on and nobody notices.""",
    mend="""\
Unsafe: `--unsafe-fixes` removes the directory with all that is in it. From the outside a save that is running looks
the same, and what a killed save did write may be worth a look. A whole checkpoint of that name gets no fix.""",
    bad="""\
checkpoints/2000/
checkpoints/3000.orbax-checkpoint-tmp/""",
    good="""\
checkpoints/2000/
checkpoints/3000/""",
    threads=("openpi#566", "orbax#647", "levanter#886", "flax#1200"),
)
