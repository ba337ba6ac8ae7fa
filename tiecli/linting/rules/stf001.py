"""STF001: a file is shorter than its header says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tiecli.linting.damaged import count_bytes, list_damages
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file that is cut short."""
    for file, damage in list_damages(subject, "truncated"):
        yield Finding(
            _tell(damage.facts, len(damage.leaves), len(file.infos)),
            file=file.name,
            hint="Fetch the file again, and compare its size with the one at the source.",
        )


def _tell(facts: Mapping[str, Any], cut: int, total: int) -> str:
    """Says which part of the file ends early."""
    need, have = facts["need"], facts["have"]
    match facts["part"]:
        case "length":
            return "File is empty." if not have else f"File has {count_bytes(have)}, not even a header's length."
        case "header":
            return f"Header needs {count_bytes(need)}, file has {have:,}."
        case _:
            tensors = f"{cut:,} of {total:,} tensor{'s' * (total > 1)}"
            return f"Header needs {need:,} data bytes, file has {have:,}; {tensors} cut short or missing."


RULE = Rule(
    code="STF001",
    name="truncated-file",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="A safetensors file ends before the last byte that its header promises, inside the header, or before it.",
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
