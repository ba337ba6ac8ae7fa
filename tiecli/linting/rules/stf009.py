"""STF009: a Git LFS pointer stands in place of a file."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import count_bytes, list_damages
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pointer."""
    for file, damage in list_damages(subject, "lfs-pointer"):
        size = damage.facts["size"]
        told = "" if size is None else f" to {count_bytes(size)}"
        yield Finding(
            f"File is a Git LFS pointer{told}.",
            file=file.name,
            hint="Fetch what it stands for with `git lfs pull`.",
        )


RULE = Rule(
    code="STF009",
    name="lfs-pointer",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="A file of weights holds the few lines of text by which Git LFS refers to the real file.",
    why="""\
The repository was cloned without Git LFS, or with `GIT_LFS_SKIP_SMUDGE`. Loaders take the text for the length of a
header and say that it is too large (`HeaderTooLarge`), which tells nobody what to do.""",
    mend="No fix: the weights are on the server. Fetch them with `git lfs install` and `git lfs pull`.",
    bad="""\
model.safetensors   version https://git-lfs.github.com/spec/v1
                    oid sha256:4665...
                    size 548105171""",
    good="""\
model.safetensors   548,105,171 bytes""",
    threads=("OmniParser#34", "transformers#27923", "DeepSeek-V3#557", "diffusers#13559"),
)
