"""Config and tokenizer may hold anything; the rules that read them end, and go by whole numbers alone."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.lint.building import write_file
from tiecli.architectures.vocabularies import read_vocabularies
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.rules.cfg001 import RULE as MISMATCH
from tiecli.linting.rules.cfg002 import RULE as BELOW
from tiecli.linting.subject import Subject

KEYS = ["vocab_size", "text_config", "decoder", "pad_vocab_size_multiple", "type_vocab_size", "architectures", "x"]
scalars = st.none() | st.booleans() | st.integers(-3, 50) | st.integers() | st.floats() | st.text(max_size=4)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from(KEYS), anything | st.just(["Ovis2Model"]), max_size=6)
ids = st.dictionaries(st.text(max_size=3), anything, max_size=4)
tokenizers = st.fixed_dictionaries(
    {}, optional={"model": anything | st.fixed_dictionaries({"vocab": ids | anything}), "added_tokens": anything}
)


@given(configs, tokenizers, ids | anything)
def test_anything(config: dict[str, object], tokenizer: dict[str, object], added: object) -> None:
    """A finding of rows or ids speaks of a number that stands in the file."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_file(directory / "model.safetensors", {"model.embed_tokens.weight": ("BF16", (32, 8))})
        texts = {"config.json": config, "tokenizer.json": tokenizer, "added_tokens.json": added}
        for file, document in texts.items():
            (directory / file).write_text(json.dumps(document), encoding="utf-8")
        subject = Subject(Unit(directory, "safetensors", directory, ("model.safetensors",)))
        mismatches, short = list(MISMATCH.check(subject)), list(BELOW.check(subject))

    for finding in mismatches:
        assert any(f"vocab_size is {place.size:,}" in finding.message for place in read_vocabularies(config).stated)
    assert len(mismatches) <= 1
    assert len(short) <= 1


@given(st.integers(1, 60), st.integers(1, 60))
def test_rows_and_vocabulary(rows: int, size: int) -> None:
    """A plain model has a finding exactly if its rows are not its vocabulary."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_file(directory / "model.safetensors", {"model.embed_tokens.weight": ("BF16", (rows, 77))})
        (directory / "config.json").write_text(json.dumps({"vocab_size": size}), encoding="utf-8")
        subject = Subject(Unit(directory, "safetensors", directory, ("model.safetensors",)))

        assert bool(list(MISMATCH.check(subject))) == (rows != size and not (rows % size == 0 and rows >= 4 * size))
