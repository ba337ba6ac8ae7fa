"""`lint/baseline.py` and `fingerprints.py`: which findings are known, and which entries are stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiecli.errors import SettingsError
from tiecli.linting.baseline import Baseline, baseline_to_json, parse_baseline, sift
from tiecli.linting.fingerprints import take_fingerprint
from tiecli.linting.report import ReportedFinding
from tiecli.linting.rule import Finding


def finding(checkpoint: str, code: str = "STF001", fact: str = "") -> ReportedFinding:
    """A finding of some checkpoint."""
    fingerprint = take_fingerprint(code, Finding("", ("a",), "model.safetensors", fact))
    return ReportedFinding(checkpoint, checkpoint, code, "name", "error", "message", ("a",), fingerprint)


def known(base: Path, *findings: ReportedFinding) -> Baseline:
    """A baseline of findings, written and read again."""
    return parse_baseline(json.dumps(baseline_to_json(findings, str(base))).encode(), "known.json", str(base))


def always(checkpoint: str, code: str) -> bool:
    """Every rule ran everywhere."""
    return True


def test_a_fingerprint_depends_on_what_is_the_matter_alone() -> None:
    """Not on words and order; and no part runs into the next."""
    one = take_fingerprint("TIE002", Finding("message", ("a", "b"), "f", "x"))

    assert one == take_fingerprint("TIE002", Finding("other", ("b", "a"), "f", "x"))
    assert len(one) == 16
    assert int(one, 16) >= 0
    others = [
        take_fingerprint("TIE003", Finding("", ("a", "b"), "f", "x")),
        take_fingerprint("TIE002", Finding("", ("a",), "f", "x")),
        take_fingerprint("TIE002", Finding("", ("ab",), "f", "x")),
        take_fingerprint("TIE002", Finding("", ("a", "b"), "fx", "")),
        take_fingerprint("TIE002", Finding("", ("x", "a", "b"), "f", "")),
        take_fingerprint("TIE002", Finding("", ("\ud800", "b"), "f", "x")),
    ]
    assert len({one, *others}) == 7


def test_each_entry_holds_back_one_finding(tmp_path: Path) -> None:
    """A second one of the same kind is new."""
    baseline = known(tmp_path, finding(f"{tmp_path}/a"))
    sifted = sift([finding(f"{tmp_path}/a")] * 2, baseline, [f"{tmp_path}/a"], always)

    assert (len(sifted.fresh), len(sifted.known), sifted.stale) == (1, 1, 0)
    assert sift([finding("a")], None, ["a"], always).fresh == (finding("a"),)


def test_the_same_in_another_checkpoint_is_new(tmp_path: Path) -> None:
    """As long as the known one is where it was, linted or not."""
    (tmp_path / "a").mkdir()
    baseline = known(tmp_path, finding(f"{tmp_path}/a"))

    assert len(sift([finding(f"{tmp_path}/b")], baseline, [f"{tmp_path}/b"], always).fresh) == 1
    both = [f"{tmp_path}/a", f"{tmp_path}/b"]
    sifted = sift([finding(both[1])], baseline, both, always)
    assert (len(sifted.fresh), sifted.stale) == (1, 1)


def test_a_moved_checkpoint_keeps_its_entries(tmp_path: Path) -> None:
    """An entry whose checkpoint is gone goes to one that has the same finding, once."""
    baseline = known(tmp_path, finding(f"{tmp_path}/a"), finding(f"{tmp_path}/a", fact="2"))
    here = [f"{tmp_path}/b", f"{tmp_path}/c"]
    sifted = sift([finding(path) for path in here], baseline, here, always)

    assert [it.checkpoint for it in sifted.known] == here[:1]
    assert [it.checkpoint for it in sifted.fresh] == here[1:]
    assert sifted.stale == 1


def test_an_entry_is_stale_only_if_its_rule_ran(tmp_path: Path) -> None:
    """A rule that is not selected, lacks data or failed says nothing about it."""
    baseline = known(tmp_path, finding(f"{tmp_path}/a", "STF001"), finding(f"{tmp_path}/a", "NUM001"))
    sifted = sift([], baseline, [f"{tmp_path}/a"], lambda _, code: code == "STF001")

    assert sifted.stale == 1


def test_paths_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs, and whether it was given relative paths or absolute ones."""
    (tmp_path / "ci").mkdir()
    (tmp_path / "models" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    document = baseline_to_json([finding("models/a")], str(tmp_path / "ci"))
    assert [row["checkpoint"] for row in document["findings"]] == ["../models/a"]  # type: ignore[attr-defined]

    monkeypatch.chdir(tmp_path / "models")
    baseline = parse_baseline(json.dumps(document).encode(), "known.json", str(tmp_path / "ci"))
    for spelling in ("a", str(tmp_path / "models" / "a")):
        assert sift([finding(spelling)], baseline, [spelling], always).fresh == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff", b"[" * 100_000, b"{}", b'{"schema": "tiecli.lint-baseline/1", "findings": 3}',
        b'{"schema": "tiecli.lint-baseline/1", "findings": [3]}',
        b'{"schema": "tiecli.lint-baseline/1", "findings": [{"code": "TIE001", "checkpoint": "a", "fingerprint": 1}]}',
    ],
)  # fmt: skip
def test_damaged_baselines_are_refused(raw: bytes) -> None:
    """Each by name, and with the way to a new one."""
    with pytest.raises(SettingsError, match=r"known\.json") as refused:
        parse_baseline(raw, "known.json", "/")
    assert "--write-baseline" in refused.value.hints[0]
