"""`tiecli/verification/drawing.py`: a picture shows the element that is wrong, wherever the transform put it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tiecli.checkpoints import open_reader
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.verification import drawing
from tiecli.verification.devices import choose_device
from tiecli.verification.groups import group_ties
from tiecli.verification.loading import Sources
from tiecli.verification.probe import ProbeResult, probe_group

pytest.importorskip("jax", reason="jax comes with the extra `verify`")

CANONICALS = {"w": (40, 24), "v": (40, 24)}
ALIAS = KeyPath.from_name("alias")


def probe(
    directory: Path,
    leaves: dict[str, NDArray[np.generic]],
    alias: NDArray[np.generic],
    transform: str,
    names: str = "w",
) -> ProbeResult:
    """Probes one tie, with a picture."""
    save_file(dict(leaves), directory / "tied.safetensors")
    save_file({**leaves, "alias": np.ascontiguousarray(alias)}, directory / "full.safetensors")
    tie = Tie(ALIAS, tuple(map(KeyPath.from_name, names)), Transform.parse(transform))
    with open_reader(directory / "tied.safetensors") as tied, open_reader(directory / "full.safetensors") as full:
        (group,) = group_ties(TieSet((tie,)))
        return probe_group(group, Sources(tied, full), choose_device("cpu"), pictures=True)[ALIAS]


def draw_leaves(dtype: str = "float32") -> dict[str, NDArray[np.generic]]:
    """Random leaves."""
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(dtype) for name, shape in CANONICALS.items()}


def spoil(array: NDArray[np.generic], at: tuple[int, ...]) -> NDArray[np.generic]:
    """Moves one element by an eighth or so."""
    array = array.copy()
    array[at] *= 1.125
    return array


def hottest(result: ProbeResult) -> tuple[int, int]:
    """The cell with the largest difference; the leaf has 40 rows in 32 cells, and 24 columns in as many."""
    assert result.picture is not None
    heat = np.array(result.picture.heat)
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(row), int(column)


@pytest.mark.parametrize("tile", [64, 1 << 18])
@pytest.mark.parametrize(
    ("transform", "at", "place"),
    [
        ("same", (9, 5), (9, 5)),
        ("transpose", (5, 9), (9, 5)),
        ("flip(0) | scale(2)", (39, 5), (0, 5)),
        ("[8:, ::2]", (1, 3), (9, 6)),
        ("pad(0,3,0)", (12, 5), (9, 5)),
    ],
)
def test_the_wrong_element_is_where_the_canonical_leaf_has_it(
    transform: str,
    at: tuple[int, ...],
    place: tuple[int, int],
    tile: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the tiles; nothing else differs."""
    monkeypatch.setattr(drawing, "_TILE", tile)
    leaves = draw_leaves()
    alias = apply(transform, leaves["w"])

    result = probe(tmp_path, leaves, spoil(alias, at), transform)

    assert result.judgement.verdict == "FAIL"
    assert result.picture is not None
    assert result.measure is not None
    assert hottest(result) == (place[0] * 32 // 40, place[1])
    largest = max(max(row) for row in result.picture.heat)
    assert 0 < largest <= result.measure.error * (1 + 1e-9)
    over = [exponent for exponent, count in result.picture.histogram if 2.0**exponent > result.measure.bound]
    assert len(over) == 1


def apply(transform: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Carries a transform out."""
    from tiecli.transforms.arrays import forward

    made: NDArray[np.generic] = forward(Transform.parse(transform), [array])
    return made


def test_a_tie_that_holds_has_a_cold_picture(tmp_path: Path) -> None:
    """All elements are counted, and none is above the bound."""
    leaves = draw_leaves()
    result = probe(tmp_path, leaves, leaves["w"].T, "transpose")

    assert result.judgement.verdict == "PASS"
    assert result.picture is not None
    assert result.measure is not None
    assert result.picture.shape == (40, 24)
    assert result.picture.equal + sum(count for _, count in result.picture.histogram) == 960
    assert max(max(row) for row in result.picture.heat) <= result.measure.bound


def test_of_several_canonical_leaves_the_worst_is_drawn(tmp_path: Path) -> None:
    """The wrong element is in what the second one became."""
    leaves = draw_leaves()
    alias = np.concatenate([leaves["w"], leaves["v"]])
    result = probe(tmp_path, leaves, spoil(alias, (45, 7)), "concat(0)", "wv")

    assert hottest(result) == (5 * 32 // 40, 7)


def test_nan_on_both_sides_is_no_difference(tmp_path: Path) -> None:
    """It is left out of the picture as it is of the measure."""
    leaves = draw_leaves()
    leaves["w"][3, 4] = np.nan  # type: ignore[index]  # a plain array
    result = probe(tmp_path, leaves, leaves["w"], "same")

    assert result.picture is not None
    assert result.judgement.verdict == "PASS"
    assert result.picture.undefined == 0


def test_complex_elements_are_drawn_once_each(tmp_path: Path) -> None:
    """Though they are pairs of numbers on the device."""
    leaves = draw_leaves("complex64")
    result = probe(tmp_path, leaves, spoil(leaves["w"].conj().T, (5, 9)), "transpose | conj")

    assert result.picture is not None
    assert hottest(result) == (9 * 32 // 40, 5)
    assert result.picture.equal + sum(count for _, count in result.picture.histogram) == 960


def test_nothing_is_drawn_where_nothing_is_measured(tmp_path: Path) -> None:
    """Integers have no gradient, and so no picture of it."""
    leaves = {"w": np.arange(12, dtype=np.int32)}

    assert probe(tmp_path, leaves, leaves["w"], "same").picture is None
