"""The table of model classes says what the installed transformers does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiecli.architectures import declared_ties
from tiecli.architectures.classes import find_model_class

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


@pytest.fixture
def bare(torch: Any, transformers: Any) -> Callable[..., Any]:
    """Builds a class from its default config, on the meta device: names and ties without weights."""
    if transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 keeps no list of its ties")

    def build(name: str, flag: bool | None) -> Any:
        model_class = getattr(transformers, name)
        config = model_class.config_class() if flag is None else model_class.config_class(tie_word_embeddings=flag)
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


@pytest.mark.parametrize("fixture", ["bert", "gemma", "gpt2", "gpt2-untied", "llama", "mt5", "opt", "t5", "whisper"])
def test_the_fixtures_are_genuine(fixture: str, load: Callable[[Path], Any]) -> None:
    """Stock transformers loads them: no leaf missing, none unexpected, none of another shape."""
    load(Path(__file__).parents[2] / "fixtures" / fixture)
