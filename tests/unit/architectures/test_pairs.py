"""Pairs: what a config says of its model's head and embedding, whichever way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiecli import architectures
from tiecli.architectures.classes import count_extra_rows, find_untied_class
from tiecli.architectures.flags import find_absent_flag, find_flag_conflict
from tiecli.architectures.pairs import KnownPair, class_pairs, guess_pairs, knows_class

FLAG = "tie_word_embeddings"
LLAVA = {"architectures": ["LlavaForConditionalGeneration"]}
ARIA = {"architectures": ["AriaForConditionalGeneration"]}


def only(pairs: tuple[KnownPair, ...] | None) -> KnownPair:
    """Gives the one pair."""
    assert pairs is not None
    (pair,) = pairs
    return pair


@pytest.mark.parametrize(("flag", "tied"), [(True, True), (False, False), (None, False), ("yes", False)])
def test_the_flag_of_a_known_class(flag: object, tied: bool) -> None:
    """Anything but true and false is as good as absent."""
    pair = only(class_pairs({"architectures": ["LlamaForCausalLM"], FLAG: flag}, ["model.embed_tokens.weight"]))

    assert pair[:4] == ("lm_head.weight", "model.embed_tokens.weight", tied, tied)
    assert pair.kind == "whole"


def test_names_of_the_bare_model() -> None:
    """GPT-2's own file was saved without the prefix."""
    pair = only(class_pairs({"architectures": ["GPT2LMHeadModel"]}, ["wte.weight"]))

    assert (pair.canonical, pair.kind) == ("wte.weight", "bare")


def test_ties_of_layers() -> None:
    """They stand for what other settings of the config switch as well."""
    names = [f"bbox_embed.{layer}.layers.0.weight" for layer in range(3)]
    pairs = class_pairs({"architectures": ["GroundingDinoForObjectDetection"]}, names)

    assert pairs is not None
    assert {pair.kind for pair in pairs if pair.alias in names} == {"layered"}


@pytest.mark.parametrize(("flag", "older"), [(False, False), (True, True), (None, True)])
def test_a_class_that_never_ties(flag: bool | None, older: bool) -> None:
    """Only a flag that says no is certain: older releases tied some of these."""
    config = {"architectures": ["MllamaForConditionalGeneration"]} | ({} if flag is None else {FLAG: flag})
    pair = only(class_pairs(config, ["language_model.model.embed_tokens.weight"]))

    assert (pair.alias, pair.newer, pair.older) == ("language_model.lm_head.weight", False, older)


def test_no_class_is_in_two_tables() -> None:
    """What ties something does not keep it apart, and both say more than the mere name."""
    directory = Path(architectures.__file__).parent
    tables = [json.loads((directory / f"{name}.json").read_text()) for name in ("classes", "heads", "others")]

    assert sum(map(len, tables)) == len({name for table in tables for name in table}) > 1700
    assert find_untied_class("MllamaModel") is None
    assert count_extra_rows("MllamaModel") == 8


def test_a_class_that_ties_nothing_is_known() -> None:
    """Nothing is guessed of it by names."""
    assert class_pairs({"architectures": ["SiglipModel"], FLAG: True}, ["head.weight"]) == ()
    assert knows_class({"architectures": [7, None, "MllamaForCausalLM"]})
    assert not knows_class({"architectures": ["HomemadeModel"]})


@pytest.mark.parametrize("config", [{}, {"architectures": "LlamaForCausalLM"}, {"architectures": [["x"]], FLAG: True}])
def test_configs_that_name_no_class(config: dict[str, object]) -> None:
    """Nothing is known of them."""
    assert class_pairs(config, ["lm_head.weight"]) is None


def test_guesses_need_a_flag_and_few_heads() -> None:
    """Without a flag nothing speaks of a tie; where everything is called head, names say nothing."""
    names = ["wte.weight", "lm_head.weight"]
    many = [f"part{n}.lm_head.weight" for n in range(100)]

    assert guess_pairs({}, names) == ()
    assert only(guess_pairs({FLAG: False}, names))[:4] == ("lm_head.weight", "wte.weight", False, False)
    assert only(guess_pairs({FLAG: False, "text_config": {FLAG: True}}, names))[2:4] == (True, False)
    assert guess_pairs({FLAG: True}, [*names, *many]) == ()


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (LLAVA | {FLAG: True, "text_config": {FLAG: False}}, True),
        (LLAVA | {FLAG: True, "text_config": {FLAG: True}}, False),
        (LLAVA | {FLAG: True, "text_config": {"model_type": "llama"}}, True),
        (LLAVA | {FLAG: False, "text_config": {"model_type": "llama"}}, False),
        (LLAVA | {FLAG: True, "text_config": {"model_type": "gemma"}}, False),
        (LLAVA | {FLAG: True}, False),
        (LLAVA | {FLAG: True, "text_config": [1]}, False),
        (LLAVA | {FLAG: True, "vision_config": {FLAG: False}}, False),
        (ARIA | {"text_config": {FLAG: True}}, True),
        ({"architectures": ["VisionEncoderDecoderModel"], FLAG: False, "decoder": {FLAG: True}}, False),
        ({"architectures": ["CsmForConditionalGeneration"], FLAG: False}, False),
        ({"architectures": ["VoxtralForConditionalGeneration"], FLAG: False, "text_config": {FLAG: True}}, False),
        ({"architectures": ["HomemadeForCausalLM"], FLAG: False, "llm_config": {FLAG: True}}, True),
        ({"architectures": ["HomemadeModel"], FLAG: False, "llm_config": {FLAG: True}}, False),
        ({"architectures": ["HomemadeForCausalLM"], "llm_config": {FLAG: True}}, False),
    ],
    ids=str,
)
def test_conflicting_flags(config: dict[str, object], found: bool) -> None:
    """Two values that contradict each other, or one that some release does not see where it stands."""
    assert (find_flag_conflict(config) is not None) == found


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, True),
        ({"architectures": ["GPT2LMHeadModel"], FLAG: True}, False),
        ({"architectures": ["GPT2LMHeadModel"], FLAG: None}, True),
        ({"architectures": ["T5ForConditionalGeneration"]}, False),
        (LLAVA | {"text_config": {FLAG: True}}, False),
        (LLAVA | {"text_config": {}}, True),
        ({"architectures": ["EncoderDecoderModel"], FLAG: True, "decoder": {}}, True),
        ({"architectures": ["EncoderDecoderModel"], "decoder": {FLAG: True}}, False),
        ({"architectures": ["VoxtralForConditionalGeneration"]}, False),
        ({"architectures": ["HomemadeForCausalLM"]}, True),
        ({"architectures": ["HomemadeModel"]}, False),
        ({"model_type": "llama"}, False),
    ],
    ids=str,
)
def test_absent_flags(config: dict[str, object], found: bool) -> None:
    """Only of classes that go by the flag, and where it stands at none of the places they look at."""
    assert (find_absent_flag(config) is not None) == found
