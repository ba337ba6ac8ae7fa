"""The verbs from Python: typed functions that return reports and print nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiecli

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_the_verbs_fit_together(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """find, tie, inspect, diff, untie: what one returns, the next takes."""
    tied, back = tmp_path / "tied.safetensors", tmp_path / "back.safetensors"
    hit = next(hit for hit in tiecli.find(model).hits if hit.kind == "identical")
    request = tiecli.TieRequest(hit.canonical.spelling, hit.alias.spelling, hit.transform)

    report = tiecli.tie(model, [request], tiecli.Target(tied))
    assert report.output == tied
    assert report.bytes_before - report.bytes_after == hit.nbytes
    assert [tie.source for tie in tiecli.inspect(tied).ties] == ["manifest"]
    difference = tiecli.diff(model, tied)
    assert not difference.equal
    assert difference.same_values
    assert tiecli.untie(tied, tiecli.Target(back)).restored
    assert back.read_bytes() == model.read_bytes()
    assert capsys.readouterr() == ("", "")


def test_refusals_are_exceptions_with_hints(model: Path) -> None:
    """One base class catches them all."""
    with pytest.raises(tiecli.TiecliError, match="is not") as caught:
        tiecli.tie(model, [tiecli.TieRequest(EMBED, "head2.weight")])

    assert caught.value.code == "DriftedPair"
    assert caught.value.hints
