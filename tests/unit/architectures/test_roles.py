"""Role names: embeddings and heads are known by name, and pair up where names decide."""

from __future__ import annotations

import pytest

from tiecli.architectures.roles import find_role, named_like_ties, preferred_canonical


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("transformer.wte.weight", "embedding"),
        ("model.language_model.embed_tokens.weight", "embedding"),
        ("token_embedder/embedding", "embedding"),
        ("embed", "embedding"),
        ("shared.weight", "shared"),
        ("lm_head.weight", "head"),
        ("cls.predictions.decoder.weight", "head"),
        ("decoder.logits_dense.kernel", "head"),
        ("output.weight", "head"),
        ("bert.encoder.layer.0.output.weight", ""),
        ("lm_head.bias", ""),
        ("model.norm.weight", ""),
        ("weight", ""),
    ],
)
def test_a_name_has_one_role(name: str, role: str) -> None:
    """Known embedding and head names are told apart, and from parts of layers."""
    assert find_role(name) == role


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["wte.weight", "lm_head.weight"], {("wte.weight", "lm_head.weight")}),
        (["shared.weight", "decoder.embed_tokens.weight"], {("shared.weight", "decoder.embed_tokens.weight")}),
        (["shared.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
         {("shared.weight", "decoder.embed_tokens.weight"), ("shared.weight", "lm_head.weight")}),
        (["lm_head.decoder.bias", "lm_head.bias"], {("lm_head.bias", "lm_head.decoder.bias")}),
        (["a.decoder.bias", "b.bias"], set()),
        (["model.embed_tokens.weight", "draft.embed_tokens.weight", "draft.lm_head.weight"],
         {("draft.embed_tokens.weight", "draft.lm_head.weight")}),
        (["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
         {("decoder.embed_tokens.weight", "lm_head.weight")}),
        (["left.wte.weight", "right.wte.weight", "lm_head.weight"], set()),
        ([], set()),
    ],
)  # fmt: skip
def test_names_pair_up_where_they_decide(names: list[str], pairs: set[tuple[str, str]]) -> None:
    """A head finds the nearest embedding, whatever the order, and none where two are as near."""
    assert set(named_like_ties(names)) == pairs
    assert set(named_like_ties(names[::-1])) == pairs


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("model.embed_tokens.weight", "lm_head.weight"),
        ("shared.weight", "encoder.embed_tokens.weight"),
        ("transformer.wte.weight", "anything.else"),
        ("anything.else", "lm_head.weight"),
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ],
)
def test_the_head_is_never_the_one_to_keep(kept: str, dropped: str) -> None:
    """The input embedding, and the shared one above all, is kept; order does not matter."""
    assert preferred_canonical(kept, dropped) == kept
    assert preferred_canonical(dropped, kept) == kept


def test_names_without_a_role_do_not_say_which_to_keep() -> None:
    """Two leaves of layers, or two heads, give no answer."""
    assert preferred_canonical("h.0.w", "h.1.w") is None
    assert preferred_canonical("lm_head.weight", "proj_out.weight") is None
