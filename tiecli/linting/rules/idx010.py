"""IDX010: the index is damaged, or missing where shards need one."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.linting.edits import Edit, RebuildIndex, SetMember, WriteText
from tiecli.linting.placing import is_readable, list_sets
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a problem of the index, or one for an index that is not there."""
    index = subject.safetensors.shard_index
    if index is None:
        yield from _find_missing(subject)
        return
    fix = _mend(subject, f"write `{index.name}` anew", RebuildIndex(index.name)) if index.problems else None
    for problem in index.problems:
        yield Finding(f"Index {problem}.", file=index.name, fact=problem.partition(":")[0], fix=fix)
    if not index.problems and index.document is not None and not isinstance(index.document.get("metadata"), dict):
        text = json.dumps({"total_size": sum(spec.nbytes for spec in subject.specs.values())})
        yield Finding(
            "Index has no `metadata` object, which transformers reads without asking (`KeyError: 'metadata'`).",
            file=index.name,
            fact="metadata",
            fix=_mend(subject, "add `metadata` to the index", SetMember(index.name, (), "metadata", text)),
        )


def _find_missing(subject: Subject) -> Iterator[Finding]:
    """Finds files that are numbered as one set, and no index of that set or of a variant of it."""
    sets = list_sets(file.name for file in subject.files)
    if len(sets) != 1 or any(".safetensors.index." in name for name in subject.safetensors.listing):
        return
    first = sets[0].first
    edit = WriteText(first.index_name, _write_index(subject))
    files = next(iter(sets[0].files.values()))
    yield Finding(
        f"Index `{first.index_name}` is missing, although `{files}` is one file of a set.",
        file=files,
        fact=first.index_name,
        fix=_mend(subject, f"write `{first.index_name}`", edit) if sets[0].is_whole else None,
    )


def _write_index(subject: Subject) -> str:
    """Writes an index as Hugging Face does; its rows at once, as there may be very many."""
    rows = {leaf: file.name for file in subject.files for leaf in file.infos}
    body = json.dumps({leaf: rows[leaf] for leaf in sorted(rows)}, ensure_ascii=False, separators=(",\n    ", ": "))
    size = sum(spec.nbytes for spec in subject.specs.values())
    head = f'{{\n  "metadata": {{\n    "total_size": {size}\n  }},\n  "weight_map": {{\n    '
    return f"{head}{body[1:-1]}\n  }}\n}}\n"


def _mend(subject: Subject, summary: str, edit: Edit) -> Fix | None:
    """Offers an edit if the files are all there and whole, and leave nothing open."""
    survey = subject.safetensors
    complete = survey.files and not survey.missing and not subject.placement.doubled and not subject.placement.absent
    sound = all(is_readable(file) and len(file.specs) == len(file.infos) for file in survey.files)
    gaps = [numbered for numbered in list_sets(file.name for file in survey.files) if not numbered.is_whole]
    return Fix(summary, (edit,), safe=True) if complete and sound and not gaps else None


RULE = Rule(
    code="IDX010",
    name="malformed-index",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
The shard index is no JSON, repeats a key, gives something else than a file name for a tensor, or lacks `weight_map` or
`metadata`. Or there is none at all beside files that are numbered as the shards of one set.""",
    why="""\
Loaders stop with an error that speaks of anything but the index (`KeyError: 'metadata'`), or do not find a model in the
directory. Of a key that stands there twice, parsers take whichever they like.""",
    mend="""\
The fix writes the index anew from the headers of the shards, and keeps what else it said; it is safe, since the files
themselves say what they hold. It is offered only if all files of the set are there and sound, and none repeats a
tensor of another.""",
    bad="""\
model.safetensors.index.json       {"metadata": {"total_size": 400}, "weight_map": {"lm_head.weight": "model-0
model-00001-of-00001.safetensors   lm_head.weight""",
    good="""\
model.safetensors.index.json       {"metadata": {"total_size": 400}, "weight_map": {"lm_head.weight": ...}}
model-00001-of-00001.safetensors   lm_head.weight""",
    threads=("mlx-vlm#1827",),
)
