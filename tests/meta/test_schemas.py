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


def test_copy_follows_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with leaves that do not fit; and by a map."""
    for options in ([], ["--map", f"{HEAD} = {HEAD}", "-o", str(tmp_path / "out")]):
        other = str(ROOT / "fixtures" / "gpt2-drifted") if not options else GPT2
        assert main(["copy", GPT2, other, *options, "--json"]) == 0
        jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("copy"))


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


@pytest.mark.parametrize("level", ["header", "data"])
def test_lint_follows_its_schema(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fixture, a path that is none among them; as one document, and line by line."""
    arguments = ["lint", str(ROOT / "fixtures"), str(ROOT / "nowhere"), "--level", level, "--jobs", "1"]
    assert main([*arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, read_schema("lint"))
    assert main([*arguments, "--output-format", "jsonl"]) == 2
    validator = jsonschema.Draft202012Validator(read_schema("lint"))
    for line in capsys.readouterr().out.splitlines():
        validator.validate(json.loads(line))

    assert {finding["path"] for finding in document["findings"]} != set()
    assert [failure["code"] for failure in document["failures"]] == [""]
    assert len(document["checkpoints"]) >= len(SAFETENSORS) + len(ORBAX)


def test_baselines_and_fixes_of_lint_follow_their_schemas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known from now on; what would be mended."""
    known = tmp_path / "known.json"
    assert main(["lint", GPT2, "--level", "data", "--write-baseline", str(known)]) == 0
    jsonschema.validate(json.loads(known.read_text()), read_schema("lint-baseline"))
    capsys.readouterr()
    for options, code in ((["--baseline", str(known)], 0), (["--diff"], 1)):
        assert main(["lint", GPT2, "--level", "data", *options, "--json"]) == code
        jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("lint"))


@pytest.mark.parametrize("options", [["--list-rules"], ["--explain", "TIE003"], ["--explain", "drifted-tie"]])
def test_rules_follow_their_schema(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, and one by its code and by its name."""
    assert main(["lint", *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, read_schema("rules"))
    assert "TIE003" in [rule["code"] for rule in document["rules"]]


def test_errors_follow_their_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of ours, and one of the argument parser."""
    for arguments in (["inspect", str(tmp_path / "nothing")], ["inspect"], ["tie", GPT2, "--nope"]):
        assert main([*arguments, "--json"]) == 2
        jsonschema.validate(json.loads(capsys.readouterr().out), read_schema("error"))
