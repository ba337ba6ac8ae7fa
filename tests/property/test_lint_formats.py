"""Rules about values: however leaves are stored, the same is said of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_find_formats import kept
from tests.unit.checkpoints.orbax.items import Keys, write_item
from tests.unit.detect.leaves_on_disk import store
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import find_rule
from tiecli.linting.subject import Subject

RULES = [
    find_rule(code)
    for code in ("TIE002", "TIE003", "TIE004", "TIE016", "TIE017", "DUP001", "NUM001", "NUM002", "NUM003", "NUM004")
]
NAMES = ("a.w", "b.w", "c.bias", "d.mask", "e.lora_B.w", "f.w")
SHAPES = ((6, 4), (4, 6), (24,), (1, 24), (5, 5), (40, 20), (2, 3, 4))
SPECIAL = (0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-40)


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    """Draws leaves, some of which are others, turned or scrambled, or hold special values."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in NAMES:
        shape, seed = draw(st.sampled_from(SHAPES)), draw(st.integers(0, 3))
        values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        match draw(st.sampled_from(("plain", "plain", "special", "all", "turned", "scrambled"))):
            case "special":
                values.reshape(-1)[-1] = draw(st.sampled_from(SPECIAL))
            case "all":
                values[...] = draw(st.sampled_from((0.0, 1.0)))
            case "turned":
                values = values.T.copy()
            case "scrambled":
                values = values.reshape(values.shape[::-1])
        found[name] = values
    return found


def lint(place: Path) -> list[tuple[str, tuple[str, ...], str]]:
    """Lists what the rules say of a checkpoint: code, leaves and message."""
    (unit,) = find_units(place)
    subject = Subject(unit)
    outcome = run_rules(subject, RULES, data=True)
    subject.close()
    assert not outcome.failures
    return sorted((rule.code, finding.leaves, finding.message) for rule, finding in outcome.found)


@settings(max_examples=100, deadline=None)
@given(leaves(), st.sampled_from((2, 3)), st.data())
def test_an_item_and_a_file_are_told_the_same(
    checkpoint: dict[str, np.ndarray[Any, Any]], zarr: int, data: st.DataObject
) -> None:
    """Findings do not depend on chunks and codecs, which differ from leaf to leaf."""
    stored: dict[Keys, Any] = {tuple(name.split(".")): data.draw(kept(leaf, zarr)) for name, leaf in checkpoint.items()}
    with TemporaryDirectory() as directory:
        store(Path(directory) / "m.safetensors", checkpoint).close()
        expected = lint(Path(directory) / "m.safetensors")
        found = lint(write_item(Path(directory) / "item", stored, zarr=zarr))

    assert found == expected
    for name, leaf in checkpoint.items():
        assert (("NUM001", (name,)) in [row[:2] for row in found]) == bool(np.isnan(leaf).any())
