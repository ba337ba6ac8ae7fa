"""STF001: a file is shorter than its header says."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.lint.rule import Finding, Rule
from tiecli.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file that is cut short."""
    for file in subject.files:
        for damage in file.damages:
            if damage.kind == "truncated":
                need, have = damage.facts["need"], damage.facts["have"]
                yield Finding(
                    f"Header needs {need:,} data bytes, file has {have:,}.",
                    damage.leaves,
                    file.name,
                    hint="Fetch the file again, and compare its size with the one at the source.",
                )


RULE = Rule(
    code="STF001",
    name="truncated-file",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="A safetensors file ends before the last byte that its header promises.",
    why="""\
Loaders that check refuse the file with a message about its metadata (`MetadataIncompleteBuffer`).
Loaders that map it unchecked read zeros, or whatever lies behind, and the model now and then answers in gibberish.
A download or copy that was cut short is the usual cause.""",
    mend="No fix: the missing bytes are elsewhere. Fetch the file again, and compare its size with the source's.",
    bad="""\
model.safetensors   header promises 3,670,016 bytes of data, 1,840,128 follow""",
    good="""\
model.safetensors   header promises 3,670,016 bytes of data, 3,670,016 follow""",
    threads=("airllm#137", "ComfyUI#3225", "vmlx-swift#217", "BitNet#608"),
)
