"""Training: tied leaves train as untied ones with summed gradients, and not as untied ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import numpy as np
import pytest

from tiecli.checkpoints import open_reader
from tiecli.errors import LossError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.verification import samples
from tiecli.verification.runs import Optimizer
from tiecli.verification.training import check_training
from tiecli.verification.verdicts import Trajectory

pytest.importorskip("jax", reason="jax is not installed")
pytest.importorskip("optax", reason="optax is not installed")

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def leaf(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.normal(size=shape).astype(dtype)


def tie(text: str) -> Tie:
    left, _, right = text.partition(" = ")
    sources, _, transform = right.partition(" | ")
    paths = tuple(KeyPath.from_name(source) for source in sources.split(","))
    return Tie(KeyPath.from_name(left), paths, Transform.parse(transform or "same"))


def train(
    path: Path, leaves: Mapping[str, Array], *ties: str, optimizer: Optimizer = "adam", loss: str | None = None
) -> Trajectory | None:
    from safetensors.numpy import save_file

    save_file(dict(leaves), path / "x.safetensors")
    with open_reader(path / "x.safetensors") as reader:
        return check_training(4, optimizer, loss, reader, TieSet(tuple(map(tie, ties))))


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_summed_gradients_stay_with_the_tie(tmp_path: Path, optimizer: Optimizer) -> None:
    """Copies that are each given the sum stay copies; those with their own gradients drift."""
    leaves = {"wte": leaf(5, 4), "q": leaf(2, 3), "k": leaf(3, 3)}
    ties = ["head = wte | transpose", "far = wte | [1:3] | scale(0.3)", "qk = q,k | concat(0)", "cast = k | cast(bf16)"]

    found = train(tmp_path, leaves, *ties, optimizer=optimizer)

    assert found is not None
    assert (found.optimizer, found.steps, found.loss, found.notes) == (optimizer, 4, "the probe's loss", ())
    assert found.holds
    assert max(found.tied_apart) < 1e-12
    assert list(found.naive_apart) == sorted(found.naive_apart)
    assert found.naive_apart[-1] > 1e-4


def test_a_model_is_trained_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a loss of the user's own, leaves that are not tied are trained too, integers are not."""
    (tmp_path / "training_loss.py").write_text(
        "import jax\n"
        "def loss(tree, key):\n"
        "    noise = jax.random.normal(key, (3, 4))\n"
        "    hidden = jax.numpy.tanh(noise @ tree['enc'].T + tree['bias'])\n"
        "    return ((hidden @ tree['dec'].T - noise) ** 2).mean() * tree['ids'][2]\n"
    )
    monkeypatch.chdir(tmp_path)
    leaves = {"enc": leaf(3, 4), "bias": leaf(3), "ids": np.arange(3)}

    found = train(tmp_path, leaves, "dec = enc | transpose", optimizer="adamw", loss="training_loss:loss")

    assert found is not None
    assert found.loss == "training_loss:loss"
    assert found.holds
    assert max(found.tied_apart) < 1e-12 < 1e-4 < found.naive_apart[-1]


def test_a_wrong_adjoint_would_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: it does when the gradients that are summed are turned the wrong way."""
    from tiecli.verification.wide import WideTie

    right = WideTie.pull_back
    monkeypatch.setattr(WideTie, "pull_back", lambda self, cotangent, xp: right(self, 1.000001 * cotangent, xp))

    found = train(tmp_path, {"a": leaf(4, 4)}, "b = a | transpose", optimizer="sgd")

    assert found is not None
    assert not found.holds


def test_large_leaves_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what can be cut a corner is taken, the rest is left out; both are said."""
    monkeypatch.setattr(samples, "BUDGET", 800)
    leaves = {"wte": leaf(50, 20), "small": leaf(3), "rows": leaf(20, 60), "long": leaf(3000)}
    ties = ["head = wte | transpose | neg", "same = small", "cut = rows | [5:15]", "part = long | [5:2000]"]

    found = train(tmp_path, leaves, *ties)

    assert found is not None
    assert found.holds
    assert sorted(found.notes) == [
        "left out, since its transform takes all of it: `part = long | [5:2000]`, 4,995 elements",
        "of `rows`, a corner of 20×8 of 20×60",
        "of `wte`, a corner of 13×10 of 50×20",
    ]


def test_too_large_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is left out there is no step, and it is said why."""
    monkeypatch.setattr(samples, "BUDGET", 8)
    found = train(tmp_path, {"long": leaf(30)}, "part = long | [5:20]")

    assert found is not None
    assert (found.steps, found.tied_apart) == (0, ())
    assert "left out" in found.notes[0]


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float16, 1e9), (np.float64, 1e-200), (np.complex64, 1e30), (ml_dtypes.bfloat16, 1e-30)]
)
def test_every_float_and_every_size(tmp_path: Path, dtype: Any, scale: float) -> None:
    """Neither the dtype nor the size of the elements matters; what is not finite counts as zero."""
    with np.errstate(over="ignore"):
        values = (leaf(3, 3, dtype=np.float64) * scale).astype(dtype)
        values[0, 0] = np.nan
        found = train(tmp_path, {"a": values}, "b = a | transpose", optimizer="sgd")

    assert found is not None
    assert found.holds
    assert np.isfinite(found.naive_apart).all()


def test_nothing_to_train(tmp_path: Path) -> None:
    """Integers have no gradient, and empty leaves no elements."""
    assert train(tmp_path, {"ids": np.arange(3)}, "more = ids") is None
    assert train(tmp_path, {"empty": leaf(0, 3)}, "more = empty") is None


def test_a_loss_that_breaks_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the step."""
    (tmp_path / "breaking_loss.py").write_text(
        "import jax.numpy as jnp\n"
        "def loss(tree, key):\n"
        "    return jnp.sum(tree['a'] * tree['b']) + jnp.sqrt(tree['a'][0] - 0.9999)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LossError, match="`breaking_loss:loss` is nan after 1 step of adam"):
        train(tmp_path, {"a": np.ones(2)}, "b = a", loss="breaking_loss:loss")
