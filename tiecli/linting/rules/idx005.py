"""IDX005: the totals of the index are not those of the tensors."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.leaves import LeafSpec
from tiecli.linting.edits import SetMember
from tiecli.linting.placing import is_readable
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

# What quantised weights are packed into.
_PACKED = frozenset({"I8", "U8", "I32", "U32"})
_SIZE, _COUNT = "total_size", "total_parameters"


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a total that is wrong; none while rows or files are missing, as nothing is sure then."""
    survey = subject.safetensors
    index = survey.shard_index
    metadata = index.document.get("metadata") if index and index.document else None
    if index is None or not isinstance(metadata, dict) or not metadata or index.problems:
        return
    absent = survey.missing or subject.placement.absent
    if absent or not all(is_readable(file) and len(file.specs) == len(file.infos) for file in survey.files):
        return
    found = metadata.get(_SIZE)
    sizes = _sum_sizes(subject)
    if found is not None and (isinstance(found, bool) or found not in sizes):
        meaning = _explain(found, sum(file.size for file in survey.files))
        yield Finding(
            f"{_SIZE} is {_show(found)}{meaning}, tensors sum to {sizes[0]:,} bytes.",
            file=index.name,
            fact=_SIZE,
            fix=_mend(index.name, _SIZE, sizes[0]),
        )
    stated = metadata.get(_COUNT)
    count = 0 if stated is None else sum(spec.size for spec in subject.specs.values())
    if stated is not None and not _may_count(subject, stated, count):
        yield Finding(
            f"{_COUNT} is {_show(stated)}, tensors hold {count:,} elements.",
            file=index.name,
            fact=_COUNT,
            fix=_mend(index.name, _COUNT, count),
        )


def _sum_sizes(subject: Subject) -> tuple[int, ...]:
    """Adds up the bytes of all tensors, each once; where rows are amiss, also as the writer may have meant it."""
    every = sum(
        file.header.data_size if file.header else sum(map(_size, file.specs.values())) for file in subject.files
    )
    if not subject.placement.doubled and not subject.placement.unindexed:
        return (every,)
    once = sum(map(_size, subject.specs.values()))
    unindexed = [leaf for leaves in subject.placement.unindexed.values() for leaf in leaves]
    return once, every, once - sum(_size(subject.specs[leaf]) for leaf in unindexed)


def _size(spec: LeafSpec) -> int:
    return spec.nbytes


def _may_count(subject: Subject, stated: object, count: int) -> bool:
    """Whether a number of parameters may be right.

    Buffers are stored and do not count; several parameters may be packed into one integer.
    So only a number that is off by half, of floating-point tensors alone, is surely wrong.
    """
    if not isinstance(stated, int | float) or isinstance(stated, bool):
        return False
    packed = any(spec.dtype.name in _PACKED or spec.dtype.kind == "packed" for spec in subject.specs.values())
    return packed or count <= 2 * stated <= 4 * count


def _explain(found: object, files: int) -> str:
    return ", which is the size of the files, headers included" if found == files else ""


def _show(found: object) -> str:
    if isinstance(found, int | float) and not isinstance(found, bool):
        return f"{found:,}"
    return "no number"


def _mend(index: str, key: str, value: int) -> Fix:
    return Fix(f"set {key} to {value:,}", (SetMember(index, ("metadata",), key, str(value)),), safe=True)


RULE = Rule(
    code="IDX005",
    name="wrong-total-size",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
`total_size` in the metadata of the index is not the sum of the bytes of all tensors, each counted once; or
`total_parameters` is less than half or more than twice the number of their elements, none of them quantised.
Some writers put the size of the files there, headers included; the message says so if that is what it is.""",
    why="""\
Tools plan memory by these numbers, and model pages show them: a model of 7.6 billion parameters has been listed as one
of 333 thousand. Nothing fails while loading, so the number stays wrong for as long as the checkpoint is copied.""",
    mend="The fix writes the sum into the index. It is safe: no loader computes anything from it.",
    bad="""\
model.safetensors.index.json   "total_size": 656, and 400 bytes of tensors""",
    good="""\
model.safetensors.index.json   "total_size": 400, and 400 bytes of tensors""",
    threads=("huggingface_hub#4221", "Edge0#104", "mlx-examples#413"),
)
