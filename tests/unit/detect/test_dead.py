"""Dead leaves: what never received a gradient, and the one leaf that a model can have made it of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tiecli
from tiecli.cli.entry import main
from tiecli.pytrees import list_leaves, load, save, tie_names
from tiecli.render.find import list_requests

FIXTURE = Path(__file__).parents[3] / "fixtures" / "dead-alias"
SHAPES = {"enc": (6, 3), "mid": (6, 6), "dec": (3, 6), "bias": (6,)}


def write(path: Path, *dead: str, shapes: dict[str, tuple[int, ...]] = SHAPES, **members: Any) -> Path:
    """Writes parameters and the state of Adam, zero for some of them."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    params |= members
    leaves = {f"params.{name}": leaf for name, leaf in params.items()}
    for slot in ("mu", "nu"):
        for name, leaf in params.items():
            leaves[f"opt_state.{slot}.{name}"] = rng.uniform(1, 2, leaf.shape).astype(np.float32) * (name not in dead)
    save_file(leaves, path / "x.safetensors")
    return path / "x.safetensors"


def find_dead(path: Path) -> list[str]:
    return [str(hit.tie) for hit in tiecli.find(path).hits if hit.kind == "dead"]


def test_the_fixture() -> None:
    """Both weights of the decoder, each beside the one weight of the encoder whose shape fits."""
    assert find_dead(FIXTURE) == [
        "params.dec1.weight = params.enc1.weight | transpose",
        "params.dec2.weight = params.enc2.weight | transpose",
    ]


def test_a_leaf_that_fits_in_one_way(tmp_path: Path) -> None:
    """It fits one trained leaf, under one order of axes."""
    assert find_dead(write(tmp_path, "dec")) == ["params.dec = params.enc | transpose"]
    assert find_dead(write(tmp_path, "dec", shapes={**SHAPES, "dec": (6, 3)})) == ["params.dec = params.enc"]


@pytest.mark.parametrize(
    ("dead", "shapes"),
    [
        ((), SHAPES),  # all are trained
        (("mid",), SHAPES),  # a square matrix fits nothing else
        (("mid",), {**SHAPES, "other": (6, 6)}),  # fits another in two ways
        (("dec",), {**SHAPES, "enc2": (6, 3)}),  # fits two leaves
        (("dec", "enc"), SHAPES),  # neither is trained
        (("bias",), {**SHAPES, "bias2": (6,)}),  # vectors fit too much
        (tuple(SHAPES), SHAPES),  # training has not begun
    ],
)
def test_nothing_is_guessed(dead: tuple[str, ...], shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    """Where more than one leaf, or none, can be meant."""
    assert find_dead(write(tmp_path, *dead, shapes=shapes)) == []


def test_a_tie_that_is_known_already_is_no_guess(tmp_path: Path) -> None:
    """Replicas of a leaf are equal, whatever their state."""
    enc = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    path = write(tmp_path, "dec", enc=enc, dec=enc.T.copy())

    assert [(hit.kind, str(hit.tie)) for hit in tiecli.find(path).hits] == [
        ("transposed", "params.enc = params.dec | transpose")
    ]


def test_squares_that_a_small_number_was_added_to(tmp_path: Path) -> None:
    """Adafactor's squares of nothing are tiny, not zero."""
    shapes = {"enc": (6, 3), "dec": (3, 6)}
    rng = np.random.default_rng(0)
    leaves = {f"params.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    leaves["opt_state.v.enc"] = rng.uniform(1e-6, 1e-5, (6, 3)).astype(np.float32)
    leaves["opt_state.v.dec"] = np.full((3, 6), 1e-30, np.float32)
    save_file(leaves, tmp_path / "x.safetensors")

    assert find_dead(tmp_path / "x.safetensors") == ["params.dec = params.enc | transpose"]


@pytest.mark.parametrize("form", ["x.safetensors", "orbax"])
def test_a_dead_leaf_is_tied_away(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its state, by the command that `find` shows; what is left is what the model computes with."""
    tree = load(FIXTURE)
    save(tree, tmp_path / form, sync=False)
    commands = [line.partition("   #")[0] for line in _find(tmp_path / form, capsys) if line.startswith("tiecli tie")]
    for number, command in enumerate(commands):
        words = command.split()[1:]
        source, target = words.index("-o"), tmp_path / f"{number}-{form}"
        words[source + 1] = str(target)
        if number:
            words[1] = str(tmp_path / f"{number - 1}-{form}")
        assert main(words) == 0
    capsys.readouterr()

    after = load(tmp_path / f"1-{form}")
    for stem in ("params", "opt_state.mu", "opt_state.nu"):
        for enc, dec in (("enc1", "dec1"), ("enc2", "dec2")):
            leaves = {path.spelling: leaf for path, leaf in list_leaves(after).items()}
            assert np.array_equal(leaves[f"{stem}.{dec}.weight"], leaves[f"{stem}.{enc}.weight"].T)
    assert find_dead(tmp_path / f"1-{form}") == []
    assert len(tie_names(after, {"params.dec1.weight": "params.enc1.weight | transpose"})) == 1


def _find(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["find", str(path)]) == 0
    out = capsys.readouterr().out
    assert "no tie, 2 dead" in out
    assert "never received a gradient" in out
    return out.splitlines()


def test_no_dead_leaf_is_tied_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither `--auto` nor a plan of all sure ties touches it: the shapes alone say that it is one."""
    assert main(["tie", str(FIXTURE), "--auto", "-o", str(tmp_path / "out")]) != 0
    assert not (tmp_path / "out").exists()
    assert list_requests(tiecli.find(FIXTURE)) == []
