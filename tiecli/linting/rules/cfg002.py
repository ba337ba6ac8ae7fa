"""CFG002: the tokenizer gives ids for which the embedding has no row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tables import list_tables


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding if the longest embedding is too short for the highest id."""
    tables = list_tables(subject)
    if not tables or subject.tokenizer is None:
        return
    token, highest = max(_list_ids(subject, subject.tokenizer), key=lambda entry: entry[1], default=("", -1))
    longest = max(tables, key=lambda table: table.rows)
    if highest >= longest.rows:
        yield Finding(
            f"Tokenizer needs id {highest:,} (`{token[:40]}`), `{longest.leaf}` has {longest.rows:,} rows.",
            (longest.leaf,),
            "tokenizer.json",
            hint=f"Resize the embeddings to {highest + 1:,} rows or more, or take the tokenizer that belongs to them.",
        )


def _list_ids(subject: Subject, tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Lists the token with the highest id of each place that gives ids."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield _find_highest(vocabulary)
    elif isinstance(vocabulary, list) and vocabulary:
        # Unigram models give each piece the id of its place.
        last = vocabulary[-1]
        yield (str(last[0]) if isinstance(last, list) and last else "", len(vocabulary) - 1)
    added = tokenizer.get("added_tokens")
    entries = [entry for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
    yield _find_highest({str(entry.get("content")): entry.get("id") for entry in entries})
    yield _find_highest(_read(subject, "added_tokens.json"))
    decoder = _read(subject, "tokenizer_config.json").get("added_tokens_decoder")
    if isinstance(decoder, dict):
        contents = {key: entry.get("content") for key, entry in decoder.items() if isinstance(entry, dict)}
        ids = {str(content): int(key) for key, content in contents.items() if key.isdecimal() and len(key) < 19}
        yield _find_highest(ids)


def _find_highest(ids: Mapping[str, Any]) -> tuple[str, int]:
    numbers = {token: number for token, number in ids.items() if type(number) is int}
    token = max(numbers, key=numbers.__getitem__, default="")
    return token, numbers.get(token, -1)


def _read(subject: Subject, name: str) -> Mapping[str, Any]:
    """Reads a JSON object that lies beside the weights; empty if there is none."""
    try:
        document = json.loads(subject.safetensors.text(name) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


RULE = Rule(
    code="CFG002",
    name="vocab-below-tokenizer",
    severity="error",
    needs=("header", "tokenizer"),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The tokenizer, with the tokens that were added to it, gives an id for which the longest embedding has no row.
The ids are those of `tokenizer.json`, `added_tokens.json` and `tokenizer_config.json`. More rows than ids are padding,
and as it should be.""",
    why="""\
The first text with such a token stops the model with an index out of range, on an accelerator with an assertion that
names neither; or reads whatever lies behind the table. Tokens were added and the embeddings not resized, or resized in
memory and the old ones saved.""",
    mend="""\
No fix: rows for these tokens have to be trained. Resize the embeddings and train them, or go back to the tokenizer that
the model was trained with.""",
    bad="""\
tokenizer.json      <|tool|> has id 32000
model.safetensors   model.embed_tokens.weight   32000×4096""",
    good="""\
tokenizer.json      <|tool|> has id 32000
model.safetensors   model.embed_tokens.weight   32064×4096""",
    threads=("unsloth#3416", "unsloth#237"),
)
