"""IDX007: the numbers in the names of the shards do not add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiecli.linting.edits import RenameFile
from tiecli.linting.placing import ShardSet, is_readable, list_sets
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_MOST_RANGES = 6


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a set of shards with a gap, or with a number too many."""
    survey = subject.safetensors
    escapes = frozenset(survey.shard_index.escapes if survey.shard_index else ())
    missing = [name for name in survey.missing if name not in escapes]
    own = list_sets(dict.fromkeys((*(file.name for file in survey.files), *missing)))
    if all(numbered.is_whole for numbered in own):
        return
    whole = {
        (found.first.stem, int(found.first.total)): found.is_whole
        for found in list_sets(sorted(survey.listing.union(missing)))
    }
    for numbered in own:
        # A file that the index forgot is another rule's; the numbers add up with it.
        if not numbered.is_whole and not whole.get((numbered.first.stem, int(numbered.first.total))):
            total, lacking = numbered.lacking
            are = "file of the set is" if lacking == 1 else "files of the set are"
            told = f"; {lacking:,} {are} not there" if lacking else ""
            yield Finding(
                f"Shards {_spell_ranges(list(numbered.files))} do not match `-of-{numbered.first.total}`{told}.",
                file=next(iter(numbered.files.values())),
                fact=f"{numbered.first.stem}-of-{total}",
                fix=_mend(subject, numbered),
                hint="" if survey.shard_index else "Fetch what is missing, and the index, again.",
            )


def _spell_ranges(numbers: Sequence[int]) -> str:
    """Spells sorted numbers as ranges: `1-3, 5`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_MOST_RANGES]]
    return ", ".join(shown) + (" and others" if len(ranges) > _MOST_RANGES else "")


def _mend(subject: Subject, numbered: ShardSet) -> Fix | None:
    """Numbers the files anew, if the index says that they are all there is."""
    survey, placement = subject.safetensors, subject.placement
    index = survey.shard_index
    if index is None or index.problems or survey.missing or placement.absent or placement.doubled:
        return None
    names = tuple(numbered.files.values())
    if not index.weight_map or not all(map(is_readable, survey.files)):
        return None
    start = 0 if 0 in numbered.files else 1
    first, total = numbered.first, len(names)
    numbered_well = [first.renumber(number, total) for number in range(start, start + total)]
    # Those that have a good name keep it; the order of the others is kept, though no loader goes by it.
    wrong = (name for name in names if name not in numbered_well)
    renamed = dict(zip(wrong, (name for name in numbered_well if name not in names), strict=True))
    if any(new in survey.listing for new in renamed.values()):
        return None
    return Fix(
        f"number {total:,} shards anew, `{first.renumber(start, total)}` the first",
        tuple(RenameFile(old, new) for old, new in renamed.items()),
        safe=True,
    )


RULE = Rule(
    code="IDX007",
    name="shard-numbering",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
Files named `...-00001-of-00003.safetensors` are not as many as their names say, or not numbered without a gap. Numbers
may start from 0 or from 1; names without numbers are as good. Where the index is missing, IDX010 says so.""",
    why="""\
Loaders that count files wait for shards that never come, or refuse the directory; people and download tools take the
checkpoint for incomplete, which without an index it may well be.""",
    mend="""\
If an index names the files and every tensor in it is there, the fix numbers them anew, in the index as well; it is
safe, since nothing is missing. Otherwise there is no fix: fetch what is missing.""",
    bad="""\
model.safetensors.index.json   names the two files, and no other
model-00001-of-00003.safetensors
model-00003-of-00003.safetensors""",
    good="""\
model.safetensors.index.json   names the two files, and no other
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors""",
    threads=("CoSER#3", "colibri#1317", "colibri#1487"),
)
