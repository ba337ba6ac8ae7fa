"""Flags: after the edits, every release reads the same."""

from __future__ import annotations

from typing import Any

import pytest

from tiecli.architectures.configs import FLAG, find_class, read_flag
from tiecli.linting.edits import SetMember
from tiecli.linting.flags import edit_flag

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
LLAVA = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
INNER = {"model_type": "llama"}
CONFIGS: list[dict[str, Any]] = [
    LLAMA,
    LLAMA | {FLAG: True},
    LLAMA | {FLAG: "yes"},
    LLAVA | {FLAG: True, "text_config": INNER | {FLAG: False}},
    LLAVA | {FLAG: False, "text_config": INNER | {FLAG: True}},
    LLAVA | {"text_config": INNER},
    LLAVA | {"text_config": 7},
    {"architectures": ["GemmaForCausalLM"]},
    {"architectures": ["GPT2LMHeadModel"], FLAG: False},
]


def apply(config: dict[str, Any], edits: tuple[SetMember, ...]) -> dict[str, Any]:
    """Carries the edits out."""
    changed: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for edit in edits:
        target = changed
        for key in edit.place:
            target = target[key]
        target[edit.key] = edit.value == "true"
    return changed


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_release_reads_what_the_edits_say(config: dict[str, Any], tied: bool) -> None:
    """Wherever the flag stood before, and whatever it said."""
    changed = apply(config, edit_flag(config, tied=tied))
    model_class = find_class(changed)
    assert model_class is not None
    reading = read_flag(changed, model_class)

    assert (reading.newer, reading.older) == (tied, tied)


def test_a_flag_that_says_so_already_is_left_alone() -> None:
    """Nothing to change, nothing changed."""
    assert edit_flag(LLAMA | {FLAG: True}, tied=True) == ()


def test_an_unknown_class_is_set_where_it_has_the_flag() -> None:
    """Both places of an unknown model, and none where there is no flag."""
    config = {"architectures": ["Mine"], FLAG: True, "text_config": {FLAG: False}}

    assert [(edit.place, edit.value) for edit in edit_flag(config, tied=False)] == [((), "false")]
    assert [(edit.place, edit.value) for edit in edit_flag(config, tied=True)] == [(("text_config",), "true")]
    assert edit_flag({"architectures": ["Mine"]}, tied=True) == ()


@pytest.mark.parametrize("name", ["BertLMHeadModel", "T5ForConditionalGeneration"])
def test_a_flag_that_decides_more_is_left_alone(name: str) -> None:
    """T5's flag scales its output as well."""
    edits = edit_flag({"architectures": [name], FLAG: True}, tied=False)

    assert (edits == ()) == (name == "T5ForConditionalGeneration")
