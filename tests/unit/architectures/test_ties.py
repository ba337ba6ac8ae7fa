"""Architectures: what config.json says is tied, and what becomes of it when leaves are tied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiecli.architectures import declared_ties, plan_config_change
from tiecli.errors import ConfigFileError

WTE, HEAD = "transformer.wte.weight", "lm_head.weight"
EMBED = "model.embed_tokens.weight"
SHARED, ENCODER, DECODER = "shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
VISUAL = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")


def config(name: str | None, **members: Any) -> str:
    """Writes a config of one class."""
    named = {"architectures": [name]} if name else {}
    return json.dumps(named | members, indent=2, sort_keys=True) + "\n"


def pairs(text: str, *stored: str) -> set[tuple[str, str]]:
    """Lists declared ties as `(alias, canonical)`."""
    return {(tie.alias, tie.canonical) for tie in declared_ties(text, set(stored))}


def test_a_true_flag_ties_the_head_that_is_not_stored() -> None:
    """The alias is missing, the canonical leaf stored, and the origin names flag and class."""
    (tie,) = declared_ties(config("LlamaForCausalLM", tie_word_embeddings=True), {EMBED})

    assert (tie.alias, tie.canonical) == (HEAD, EMBED)
    assert tie.origin == "config.json: tie_word_embeddings is true (LlamaForCausalLM)"


def test_an_absent_flag_means_what_the_class_says() -> None:
    """GPT-2 ties by default, Llama does not; the origin says that it is the default."""
    (tie,) = declared_ties(config("GPT2LMHeadModel"), {WTE})

    assert "absent, and GPT2LMHeadModel ties by default" in tie.origin
    assert pairs(config("LlamaForCausalLM"), EMBED) == set()
    assert pairs(config("GPT2LMHeadModel", tie_word_embeddings=False), WTE) == set()


def test_names_may_lack_the_prefix_of_the_bare_model() -> None:
    """`wte.weight` is `transformer.wte.weight` of a file saved from the bare model."""
    assert pairs(config("GPT2LMHeadModel"), "wte.weight", "h.0.ln_1.weight") == {(HEAD, "wte.weight")}


def test_a_stored_alias_is_declared_too() -> None:
    """Both leaves stored and the config tying them is a tie to be checked, not an absence."""
    assert pairs(config("GPT2LMHeadModel"), WTE, HEAD) == {(HEAD, WTE)}


def test_with_only_the_head_stored_the_embedding_follows_from_it() -> None:
    """The canonical leaf of a declared tie is always stored, the class's own choice or not."""
    assert pairs(config("LlamaForCausalLM", tie_word_embeddings=True), HEAD) == {(EMBED, HEAD)}


def test_of_four_names_those_missing_follow_from_one_that_is_there() -> None:
    """With `shared` gone, the other stack's embedding is the root, before the head."""
    text = config("T5ForConditionalGeneration", tie_word_embeddings=True)

    assert pairs(text, HEAD, DECODER) == {(SHARED, DECODER), (ENCODER, DECODER), (HEAD, DECODER)}
    assert pairs(text, "unrelated") == set()


def test_where_releases_disagree_only_a_missing_leaf_is_tied() -> None:
    """mT5 ties always in transformers 5 and by the flag in 4: a stored head is a head of its own."""
    text = config("MT5ForConditionalGeneration", tie_word_embeddings=False)

    assert pairs(text, SHARED, HEAD) == {(ENCODER, SHARED), (DECODER, SHARED)}
    assert pairs(text, SHARED, ENCODER, DECODER) == {(HEAD, SHARED)}
    assert declared_ties(text, {SHARED})[0].origin.endswith("as transformers 5 reads it")


def test_a_nested_flag_counts_where_a_release_reads_it() -> None:
    """LLaVA's flag stands in `text_config`; its leaves go by the names of older releases."""
    text = config("LlavaForConditionalGeneration", text_config={"model_type": "llama", "tie_word_embeddings": True})

    assert pairs(text, VISUAL[1]) == {VISUAL}
    assert "text_config.tie_word_embeddings is true" in declared_ties(text, {VISUAL[1]})[0].origin


def test_a_nested_config_without_the_flag_goes_by_its_own_type() -> None:
    """Gemma ties by default, Llama does not, also as the language model of LLaVA."""
    untied, tied = ({"model_type": model_type} for model_type in ("llama", "gemma"))

    assert pairs(config("LlavaForConditionalGeneration", text_config=untied), VISUAL[1]) == set()
    assert pairs(config("LlavaForConditionalGeneration", text_config=tied), VISUAL[1]) == {VISUAL}


def test_biases_are_tied_with_their_weights() -> None:
    """BERT ties the decoder's bias as well."""
    stored = ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias")

    assert pairs(config("BertForMaskedLM"), *stored) == {
        ("cls.predictions.decoder.weight", stored[0]),
        ("cls.predictions.decoder.bias", stored[1]),
    }


def test_a_pattern_ties_every_layer_that_is_stored() -> None:
    """D-FINE ties box heads layer by layer; the numbers are shared by both sides."""
    stored = [f"model.decoder.bbox_embed.{i}.layers.0.bias" for i in range(2)]

    assert pairs(config("DFineForObjectDetection"), *stored) == {
        (f"bbox_embed.{i}.layers.0.bias", stored[i]) for i in range(2)
    }


def test_a_pattern_does_not_tie_a_leaf_to_itself() -> None:
    """Grounding DINO ties all layers to the first, which is no alias of itself."""
    stored = [f"bbox_embed.{i}.layers.0.bias" for i in range(3)]

    assert pairs(config("GroundingDinoForObjectDetection"), *stored) == {(stored[1], stored[0]), (stored[2], stored[0])}


def test_an_unknown_class_is_judged_by_names_if_both_leaves_are_stored() -> None:
    """With the flag true, a head and an embedding pair up; nothing missing is invented."""
    text = config("HomemadeLM", tie_word_embeddings=True)

    assert pairs(text, "embed.weight", "head.weight") == {("head.weight", "embed.weight")}
    assert pairs(text, "embed.weight") == set()
    assert pairs(config("HomemadeLM"), "embed.weight", "head.weight") == set()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", '"text"', "\ufeff{}", "nul"])
def test_a_damaged_config_is_refused(text: str) -> None:
    """Whatever the damage, the error names the file and no other error escapes."""
    with pytest.raises(ConfigFileError, match=r"`config.json`"):
        declared_ties(text, {WTE})


@pytest.mark.parametrize(
    "members",
    [
        {"architectures": None},
        {"architectures": "GPT2LMHeadModel"},
        {"architectures": [7, None]},
        {"architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": {}},
        {"architectures": ["LlavaForConditionalGeneration"], "text_config": [], "tie_word_embeddings": 1},
        {"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": ["llama"]}},
    ],
)
def test_odd_members_are_as_good_as_absent(members: dict[str, Any]) -> None:
    """Members of the wrong type neither crash nor count."""
    assert {canonical for _, canonical in pairs(json.dumps(members), WTE)} <= {WTE}


def test_no_config_declares_nothing() -> None:
    """A checkpoint without config.json has no declared ties."""
    assert declared_ties(None, {WTE}) == ()


def test_tying_sets_the_flag_and_nothing_else() -> None:
    """A false flag of the class's own pair becomes true, every other character stays."""
    text = config("Qwen2ForCausalLM", tie_word_embeddings=False, vocab_size=7)

    change = plan_config_change(text, [(HEAD, EMBED)])

    assert change.text == text.replace("false", "true")
    assert change.reason == "config.json: tie_word_embeddings set to true, since Qwen2ForCausalLM ties by it"


def test_tying_adds_an_absent_flag_that_would_read_false() -> None:
    """Llama's absent flag means false, so it is written down."""
    text = config("LlamaForCausalLM", vocab_size=7)

    change = plan_config_change(text, [(HEAD, EMBED)])

    assert change.text == text.replace('  "vocab_size"', '  "tie_word_embeddings": true,\n  "vocab_size"')


def test_tying_sets_both_places_that_say_false() -> None:
    """Top and nested flag are read by different releases: both change."""
    text = config(
        "LlavaForConditionalGeneration",
        text_config={"model_type": "llama", "tie_word_embeddings": False},
        tie_word_embeddings=False,
    )

    change = plan_config_change(text, [VISUAL])

    assert change.text == text.replace("false", "true")
    assert "tie_word_embeddings and text_config.tie_word_embeddings set to true" in change.reason


@pytest.mark.parametrize(
    ("text", "tied", "stored", "reason"),
    [
        (config("GPT2LMHeadModel"), (HEAD, WTE), (), "loaders tie `lm_head.weight` already"),
        (config("GPT2LMHeadModel"), ("h.1.w", "h.0.w"), (), "tie_word_embeddings does not govern `h.1.w`"),
        (
            config("MT5ForConditionalGeneration", tie_word_embeddings=False),
            (HEAD, SHARED),
            (),
            "also switches a scale of the decoder's output",
        ),
        (
            config("BartForConditionalGeneration", tie_word_embeddings=False),
            (HEAD, "model.shared.weight"),
            ("model.shared.weight", "model.encoder.embed_tokens.weight"),
            "would also tie `model.encoder.embed_tokens.weight`, which is stored on its own",
        ),
        (config("HomemadeLM"), (HEAD, WTE), (), "HomemadeLM is not known here"),
        (config("HomemadeLM", tie_word_embeddings=True), (HEAD, WTE), (), "is true already"),
        (config("HomemadeLM", tie_word_embeddings=False), ("b", "a"), (), "`b` is no output head by its name"),
        (config(None), (HEAD, WTE), (), "a model without `architectures` is not known here"),
        (
            '{"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": false, "tie_word_embeddings": false}',
            (HEAD, EMBED),
            (),
            "`tie_word_embeddings` stands there 2 times",
        ),
    ],
)
def test_the_flag_is_left_alone_with_a_reason(
    text: str, tied: tuple[str, str], stored: tuple[str, ...], reason: str
) -> None:
    """Whatever speaks against a change is said, in one line."""
    change = plan_config_change(text, [tied], stored=stored)

    assert change.text is None
    assert change.reason.startswith("config.json left alone: ")
    assert reason in change.reason
    assert "\n" not in change.reason


def test_keeping_the_head_is_warned_of() -> None:
    """With the embedding dropped instead, the flag is right for transformers 5 alone."""
    change = plan_config_change(config("Qwen2ForCausalLM"), [(EMBED, HEAD)])

    assert change.text is not None
    assert change.reason.endswith(f"; transformers 4 looks for `{EMBED}` and leaves it without values")


def test_a_tie_by_another_transform_is_none_of_the_configs_business() -> None:
    """No identity tie, no untied leaf: nothing to say but that."""
    change = plan_config_change(config("GPT2LMHeadModel"), [])

    assert change.text is None
    assert change.reason == "config.json left alone: it speaks of no such tie"


def test_an_unknown_class_has_its_flag_set_for_a_plain_pair() -> None:
    """Embedding and head by name, and a flag that says false, wherever it stands."""
    text = config("HomemadeLM", text_config={"tie_word_embeddings": False})

    assert plan_config_change(text, [("head.weight", "embed.weight")]).text == text.replace("false", "true")


@pytest.mark.parametrize(
    ("flag", "reason"), [(True, "it ties `lm_head.weight`, which loads as before"), (False, "it does not tie")]
)
def test_untying_leaves_the_flag_alone(flag: bool, reason: str) -> None:
    """Both leaves stored and equal load everywhere under either flag."""
    change = plan_config_change(config("LlamaForCausalLM", tie_word_embeddings=flag), [], [(HEAD, EMBED)])

    assert change.text is None
    assert reason in change.reason


def test_what_was_tied_is_declared_afterwards() -> None:
    """The changed config declares the very tie that it was changed for."""
    text = plan_config_change(config("Qwen2ForCausalLM"), [(HEAD, EMBED)]).text

    assert text is not None
    assert pairs(text, EMBED) == {(HEAD, EMBED)}


def test_leaves_that_the_flag_does_not_govern_are_named_beside_those_it_does() -> None:
    """Tying the head is fine for every loader; what goes with it in the same run may not be."""
    config = '{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}'
    tied = [("lm_head.weight", "transformer.wte.weight"), ("transformer.h.1.w", "transformer.h.0.w")]

    reason = plan_config_change(config, tied).reason

    assert "loaders tie `lm_head.weight` already" in reason
    assert "does not tie `transformer.h.1.w`, so stock loaders will report that missing" in reason
