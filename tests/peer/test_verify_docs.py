"""The losses that docs/verify.md shows run as they stand there, that in Equinox too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.test_sessions import FILE
from tiecli.cli.entry import main

pytest.importorskip("equinox", reason="equinox comes with the extra `peer`")

ROOT = Path(__file__).parents[2]
AMBIGUOUS = ROOT / "fixtures" / "ambiguous"
MODULES = dict(FILE.findall((ROOT / "docs" / "verify.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("stated", ["transpose", "same"])
def test_a_reference_in_equinox_settles_what_the_bytes_leave_open(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model transposes: so says its loss, whichever transform the manifest states."""
    monkeypatch.chdir(tmp_path)
    assert MODULES.keys() == {"losses.py", "shared.py"}
    for name, code in MODULES.items():
        Path(name).write_text(code, encoding="utf-8")
    tie = ["tie", str(AMBIGUOUS), "--src", "kernel.left", "--dst", "kernel.right", "--transform", stated, "-o", "both"]
    assert main(tie) == 0
    capsys.readouterr()

    losses = ["--loss", "losses:loss", "--reference-loss", "shared:tied_loss"]
    code = main(["verify", "both", "--original", str(AMBIGUOUS), *losses, "--json"])

    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict, code) == (("PASS", 0) if stated == "transpose" else ("FAIL", 1))
