"""States of real optimizers, as Orbax and safetensors hold them: whole ones are clean, orphans and gaps are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.lint.building import write_json
from tests.lint.test_orbax_layouts import OURS, find
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.engine import run_rules
from tiecli.linting.subject import Subject

Tree = dict[str, Any]


def make_params(*, head: bool = True) -> Tree:
    """Makes the parameters of a small model."""
    layer = {"mlp": {"kernel": np.ones((16, 8), np.float32), "bias": np.ones(8, np.float32)}}
    params: Tree = {"embed": {"embedding": np.ones((32, 16), np.float32)}, **{f"layer_{n}": layer for n in range(4)}}
    return params | ({"head": {"kernel": np.ones((16, 32), np.float32)}} if head else {})


def label(optax: ModuleType, params: Tree) -> Tree:
    """Labels leaves: the embedding is frozen, vectors are trained otherwise."""
    import jax

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: "frozen" if path[0].key == "embed" else f"rank{leaf.ndim}", params
    )


OPTIMIZERS: dict[str, Callable[[ModuleType, Tree], Any]] = {
    "adamw": lambda optax, _: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
    "amsgrad": lambda optax, _: optax.amsgrad(1e-3),
    "lion": lambda optax, _: optax.lion(1e-3),
    "sgd": lambda optax, _: optax.sgd(1e-3, momentum=0.9),
    "rmsprop": lambda optax, _: optax.rmsprop(1e-3, momentum=0.9, centered=True),
    "adafactor": lambda optax, _: optax.adafactor(1e-3, min_dim_size_to_factor=8),
    "adagrad": lambda optax, _: optax.adagrad(1e-3),
    "novograd": lambda optax, _: optax.novograd(1e-3),
    "sm3": lambda optax, _: optax.sm3(1e-3),
    "lbfgs": lambda optax, _: optax.lbfgs(1e-3),
    "muon": lambda optax, _: optax.contrib.muon(1e-3),
    "prodigy": lambda optax, _: optax.contrib.prodigy(1e-3),
    "schedule-free": lambda optax, _: optax.contrib.schedule_free_adamw(1e-3),
    "accumulated": lambda optax, _: optax.MultiSteps(optax.adam(1e-3), 4).gradient_transformation(),
    "hyperparameters": lambda optax, _: optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3),
    "masked": lambda optax, params: optax.masked(optax.adam(1e-3), {name: name != "layer_2" for name in params}),
    "mixed": lambda optax, params: optax.multi_transform(
        {"frozen": optax.set_to_zero(), "rank1": optax.sgd(1e-3, momentum=0.9), "rank2": optax.adam(1e-3)},
        label(optax, params),
    ),
}


def save(path: Path, tree: Tree) -> Path:
    """Saves a tree as Orbax does."""
    import orbax.checkpoint as ocp

    ocp.PyTreeCheckpointer().save(path, tree)
    return path


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_states_of_optax(name: str, tmp_path: Path) -> None:
    """The whole state of training is clean; without a head, its slots are orphans wherever it had any."""
    optax = pytest.importorskip("optax", reason="optax comes with the extra `peer`")
    pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint comes with the extra `peer`")
    params = make_params()
    state = OPTIMIZERS[name](optax, params).init(params)

    assert find(save(tmp_path / "whole", {"params": params, "opt_state": state, "step": 7})) == []
    found = find(save(tmp_path / "tied", {"params": make_params(head=False), "opt_state": state, "step": 7}))
    # What L-BFGS remembers of many steps has names and shapes of its own, and is no slot.
    assert [code for code, _ in found] == (["OPT001"] if name != "lbfgs" else [])
    assert all("`params.head.kernel`" in finding.message for _, finding in found)
    assert all("head" in leaf for _, finding in found for leaf in finding.leaves)


@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adafactor", "RAdam", "NAdam"])
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
def test_states_of_torch(torch: ModuleType, name: str, frozen: bool, tmp_path: Path) -> None:
    """Named by parameters in the model's own file, as trainers write them; a frozen embedding has none."""
    save_file = pytest.importorskip("safetensors.torch", reason="safetensors comes with the extra `peer`").save_file
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    model = torch.nn.Sequential(
        torch.nn.Embedding(32, 16),
        *(torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.LayerNorm(16)) for _ in range(3)),
        torch.nn.Linear(16, 32, bias=False),
    )
    model[0].weight.requires_grad = not frozen
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    optimizer = getattr(torch.optim, name)([it for it in model.parameters() if it.requires_grad], lr=1e-3, **options)
    model(torch.arange(4)).sum().backward()
    optimizer.step()
    names = {id(it): name for name, it in model.named_parameters()}
    slots = {
        f"optimizer.state.{names[id(parameter)]}.{slot}": value.clone()
        for parameter, state in optimizer.state.items()
        for slot, value in state.items()
        if hasattr(value, "shape")
    }
    save_file({**model.state_dict(), **slots}, tmp_path / "model.safetensors", {"format": "pt"})
    write_json(tmp_path / "config.json", {})

    assert find_in(tmp_path) == []
    lost = {it: value for it, value in slots.items() if not it.startswith("optimizer.state.2.0.weight.")}
    save_file({**model.state_dict(), **lost}, tmp_path / "model.safetensors", {"format": "pt"})
    assert find_in(tmp_path) == (["OPT002"] if len(lost) < len(slots) else [])


def find_in(path: Path) -> list[str]:
    """Lints a safetensors checkpoint by the rules about optimizers."""
    (unit,) = find_units(path)
    outcome = run_rules(Subject(unit), [rule for rule in OURS if rule.code.startswith("OPT")], data=False)
    assert not outcome.failures
    return [rule.code for rule, _ in outcome.found]
