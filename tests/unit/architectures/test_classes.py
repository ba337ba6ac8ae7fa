"""Model classes: the table of what transformers classes tie holds together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tiecli.architectures.classes import default_of_type, find_model_class

TABLE: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "tiecli" / "architectures" / "classes.json").read_text(encoding="utf-8")
)
PATTERN = re.compile(r"{\w}")


def test_the_table_knows_the_usual_classes() -> None:
    """A few rows, as transformers states them; an unknown class or type has none."""
    whisper, t5 = find_model_class("WhisperForConditionalGeneration"), find_model_class("T5ForConditionalGeneration")

    assert whisper is not None
    assert dict(whisper.ties) == {"proj_out.weight": "model.decoder.embed_tokens.weight"}
    assert t5 is not None
    assert (t5.scales, t5.flag) == (True, "always")
    assert find_model_class("HomemadeLM") is None
    assert [default_of_type(name) for name in ("gpt2", "llama", "homemade")] == [True, False, None]


def test_every_row_holds_together() -> None:
    """No alias is also a canonical leaf, patterns can be filled, and the flag has a known place."""
    assert len(TABLE) > 400
    assert [name for name in TABLE if not holds_together(name)] == []


def holds_together(name: str) -> bool:
    """Says whether a row contradicts neither itself nor the code that reads it."""
    row = find_model_class(name)
    if row is None or row.flag not in {"top", "either", "nested", "always", "never"}:
        return False
    if row.flag in {"either", "nested"} and not row.nested:
        return False
    return all(
        spelling
        and not spelling.keys() & set(spelling.values())
        and all(set(PATTERN.findall(canonical)) <= set(PATTERN.findall(alias)) for alias, canonical in spelling.items())
        for spelling in (row.ties, row.stored)
    )


@pytest.mark.parametrize(
    ("stored", "alias"),
    [
        ("model.language_model.embed_tokens.weight", "lm_head.weight"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
        ("language_model.embed_tokens.weight", "lm_head.weight"),
    ],
)
def test_a_class_is_spelled_as_the_file_spells_it(stored: str, alias: str) -> None:
    """LLaVA goes by the module's names, those of older releases, or without the bare model's prefix."""
    llava = find_model_class("LlavaForConditionalGeneration")

    assert llava is not None
    assert llava.spell({stored, "another.weight"}) == ((alias, stored),)
