"""Role names: which leaves are input embeddings and output heads, by name alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

Role = Literal["shared", "embedding", "head", ""]

# Source: the leaf names of the model classes in classes.json, of Flax and MaxText, and of Llama's own files.
_EMBEDDINGS = frozenset(
    {
        "embed",
        "embed_in",
        "embed_tokens",
        "embedding_in",
        "embeddings",
        "tok_embeddings",
        "token_embd",
        "token_embedder",
        "token_embedding",
        "tokens_embed",
        "word_embedding",
        "word_embeddings",
        "wte",
    }
)
_HEADS = frozenset(
    {
        "embed_out",
        "generator_lm_head",
        "lm_head",
        "lm_loss",
        "logits_dense",
        "output_projection",
        "proj_out",
        "unembed",
        "vocab_projector",
    }
)
# These words are heads only at the top of the tree: deeper down they name parts of a layer.
_TOP_HEADS = frozenset({"decoder", "head", "output"})
_INNER_HEADS = frozenset(
    {
        ("lm_head", "decoder"),
        ("lm_head", "out_proj"),
        ("head", "decoder"),
        ("mlm_score", "decoder"),
        ("predictions", "decoder"),
        ("pred_layer", "proj"),
    }
)
_WORDS = frozenset({"shared", *_EMBEDDINGS, *_HEADS, *_TOP_HEADS, *(inner for _, inner in _INNER_HEADS)})
_SUFFIXES = frozenset({"weight", "embedding", "kernel"})
_RANKS = {"shared": 0, "embedding": 1, "": 2, "head": 3}


def find_role(name: str) -> Role:
    """Says what a leaf's name makes of it; the empty text for anything else.

    Example:
        >>> find_role("transformer.wte.weight"), find_role("lm_head.weight"), find_role("h.0.output.weight")
        ('embedding', 'head', '')
    """
    # Most names have no role, and their last words tell.
    words = name.replace("/", ".").rsplit(".", 2)
    last = words[-2] if words[-1] in _SUFFIXES and len(words) > 1 else words[-1]
    if last not in _WORDS:
        return ""
    parts = _parts(name)
    if parts[-1] in _SUFFIXES:
        parts = parts[:-1]
    if parts[-1] == "shared":
        return "shared"
    if parts[-1] in _EMBEDDINGS:
        return "embedding"
    is_head = parts[-1] in _HEADS or parts[-2:] in _INNER_HEADS or (parts[-1] in _TOP_HEADS and len(parts) <= 2)
    return "head" if is_head else ""


def preferred_canonical(a: str, b: str) -> str | None:
    """Says which of two tied leaves to keep: the input embedding, never the head; None if names do not say.

    Loaders look for the input embedding: with only the head stored, transformers 4 leaves
    both uninitialised, without an error.

    Example:
        >>> preferred_canonical("lm_head.weight", "model.embed_tokens.weight")
        'model.embed_tokens.weight'
        >>> preferred_canonical("h.0.w", "h.1.w") is None
        True
    """
    if _is_decoder_bias(a, b) or _is_decoder_bias(b, a):
        return min(a, b, key=len)
    ranks = _RANKS[find_role(a)], _RANKS[find_role(b)]
    if ranks[0] == ranks[1]:
        return None
    return a if ranks[0] < ranks[1] else b


def named_like_ties(stored: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pairs up stored leaves that models usually tie, as `(canonical, alias)`, by name alone.

    A head is paired with the embedding that shares most of its path; where several do, with
    the shared one, the one nearest the root, or the decoder's, and with none if that does not decide.

    Example:
        >>> named_like_ties(["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"])
        (('model.embed_tokens.weight', 'lm_head.weight'),)
    """
    names = tuple(stored)
    return tuple(_pairs(names, list_roles(names)))


def list_roles(names: Iterable[str]) -> Mapping[str, Role]:
    """Gives the leaves that have a role, with it.

    Example:
        >>> list_roles(["lm_head.weight", "h.0.w", "h.0.output.weight"])
        {'lm_head.weight': 'head'}
    """
    return {name: role for name in names if (role := find_role(name))}


def _pairs(names: tuple[str, ...], roles: Mapping[str, Role]) -> Iterator[tuple[str, str]]:
    shared = [name for name in roles if roles[name] == "shared"]
    embeddings = [name for name in roles if roles[name] in ("shared", "embedding")]
    known = frozenset(names)
    for name in names:
        canonical, role = None, roles.get(name)
        if role == "head":
            canonical = _nearest(name, embeddings)
        elif role == "embedding" and {"encoder", "decoder", "text_encoder", "text_decoder"} & {*_parts(name)}:
            canonical = _nearest(name, shared)
        elif name.endswith(".decoder.bias"):
            outer = name.removesuffix(".decoder.bias") + ".bias"
            canonical = outer if outer in known else None
        if canonical is not None:
            yield canonical, name


def _nearest(name: str, candidates: list[str]) -> str | None:
    """Picks the candidate with the longest common path, or None where that does not decide."""
    reach = {candidate: _common(_parts(name), _parts(candidate)) for candidate in candidates}
    longest = max(reach.values(), default=0)
    best = [candidate for candidate in candidates if reach[candidate] == longest]
    shared = [candidate for candidate in best if find_role(candidate) == "shared"]
    best = shared or best
    shortest = min((len(_parts(candidate)) for candidate in best), default=0)
    best = [candidate for candidate in best if len(_parts(candidate)) == shortest]
    decoders = [candidate for candidate in best if "decoder" in _parts(candidate)]
    best = best if len(best) == 1 else decoders
    return best[0] if len(best) == 1 else None


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    length = 0
    while length < min(len(left), len(right)) and left[length] == right[length]:
        length += 1
    return length


def _is_decoder_bias(inner: str, outer: str) -> bool:
    return inner.endswith(".decoder.bias") and inner.removesuffix(".decoder.bias") + ".bias" == outer


def _parts(name: str) -> tuple[str, ...]:
    return tuple(name.replace("/", ".").split("."))
