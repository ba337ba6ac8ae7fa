"""Cases of the rules that hold embeddings against config and tokenizer."""

from __future__ import annotations

from pathlib import Path

from tests.lint.building import Case, Leaf, llama, write_json, write_llama

EMBEDDING = "model.embed_tokens.weight"


def nested(directory: Path, *, outer: int | None, inner: int, rows: int) -> Path:
    """A model of text and images, whose vocabulary is given at two levels."""
    names = {"model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    leaves = {
        next(new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)): leaf
        for name, leaf in llama(rows=rows).items()
    }
    top: object = ... if outer is None else outer
    return write_llama(
        directory,
        leaves,
        architectures=["PaliGemmaForConditionalGeneration"],
        model_type="paligemma",
        vocab_size=top,
        text_config={"model_type": "gemma", "vocab_size": inner, "tie_word_embeddings": False},
    )


def mllama(directory: Path) -> Path:
    """A model whose class adds eight rows to the embedding, and none to the head."""
    leaves: dict[str, Leaf] = {
        "language_model.model.embed_tokens.weight": ("BF16", (40, 8)),
        "language_model.lm_head.weight": ("BF16", (32, 8)),
    }
    text = {"model_type": "mllama_text_model", "vocab_size": 32, "tie_word_embeddings": False}
    changes = {"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama", "text_config": text}
    return write_llama(directory, leaves, **changes, vocab_size=...)


def sections(directory: Path) -> Path:
    """A translator whose two sides have vocabularies of their own."""
    leaves: dict[str, Leaf] = {
        "model.encoder.embed_tokens.weight": ("F32", (32, 8)),
        "model.decoder.embed_tokens.weight": ("F32", (24, 8)),
    }
    changes = {"architectures": ["SomeTranslator"], "model_type": "some", "tie_word_embeddings": ...}
    return write_llama(directory, leaves, **changes, decoder_vocab_size=24)


def with_tokenizer(
    directory: Path, ids: int, *, added: tuple[int, ...] = (), pieces: bool = False, rows: int = 32
) -> Path:
    """A Llama and a tokenizer with so many ids of its own, and some that were added."""
    vocabulary: object = [[f"t{n}", -1.0] for n in range(ids)] if pieces else {f"t{n}": n for n in range(ids)}
    write_json(
        directory / "tokenizer.json",
        {
            "model": {"type": "Unigram" if pieces else "BPE", "vocab": vocabulary},
            "added_tokens": [{"id": n, "content": f"<{n}>"} for n in added],
        },
    )
    return write_llama(directory, llama(rows=rows), vocab_size=rows)


def added_beside(directory: Path, name: str, document: object) -> Path:
    """A tokenizer that fits, and a file beside it that adds to it."""
    write_json(directory / name, document)
    return with_tokenizer(directory, 32)


def odd_tokenizer(directory: Path) -> Path:
    """A tokenizer whose ids are no numbers."""
    document = {"model": {"vocab": {"a": "99", "b": True, "c": None}}, "added_tokens": [7, {"id": [99]}, None]}
    write_json(directory / "tokenizer.json", document)
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": {"x": {}, "99": 1}})
    return write_llama(directory)


def padded(directory: Path) -> Path:
    """A model whose config says to what its table is padded."""
    return write_llama(directory, llama(rows=40), pad_vocab_size_multiple=8, vocab_size=33)


CASES = [
    Case(
        "CFG001",
        "more-rows-than-the-config-says",
        lambda it: write_llama(it, llama(rows=34)),
        True,
        says=(f"`{EMBEDDING}` has 34 rows, config vocab_size is 32",),
    ),
    Case("CFG001", "fewer-rows", lambda it: write_llama(it, llama(rows=30)), True),
    Case(
        "CFG001",
        "outer-level-is-stale",
        lambda it: nested(it, outer=64, inner=72, rows=72),
        True,
        says=("vocab_size is 64 and text_config.vocab_size is 72",),
    ),
    Case("CFG001", "neither-level-fits", lambda it: nested(it, outer=64, inner=64, rows=72), True),
    Case("CFG001", "as-many-as-it-says", write_llama, False),
    Case("CFG001", "nested-alone", lambda it: nested(it, outer=None, inner=72, rows=72), False),
    Case("CFG001", "rows-that-the-class-adds", mllama, False),
    Case("CFG001", "no-vocabulary-in-the-config", lambda it: write_llama(it, vocab_size=...), False),
    Case("CFG001", "padding-that-the-config-states", padded, False),
    Case("CFG001", "two-vocabularies", sections, False),
    Case("CFG001", "vocabulary-that-is-no-number", lambda it: write_llama(it, vocab_size="32"), False),
    Case(
        "CFG002",
        "token-added",
        lambda it: with_tokenizer(it, 32, added=(32, 33)),
        True,
        says=("id 33 (`<33>`)", "32 rows"),
    ),
    Case("CFG002", "vocabulary-of-pieces", lambda it: with_tokenizer(it, 33, pieces=True), True),
    Case("CFG002", "added-beside", lambda it: added_beside(it, "added_tokens.json", {"<pad>": 32}), True),
    Case(
        "CFG002",
        "added-in-its-config",
        lambda it: added_beside(it, "tokenizer_config.json", {"added_tokens_decoder": {"32": {"content": "<pad>"}}}),
        True,
        says=("`<pad>`",),
    ),
    Case("CFG002", "padded-rows", lambda it: with_tokenizer(it, 20, added=(20,)), False),
    Case("CFG002", "exactly-enough", lambda it: with_tokenizer(it, 31, added=(31,)), False),
    Case("CFG002", "ids-that-are-no-numbers", odd_tokenizer, False),
]
