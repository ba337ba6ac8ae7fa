"""CFG001: the vocabulary of the config is not that of the embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tiecli.architectures.vocabularies import KEY, Vocabularies, Vocabulary, read_vocabularies
from tiecli.linting.edits import SetMember
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tables import Table, list_tables


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding: for rows that the config says nowhere, or for two places that do not agree."""
    known = read_vocabularies(subject.config or {})
    if not known.stated:
        return
    tables = list_tables(subject)
    odd = [table for table in tables if _is_odd(table, known)]
    rows = {table.rows for table in tables}
    # With several tables, each of the places may speak of another one.
    wrong = [stated for stated in known.stated if stated.size not in rows]
    if odd or (known.is_one and len(rows) == len(wrong) == 1):
        yield _report(odd or tables[:1], known.stated, rows)


def _is_odd(table: Table, known: Vocabularies) -> bool:
    """Whether a table has a number of rows that the config does not give; one that lies on its side has not."""
    if table.rows in known.sizes or table.columns in known.sizes:
        return False
    # Codebooks of one size, one below the other, are several; a vocabulary that was padded or added to is not.
    if any(table.rows % stated.size == 0 and table.rows >= 4 * stated.size for stated in known.stated):
        return False
    return not known.is_open or table.rows < min(stated.size for stated in known.stated)


def _report(tables: Iterable[Table], stated: tuple[Vocabulary, ...], rows: set[int]) -> Finding:
    listed = tuple(tables)
    held = " and ".join(f"`{table.leaf}` has {table.rows:,} rows" for table in listed[:3])
    told = " and ".join(f"{place} is {place.size:,}" for place in stated)
    return Finding(
        f"{held}, config {told}.",
        tuple(table.leaf for table in listed),
        "config.json",
        fix=_mend(stated, rows),
        hint="See what the tokenizer needs: the table may have been resized without the config, or the config alone.",
    )


def _mend(stated: tuple[Vocabulary, ...], rows: set[int]) -> Fix | None:
    """Sets the number of rows, if all embeddings have the same, wherever the config says otherwise."""
    wrong = [place for place in stated if place.size not in rows]
    if len(rows) != 1 or len({place.size for place in wrong}) != 1:
        return None
    value = next(iter(rows))
    edits = tuple(SetMember("config.json", place.place, KEY, str(value)) for place in wrong)
    return Fix(f"set {' and '.join(map(str, wrong))} to {value:,}", edits, safe=False)


RULE = Rule(
    code="CFG001",
    name="vocab-size-mismatch",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
An input embedding has a number of rows that `config.json` gives nowhere as `vocab_size`; or `vocab_size` at the top and
in the nested config of the language model differ, and only one fits.
Not meant are classes that add rows by design (8 of Mllama), tables that several vocabularies share, and padding that
the config itself speaks of (`pad_vocab_size_multiple`).""",
    why="""\
Loaders build the table from the config, and then refuse the stored one: "size mismatch for lm_head.weight: copying a
param with shape ...". More rows than the config says fail as well as fewer. Tokens that were added, tables that were
padded and merges of models with different tokenizers are the usual causes.""",
    mend="""\
The unsafe fix sets `vocab_size` to the rows of the embeddings, if all of them have the same number. It is unsafe since
the config may be right and the table wrong: rows that were never trained, or that are missing.""",
    bad="""\
config.json         "vocab_size": 32000
model.safetensors   model.embed_tokens.weight   32008×4096""",
    good="""\
config.json         "vocab_size": 32008
model.safetensors   model.embed_tokens.weight   32008×4096""",
    threads=("mergekit#425", "axolotl#2277", "transformers#19418", "unsloth#3416", "unsloth-zoo#1073"),
)
