"""Fixes of drifted, redundant and identical ties: what they would change, and whether they are safe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lint.building import Leaf, write_file, write_json
from tests.lint.converting import write_item
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.edits import SetMember, TieLeaves
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import find_rule
from tiecli.linting.rule import Finding
from tiecli.linting.subject import Subject

RULES = [find_rule(code) for code in ("TIE002", "TIE003", "TIE004", "TIE016", "TIE017", "DUP001")]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FLAG = "tie_word_embeddings"
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def draw(seed: int = 1) -> Any:
    """Draws a leaf."""
    return np.random.default_rng(seed).standard_normal((40, 50)).astype(np.float32)


def find_all(place: Path, *declared: DeclaredPair) -> list[tuple[str, Finding]]:
    """Runs the rules on a checkpoint."""
    (unit,) = find_units(place)
    subject = Subject(unit, declared)
    outcome = run_rules(subject, RULES, data=True)
    subject.close()
    assert not outcome.failures
    return [(rule.code, finding) for rule, finding in outcome.found]


def lint(place: Path, leaves: Mapping[str, Leaf], config: object, *declared: DeclaredPair) -> list[tuple[str, Finding]]:
    """Runs the rules on a directory with a config."""
    write_file(place / "model.safetensors", leaves)
    write_json(place / "config.json", config)
    return find_all(place, *declared)


def set_flag(value: str, *place: str) -> SetMember:
    """The edit that sets the flag."""
    return SetMember("config.json", place, FLAG, value)


def test_a_redundant_head_is_dropped_safely(tmp_path: Path) -> None:
    """The config ties it for every loader of the class."""
    ((code, finding),) = lint(tmp_path, {EMBEDDING: draw(), HEAD: draw()}, LLAMA | {FLAG: True})

    assert code == "TIE002"
    assert finding.leaves == (HEAD, EMBEDDING)
    assert finding.file == "model.safetensors"
    assert finding.fix is not None
    assert finding.fix.edits == (TieLeaves(EMBEDDING, HEAD),)
    assert finding.fix.safe
    assert finding.fix.summary == "drop `lm_head.weight`, 7.8 KiB"


@pytest.mark.parametrize(("transform", "again"), [("same", draw()), ("transpose", draw().T.copy())])
def test_what_only_settings_tie_is_dropped_at_ones_own_risk(tmp_path: Path, transform: str, again: Any) -> None:
    """Stock loaders of safetensors would miss the leaf; those of Orbax still find both names."""
    pair = DeclaredPair("a", "b", transform)
    leaves = {"a": draw(), "b": again}
    ((code, finding),) = lint(tmp_path / "hf", leaves, {}, pair)
    ((orbax_code, orbax_finding),) = find_all(write_item(tmp_path, leaves), pair)

    assert (code, orbax_code) == ("TIE002", "TIE002")
    for found, safe in ((finding, False), (orbax_finding, True)):
        assert found.fix is not None
        assert found.fix.edits == (TieLeaves("a", "b", transform),)
        assert found.fix.safe == safe
    assert orbax_finding.fix is not None
    assert "second name" in orbax_finding.fix.summary


def test_a_drifted_head_is_kept_by_the_flag(tmp_path: Path) -> None:
    """Unsafe, since nobody knows which side was meant; the hint names the command that chooses one."""
    ((code, finding),) = lint(tmp_path, {EMBEDDING: draw(), HEAD: draw(2)}, LLAMA | {FLAG: True})

    assert code == "TIE003"
    assert finding.fix is not None
    assert finding.fix.edits == (set_flag("false"),)
    assert not finding.fix.safe
    assert f"tiecli tie {tmp_path} --src {EMBEDDING} --dst {HEAD} --keep src" in finding.hint


def test_a_flag_that_fills_other_leaves_too_is_left_alone(tmp_path: Path) -> None:
    """Without the flag, the encoder's embedding would be missing."""
    leaves = {"model.shared.weight": draw(), "lm_head.weight": draw(2), "model.decoder.embed_tokens.weight": draw()}
    config = {"architectures": ["BartForConditionalGeneration"], "model_type": "bart", FLAG: True}
    found = dict(lint(tmp_path, leaves, config))

    assert {*found} == {"TIE002", "TIE003"}
    assert found["TIE003"].fix is None
    assert "--keep" in found["TIE003"].hint


def test_a_drifted_declared_tie_has_no_fix(tmp_path: Path) -> None:
    """There is no flag to set; the hint spells the transform."""
    pair = DeclaredPair("a", "b", "transpose")
    ((code, finding),) = lint(tmp_path, {"a": draw(), "b": draw(2).T.copy()}, {}, pair)

    assert code == "TIE003"
    assert finding.fix is None
    assert "--src a --dst b --transform transpose --keep src" in finding.hint


def test_an_identical_pair_is_tied_by_both_flags(tmp_path: Path) -> None:
    """Of a model of text and images, the flags of the whole and of its text part."""
    leaves = {"language_model.model.embed_tokens.weight": draw(), "language_model.lm_head.weight": draw()}
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        FLAG: False,
        "text_config": {"model_type": "llama", FLAG: False},
    }
    ((code, finding),) = lint(tmp_path, leaves, config)

    assert code == "TIE004"
    assert finding.fix is not None
    assert set(finding.fix.edits) == {set_flag("true"), set_flag("true", "text_config")}
    assert not finding.fix.safe


def test_settings_that_tie_what_the_config_does_not_win(tmp_path: Path) -> None:
    """The pair is redundant then, and no longer an identical untied one."""
    found = lint(tmp_path, {EMBEDDING: draw(), HEAD: draw()}, LLAMA | {FLAG: False}, DeclaredPair(EMBEDDING, HEAD))

    assert [code for code, _ in found] == ["TIE002"]


def test_several_declared_sources_are_compared(tmp_path: Path) -> None:
    """A leaf that joins two others."""
    joined = np.concatenate([draw(1), draw(2)])
    pair = DeclaredPair("(q, k)", "qk", "concat(0)")
    leaves = {"q": draw(1), "k": draw(2), "qk": joined}
    ((code, finding),) = lint(tmp_path / "equal", leaves, {}, pair)
    ((drifted, _),) = lint(tmp_path / "drifted", leaves | {"qk": joined + 1}, {}, pair)

    assert (code, drifted) == ("TIE002", "TIE003")
    assert finding.leaves == ("qk", "q", "k")
    assert finding.fix is None


def test_a_group_of_duplicates_is_one_finding(tmp_path: Path) -> None:
    """With one tie for each leaf that repeats the first; those that a flag speaks of are left out."""
    leaves = {EMBEDDING: draw(), HEAD: draw(), "x": draw(), "y": draw()}
    found = dict(lint(tmp_path, leaves, LLAMA | {FLAG: False}))

    assert {*found} == {"TIE004", "DUP001"}
    assert found["DUP001"].leaves == (EMBEDDING, "x", "y")
    assert found["DUP001"].fix is not None
    assert found["DUP001"].fix.edits == (TieLeaves(EMBEDDING, "x"), TieLeaves(EMBEDDING, "y"))
    assert not found["DUP001"].fix.safe


def test_scrambled_leaves_are_told_apart_from_others_of_their_shapes(tmp_path: Path) -> None:
    """Among many of the same two shapes, only those of the same bytes."""
    leaves = {f"{n}.{kind}": draw(n).reshape(shape) for n in range(3) for kind, shape in (("a", (40, 50)),)}
    leaves |= {"turned": draw(9).T.copy(), "scrambled": draw(1).reshape(50, 40)}
    ((code, finding),) = lint(tmp_path, leaves, {})

    assert code == "TIE017"
    assert finding.leaves == ("1.a", "scrambled")
    assert finding.fix is None
