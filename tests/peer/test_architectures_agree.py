"""The table of model classes says what the installed transformers does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiecli.architectures import declared_ties
from tiecli.architectures.classes import count_extra_rows, find_model_class, find_untied_class
from tiecli.architectures.configs import FLAG, read_flag
from tiecli.architectures.roles import find_role

# One class of every kind of row: plain, prefixed, biased, nested, per layer, always and never tied.
CLASSES = (
    "AlbertForMaskedLM",
    "BartForConditionalGeneration",
    "BloomForCausalLM",
    "DFineForObjectDetection",
    "ElectraForMaskedLM",
    "FSMTForConditionalGeneration",
    "FalconForCausalLM",
    "Gemma3ForCausalLM",
    "LlavaForConditionalGeneration",
    "Mamba2ForCausalLM",
    "MarianMTModel",
    "ModernBertForMaskedLM",
    "OPTForCausalLM",
    "PhiForCausalLM",
    "Qwen3ForCausalLM",
    "RobertaForMaskedLM",
    "RwkvForCausalLM",
    "UMT5ForConditionalGeneration",
    "WhisperForConditionalGeneration",
)
# Of each kind of decider one: the top's flag, the nested one, and either.
NESTED = ("AriaForConditionalGeneration", "BlipForConditionalGeneration", "VibeVoiceForConditionalGeneration")


@pytest.fixture
def bare(torch: Any, transformers: Any) -> Callable[..., Any]:
    """Builds a class from its default config, on the meta device: names and ties without weights."""
    if transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 keeps no list of its ties")

    def build(name: str, flag: bool | dict[str, Any] | None) -> Any:
        model_class = getattr(transformers, name)
        config_class = model_class.config_class
        if isinstance(flag, dict):
            config = config_class.from_dict(flag)
        else:
            config = config_class() if flag is None else config_class(tie_word_embeddings=flag)
        with torch.device("meta"):
            return model_class(config)

    return build


@pytest.mark.parametrize("name", CLASSES)
def test_a_tied_config_declares_what_the_model_ties(name: str, bare: Callable[..., Any]) -> None:
    """With the flag on, the declared ties of a stripped checkpoint are those that the model makes."""
    model = bare(name, True)
    ties = dict(model.all_tied_weights_keys)
    stored = {key for key in model.state_dict() if key not in ties}
    config = f'{{"architectures": ["{name}"], "tie_word_embeddings": true}}'

    assert {tie.alias: tie.canonical for tie in declared_ties(config, stored)} == ties


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_knows_what_an_absent_flag_means(name: str, bare: Callable[..., Any]) -> None:
    """The default of the class is the default of the row."""
    row = find_model_class(name)

    assert row is not None
    assert row.default == bool(bare(name, None).all_tied_weights_keys)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("name", NESTED)
def test_the_table_knows_which_of_two_flags_decides(
    name: str, top: bool, inner: bool, bare: Callable[..., Any]
) -> None:
    """The model with these flags ties its head, or does not, as the row says of the config."""
    row = find_model_class(name)
    assert row is not None
    document = bare(name, None).config.to_dict()
    document |= {FLAG: top, row.nested: document[row.nested] | {FLAG: inner}}

    tied = dict(bare(name, document).all_tied_weights_keys)

    assert read_flag(document, row).newer == any(find_role(alias) == "head" for alias in tied)


@pytest.mark.parametrize("name", ["CpmAntForCausalLM", "MllamaForConditionalGeneration", "xLSTMForCausalLM"])
def test_a_head_that_stands_alone_is_tied_by_no_flag(name: str, bare: Callable[..., Any]) -> None:
    """The model has both leaves, of different lengths in some, and ties nothing."""
    row = find_untied_class(name)
    assert row is not None
    ((head, embedding),) = row.ties.items()
    model = bare(name, True)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}

    assert dict(model.all_tied_weights_keys) == {}
    assert shapes[embedding][0] - shapes[head][0] == count_extra_rows(name)


@pytest.mark.parametrize("fixture", ["bert", "gemma", "gpt2", "gpt2-untied", "llama", "mt5", "opt", "t5", "whisper"])
def test_the_fixtures_are_genuine(fixture: str, load: Callable[[Path], Any]) -> None:
    """Stock transformers loads them: no leaf missing, none unexpected, none of another shape."""
    load(Path(__file__).parents[2] / "fixtures" / fixture)
