"""Slot names: which paths are read as those of slots, and how."""

from __future__ import annotations

import pytest

from tiecli.keypaths import KeyPath
from tiecli.slots import find_root
from tiecli.slots.names import Reading, read_paths


def read(*names: str) -> list[tuple[str, str, bool] | None]:
    """Reads paths together: the slot, the path of its parameter, whether the slot's name comes first."""
    paths = [KeyPath.parse(name).keys for name in names]
    found = read_paths(paths)
    readings: list[Reading | None] = [found.get(keys) for keys in paths]
    return [it and (it.slot, str(KeyPath(it.path)), it.is_first) for it in readings]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("opt_state[1][0].mu.params.decoder.kernel", ("mu", "params.decoder.kernel", True)),
        ("opt_state.inner_states.adam.inner_state[0].nu.w", ("nu", "w", True)),
        ("optimizer.state.param_states.encoder.kernel.v_row", ("v_row", "state.param_states.encoder.kernel", False)),
        ("optimizer.state.exp_avg.decoder.weight", ("exp_avg", "decoder.weight", True)),
        ("optimizer.state.decoder.weight.exp_avg_sq", ("exp_avg_sq", "state.decoder.weight", False)),
        ("decoder.weight.momentum_buffer", ("momentum_buffer", "decoder.weight", False)),
        ("optimizer.encoder.mu.weight.exp_avg", ("exp_avg", "encoder.mu.weight", False)),
        ("params.encoder.mu.kernel", None),
        ("model.attn.v.weight", None),
        ("params.trace", None),
        ("optimizer.target.encoder.mu.kernel", None),
        ("opt_state[0].count", None),
        ("exp_avg", None),
        ("opt_state.mu", None),
    ],
)
def test_paths_of_optimizers(name: str, expected: tuple[str, str, bool] | None) -> None:
    """Optax, t5x, Megatron, torch; names that models use too are slots only below an optimizer."""
    assert read(name) == [expected]


def test_of_two_ways_to_read_a_path_the_usual_one_is_taken() -> None:
    """A projection `v` in MLX's file, where slots come last; a parameter `v` in optax, where they come first."""
    mlx = ("optimizer.attn.v.weight.m", "optimizer.attn.k.weight.m", "optimizer.attn.k.weight.v")
    optax = ("opt_state[0].mu.attn.v", "opt_state[0].mu.attn.k")

    assert read(*mlx)[0] == ("m", "attn.v.weight", False)
    assert read(*optax)[0] == ("mu", "attn.v", True)


def test_where_the_state_of_an_optimizer_begins() -> None:
    """The first key that says so; Flax's old optimizers hold the parameters as well."""
    assert find_root(("train", "opt_state", "opt", "mu")) == 1
    assert find_root(("optimizer", "target", "w")) is None
    assert find_root(("adopt", "options", 0, "w")) is None
