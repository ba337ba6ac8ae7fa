"""What the commands print with `--json` is what the published schemas say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tiecli.cli.entry import main

ROOT = Path(__file__).parents[2]
SAFETENSORS = sorted({path.parent.name for path in ROOT.glob("fixtures/*/*.safetensors")})
# One has several items, the other elements smaller than a byte: these are refused.
ORBAX = sorted(f"orbax/{path.name}" for path in ROOT.glob("fixtures/orbax/*") if path.name not in ("items", "packed"))
GPT2 = str(ROOT / "fixtures" / "gpt2-untied")
EMBED, HEAD = "transformer.wte.weight", "lm_head.weight"


def read_schema(name: str) -> dict[str, Any]:
    """Reads a published schema and checks that it is one."""
    schema = dict(json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize("fixture", [*SAFETENSORS, *ORBAX])
@pytest.mark.parametrize("command", ["inspect", "find", "diff"])
def test_reading_commands_follow_their_schema(command: str, fixture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fixture, every command that writes nothing."""
    path = str(ROOT / "fixtures" / fixture)
    main([command, path, *([GPT2, "--values"] if command == "diff" else []), "--json"])

    jsonschema.validate(json.loads(capsys.readouterr().out), read_schema(command))


def test_writing_commands_follow_their_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tie`, the manifest that it writes, `untie`, and the plan between `find` and `tie`."""
    tied, plan = tmp_path / "tied", tmp_path / "ties.json"
    assert main(["tie", GPT2, "--src", EMBED, "--dst", HEAD, "-o", str(tied), "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("tie"))
    assert main(["untie", str(tied), "-o", str(tmp_path / "back"), "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("untie"))
    assert main(["find", GPT2, "--plan", str(plan), "--json"]) == 0
    jsonschema.validate(json.loads(plan.read_text()), read_schema("plan"))

    raw = (tied / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    jsonschema.validate(json.loads(header["__metadata__"]["tiecli"]), read_schema("manifest"))


def test_verify_follows_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tie that passes, trained for some steps, and one that fails."""
    pytest.importorskip("jax")
    tied = tmp_path / "tied"
    assert main(["tie", GPT2, "--src", EMBED, "--dst", HEAD, "-o", str(tied)]) == 0
    for original, options, code in ((GPT2, ["--steps", "2"], 0), (str(ROOT / "fixtures" / "gpt2-drifted"), [], 1)):
        capsys.readouterr()
        assert main(["verify", str(tied), "--original", original, *options, "--json"]) == code
        jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("verify"))


def test_convert_follows_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways, with ties, and without writing."""
    tied, item = tmp_path / "tied", tmp_path / "item"
    assert main(["tie", GPT2, "--src", EMBED, "--dst", HEAD, "-o", str(tied)]) == 0
    for source, options in ((tied, ["-o", str(item)]), (item, ["-o", str(tmp_path / "back")]), (item, [])):
        capsys.readouterr()
        assert main(["convert", str(source), *options, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, read_schema("convert"))
        assert bool(document["files"]) == (document["output"] is not None) == bool(options)


def test_errors_follow_their_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of ours, and one of the argument parser."""
    for arguments in (["inspect", str(tmp_path / "nothing")], ["inspect"], ["tie", GPT2, "--nope"]):
        assert main([*arguments, "--json"]) == 2
        jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("error"))
