"""A leaf that one layer lacks is found in whatever model, and none is where all are there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.lint.building import write_raw
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.rule import Finding
from tiecli.linting.rules.key001 import RULE as WRAPPED
from tiecli.linting.rules.key002 import RULE as ADAPTED
from tiecli.linting.rules.key003 import RULE as INCOMPLETE
from tiecli.linting.subject import Subject

PARTS = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "norm1", "norm2")
words = st.sampled_from(
    ["layers", "module", "_orig_mod", "0", "17", "lora_A", "base_layer", "w", "", "é", "\n", "9" * 30]
)
odd_names = st.lists(st.lists(words, min_size=1, max_size=6).map(".".join), max_size=12, unique=True)


def check(names: list[str]) -> dict[str, list[Finding]]:
    """Lints a file whose leaves have these names and hold nothing."""
    header = {name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for name in names}
    with tempfile.TemporaryDirectory() as directory:
        path = write_raw(Path(directory, "m.safetensors"), header, b"")
        subject = Subject(Unit(path, "safetensors", path.parent, (path.name,)))
        return {rule.code: list(rule.check(subject)) for rule in (WRAPPED, ADAPTED, INCOMPLETE)}


@st.composite
def stacks(draw: st.DrawFn) -> list[str]:
    """Layers of one kind, or of two that alternate, perhaps with experts, perhaps behind some of another kind."""
    stack = draw(st.sampled_from(["model.layers", "h", "a.0.blocks"]))
    first = draw(st.integers(0, 2))
    period = draw(st.sampled_from([1, 2, 4]))
    experts = draw(st.sampled_from([0, 3]))
    names = ["embed.weight"]
    for layer in range(first + draw(st.integers(14, 20))):
        parts = ["conv.in", "conv.out", "conv.x"] if layer < first or layer % period == 1 else [*PARTS]
        parts += [f"experts.{n}.w{part}" for n in range(experts) for part in (1, 2, 3)]
        names += [f"{stack}.{layer}.{part}.weight" for part in parts]
    return names


@given(stacks(), st.sampled_from(["attn.q", "mlp.down", "conv.x", "experts.1.w2"]), st.integers(5, 8))
def test_a_leaf_that_one_layer_lacks(names: list[str], part: str, layer: int) -> None:
    """One leaf taken out of a layer in the middle is the only one that is found; of whole models nothing is."""
    assert check(names)["KEY003"] == []
    gone = next((name for name in names if name.endswith(f".{layer}.{part}.weight")), None)
    if gone is None:
        return

    found = check([name for name in names if name != gone])["KEY003"]

    assert [finding.leaves for finding in found] == [(gone,)]


@given(odd_names)
def test_any_names(names: list[str]) -> None:
    """Whatever the names, rules about them end, and names that a fix gives are not given twice."""
    for finding in check(names)["KEY001"]:
        marked = {edit.leaf: edit.name for edit in finding.fix.edits} if finding.fix else {}  # type: ignore[union-attr]
        renamed = [marked.get(name, name) for name in names]
        assert len(set(renamed)) == len(names)
        assert set(finding.leaves) <= set(names)


@given(stacks(), st.sampled_from(["_orig_mod.", "module.", "module._orig_mod."]))
def test_a_prefix_of_all_names_comes_off(names: list[str], prefix: str) -> None:
    """Names that were all wrapped are given back as they were."""
    [finding] = check([prefix + name for name in names])["KEY001"]

    assert finding.fix is not None
    assert finding.fix.safe
    assert [edit.name for edit in finding.fix.edits] == names  # type: ignore[union-attr]
