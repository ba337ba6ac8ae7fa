"""STF010: a value of a header's metadata is no string."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import list_damages
from tiecli.linting.edits import SetMetadata
from tiecli.linting.frameworks import guess_format
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a value."""
    for file, damage in list_damages(subject, "metadata-type"):
        key, kind, text = (damage.facts[name] for name in ("key", "type", "text"))
        # Of a format that is no string, the JSON text would be none that loaders know.
        value = guess_format(file.specs) if key == "format" else text
        fix = None
        if value is not None and file.mendable:
            fix = Fix(
                f"make the value of `{key}` the string `{value:.40}`", (SetMetadata(file.name, key, value),), True
            )
        yield Finding(f"`__metadata__` value of `{key}` is {kind}, must be a string.", (), file.name, key, fix)


RULE = Rule(
    code="STF010",
    name="metadata-not-strings",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="A value in the `__metadata__` of a safetensors header is a number, list, object or the like.",
    why="""\
The format allows strings only, and the library refuses the whole file for one other value. Programs that write headers
themselves put training settings there as they are.""",
    mend="""\
The fix puts the value's JSON text in its place, as those do who follow the format. It is safe: tensors stay as they
are, and no correct loader could read the file before. Of `format`, it is `pt`, if the names of the tensors are
PyTorch's.""",
    bad="""\
"__metadata__": {"format": "pt", "step": 1000}""",
    good="""\
"__metadata__": {"format": "pt", "step": "1000"}""",
)
