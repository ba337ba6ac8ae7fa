"""What `tie` writes loads in stock libraries, and computes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("gpt2", "llama", "bert", "t5")
TIES = {
    "gpt2": [("transformer.wte.weight", "lm_head.weight")],
    "llama": [("model.embed_tokens.weight", "lm_head.weight")],
    "bert": [
        ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ],
    "t5": [
        ("shared.weight", alias)
        for alias in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    ],
}


def options(family: str) -> list[str]:
    """Spells a family's ties as options of the command."""
    return [word for src, dst in TIES[family] for word in ("--src", src, "--dst", dst)]


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_computes_the_same_logits_from_the_tied_checkpoint(
    family: str,
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    save_all_names: Callable[..., Path],
    load: Callable[[Path], Any],
    logits: Callable[[Any], Any],
    run: Callable[..., Any],
    torch: Any,
) -> None:
    """All names stored, then tied: nothing is missing, the ties hold in memory, every logit is the same bit for bit."""
    untied = save_all_names(build(family), tmp_path / "untied", shard_size)
    assert (untied / "model.safetensors").exists() == (shard_size == "1GB")

    report = run("tie", untied, *options(family), "-o", tmp_path / "tied")

    assert report["bytes_after"] < report["bytes_before"]
    before, after = load(untied), load(tmp_path / "tied")
    assert torch.equal(logits(before), logits(after))
    assert after.get_output_embeddings().weight is after.get_input_embeddings().weight


@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_transformers_follows_the_flag_that_tie_sets(
    family: str,
    shard_size: str,
    tmp_path: Path,
    build: Callable[..., Any],
    load: Callable[[Path], Any],
    logits: Callable[[Any], Any],
    run: Callable[..., Any],
    torch: Any,
) -> None:
    """An untied model whose head happens to equal its embedding: the flag becomes true, the logits stay."""
    model = build(family, tie_word_embeddings=False)
    model.get_output_embeddings().weight.data.copy_(model.get_input_embeddings().weight.data)
    model.save_pretrained(tmp_path / "untied", max_shard_size=shard_size)
    assert json.loads((tmp_path / "untied" / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is False

    run("tie", tmp_path / "untied", *options(family), "-o", tmp_path / "tied")

    after = load(tmp_path / "tied")
    assert after.config.tie_word_embeddings is True
    assert torch.equal(logits(model), logits(after))


@pytest.mark.parametrize("family", FAMILIES)
def test_untie_gives_transformers_the_original_files_back(
    family: str,
    tmp_path: Path,
    build: Callable[..., Any],
    save_all_names: Callable[..., Path],
    run: Callable[..., Any],
) -> None:
    """`tie` then `untie` of what other libraries wrote gives back every file byte for byte."""
    original = save_all_names(build(family), tmp_path / "original", "12KB")
    run("tie", original, *options(family), "-o", tmp_path / "tied")

    run("untie", tmp_path / "tied", "-o", tmp_path / "again")

    names = sorted(path.name for path in original.iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    assert [name for name in names if (original / name).read_bytes() != (tmp_path / "again" / name).read_bytes()] == []


def test_load_model_takes_the_tied_file_into_a_tied_module(tmp_path: Path, run: Callable[..., Any], torch: Any) -> None:
    """`safetensors.torch.load_model`, strict, finds nothing missing, whichever of the two names was kept."""
    from safetensors.torch import load_model, save_file

    weight, bias = torch.randn(24, 8), torch.randn(24)
    save_file({"embed.weight": weight, "head.weight": weight.clone(), "head.bias": bias}, tmp_path / "both.safetensors")

    for src, dst in (("embed.weight", "head.weight"), ("head.weight", "embed.weight")):
        out = tmp_path / f"{src}.safetensors"
        run("tie", tmp_path / "both.safetensors", "--src", src, "--dst", dst, "-o", out)
        module = make_tied_module(torch)
        assert load_model(module, out) == (set(), [])
        assert module.head.weight is module.embed.weight
        assert torch.equal(module.embed.weight, weight)
        assert torch.equal(module.head.bias, bias)


def make_tied_module(torch: Any) -> Any:
    """Makes an embedding and a head that share one parameter."""
    module = torch.nn.Module()
    module.embed = torch.nn.Embedding(24, 8)
    module.head = torch.nn.Linear(8, 24)
    module.head.weight = module.embed.weight
    return module


def test_accelerate_loads_the_tied_checkpoint(
    tmp_path: Path,
    build: Callable[..., Any],
    save_all_names: Callable[..., Path],
    logits: Callable[[Any], Any],
    run: Callable[..., Any],
    accelerate: Any,
    torch: Any,
) -> None:
    """`load_checkpoint_in_model`, into a model of other weights, gives the original's logits."""
    model = build("llama")
    original = save_all_names(model, tmp_path / "original", "12KB")
    run("tie", original, *options("llama"), "-o", tmp_path / "tied")
    other = build("llama")
    for parameter in other.parameters():
        parameter.data.zero_()

    accelerate.load_checkpoint_in_model(other, str(tmp_path / "tied"))

    assert torch.equal(logits(model), logits(other))
