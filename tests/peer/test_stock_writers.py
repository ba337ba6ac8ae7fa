"""What stock libraries write, `inspect`, `untie` and `find` understand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAMILIES = {
    "gpt2": {"lm_head.weight": "transformer.wte.weight"},
    "llama": {"lm_head.weight": "model.embed_tokens.weight"},
    "bert": {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "t5": dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight"
    ),
}


def list_ties(report: Any, source: str) -> dict[str, str]:
    """Gives the ties of an inspection that come from one source, as `alias -> canonical`."""
    return {tie["alias"]: tie["canonical"] for tie in report["ties"] if tie["source"] == source}


@pytest.fixture
def untie_and_compare(
    tmp_path: Path, run: Callable[..., Any], tensors: Callable[[Path], dict[str, Any]], torch: Any
) -> Callable[..., Path]:
    """Unties a checkpoint and insists that each alias is stored, and equal to its canonical leaf."""

    def check(checkpoint: Path, ties: dict[str, str]) -> Path:
        untied = tmp_path / f"untied{checkpoint.suffix}"
        before = tensors(checkpoint)
        report = run("untie", checkpoint, "-o", untied)

        after = tensors(untied)
        assert {tie["alias"] for tie in report["ties"]} == set(ties)
        assert after.keys() == before.keys() | ties.keys()
        assert all(torch.equal(after[alias], before[canonical]) for alias, canonical in ties.items())
        assert all(torch.equal(after[name], before[name]) for name in before)
        return untied

    return check


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_save_pretrained_is_understood_by_its_config(
    family: str,
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    load: Callable[[Path], Any],
    logits: Callable[[Any], Any],
    run: Callable[..., Any],
    untie_and_compare: Callable[..., Path],
    torch: Any,
) -> None:
    """The file does not say what was left out; the config does, and the untied copy computes the same."""
    model = build(family)
    model.save_pretrained(tmp_path / "model", max_shard_size=shard_size)

    assert list_ties(run("inspect", tmp_path / "model"), "config") == FAMILIES[family]
    untied = untie_and_compare(tmp_path / "model", FAMILIES[family])
    assert torch.equal(logits(load(untied)), logits(model))


def test_an_untied_model_has_no_ties(tmp_path: Path, build: Callable[..., Any], run: Callable[..., Any]) -> None:
    """A head of its own is no tie to anybody; its name alone makes it worth a look, and it shows as drifted."""
    build("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "model")

    assert run("inspect", tmp_path / "model")["ties"] == []
    assert {hit["kind"] for hit in run("find", tmp_path / "model")["hits"]} <= {"drifted"}


def test_save_model_is_understood_by_its_metadata(
    tmp_path: Path, build: Callable[..., Any], run: Callable[..., Any], untie_and_compare: Callable[..., Path]
) -> None:
    """`safetensors.torch.save_model` keeps the first name and writes the dropped ones into the metadata."""
    from safetensors.torch import save_model

    save_model(build("gpt2"), str(tmp_path / "model.safetensors"))

    ties = list_ties(run("inspect", tmp_path / "model.safetensors"), "metadata")
    assert ties == {"transformer.wte.weight": "lm_head.weight"}
    untie_and_compare(tmp_path / "model.safetensors", ties)


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
def test_save_torch_model_is_understood_by_its_metadata(
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    run: Callable[..., Any],
    untie_and_compare: Callable[..., Path],
    hub: Any,
) -> None:
    """huggingface_hub writes the dropped names into the header of a single file, and into the index of shards."""
    (tmp_path / "model").mkdir()
    hub.save_torch_model(build("llama"), tmp_path / "model", max_shard_size=shard_size)

    ties = list_ties(run("inspect", tmp_path / "model"), "metadata")
    assert {frozenset(pair) for pair in ties.items()} == {frozenset({"lm_head.weight", "model.embed_tokens.weight"})}
    untie_and_compare(tmp_path / "model", ties)


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
def test_accelerate_is_understood_once_a_config_stands_beside_it(
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    run: Callable[..., Any],
    untie_and_compare: Callable[..., Path],
    accelerate: Any,
) -> None:
    """Nothing in its files says what was dropped; with a config beside them the tie is known again."""
    model = build("gpt2")
    accelerate.Accelerator(cpu=True).save_model(model, tmp_path / "model", max_shard_size=shard_size)
    assert run("inspect", tmp_path / "model")["ties"] == []

    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(tmp_path / "model")

    (pair,) = list_ties(run("inspect", tmp_path / "model"), "config").items()
    assert set(pair) == {"lm_head.weight", "transformer.wte.weight"}
    untie_and_compare(tmp_path / "model", dict([pair]))


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_find_sees_the_ties_of_a_checkpoint_that_stores_every_name(
    family: str,
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    save_all_names: Callable[..., Path],
    run: Callable[..., Any],
) -> None:
    """Exactly the pairs that the model class ties are identical, canonical side first."""
    report = run("find", save_all_names(build(family), tmp_path / "model", shard_size))

    assert {hit["dst"]: hit["src"] for hit in report["hits"]} == FAMILIES[family]
    assert {hit["kind"] for hit in report["hits"]} == {"identical"}
