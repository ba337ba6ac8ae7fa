"""Which framework the names of tensors tell of."""

from __future__ import annotations

import pytest

from tiecli.linting.frameworks import guess_format


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wte.weight", "h.0.attn.bias"], "pt"),
        (["weight", "bn.running_mean", "bn.num_batches_tracked"], "pt"),
        (["a.weight", "a.gamma"], None),
        (["a.weight", "a.bias", "cls_token"], "pt"),
        (["wte.embedding", "h.0.attn.kernel", "h.0.attn.bias"], None),
        (["a.weight", "b.kernel"], None),
        (["a.weight", "a.scales", "a.biases", "b.weight", "norm.weight"], None),
        (["a.weight", "a.scales"], None),
        (["model/dense/kernel:0"], None),
        (["mu", "nu"], None),
        ([], None),
    ],
)
def test_the_format_is_guessed_only_where_names_are_clear(names: list[str], expected: str | None) -> None:
    """PyTorch's names give `pt`; those of others, or of nobody, leave it open."""
    assert guess_format(names) == expected
