"""Bad input, through every command: its own error, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]
Write = Callable[..., Path]
FIXTURES = Path(__file__).parents[2] / "fixtures"
GOOD = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
}
BODY = np.arange(4, dtype=np.float32).tobytes()


def frame(header: str | bytes, body: bytes = BODY) -> bytes:
    """Puts a length before a header and a body behind it."""
    raw = header.encode() if isinstance(header, str) else header
    return len(raw).to_bytes(8, "little") + raw + body


def spoil(**changes: object) -> bytes:
    """A good file with fields of leaf `b` replaced."""
    return frame(json.dumps({**GOOD, "b": {**GOOD["b"], **changes}}))


GOOD_JSON = json.dumps(GOOD)
B = '"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}'
A = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "Header|Truncated"),
    "three bytes": (b"abc", "Header|Truncated"),
    "truncated data": (frame(GOOD_JSON, BODY[:-1]), "TruncatedFile"),
    "truncated header": (frame(GOOD_JSON)[:40], "TruncatedFile|Header"),
    "trailing bytes": (frame(GOOD_JSON, BODY + b"x"), "UncoveredBytes"),
    "hole": (frame(json.dumps({"b": GOOD["b"]})), "UncoveredBytes"),
    "overlap": (spoil(data_offsets=[4, 12]), "Header|UncoveredBytes"),
    "one range, two names": (spoil(data_offsets=[0, 8]), "Header|UncoveredBytes"),
    "duplicate leaf": (frame("{" + A + "," + A + "," + B + "}"), "Header"),
    "duplicate metadata key": (frame('{"__metadata__":{"k":"1","k":"2"},' + A + "," + B + "}"), "Header"),
    "duplicate metadata": (frame('{"__metadata__":{},"__metadata__":{},' + A + "," + B + "}"), "Header"),
    "size mismatch": (spoil(shape=[3]), "Header"),
    "unknown dtype": (spoil(dtype="F33"), "Header"),
    "oversize header": ((100_000_001).to_bytes(8, "little") + b"{}", "Header"),
    "absurd header": ((2**64 - 1).to_bytes(8, "little") + b"{}", "Header"),
    "not JSON": (frame("{nope"), "Header"),
    "not UTF-8": (frame(b'{"\xff":1}'), "Header"),
    "byte order mark": (frame(b"\xef\xbb\xbf" + GOOD_JSON.encode()), "Header"),
    "nested a million deep": (frame("[" * 1_000_000), "Header"),
    "a list": (frame("[]", b""), "Header"),
    "negative offset": (spoil(data_offsets=[-8, 16]), "Header"),
    "overflowing offset": (spoil(data_offsets=[8, 2**64]), "Header|Truncated"),
    "float offset": (spoil(data_offsets=[8.0, 16]), "Header"),
    "backward offsets": (spoil(data_offsets=[16, 8]), "Header|UncoveredBytes"),
    "three offsets": (spoil(data_offsets=[8, 16, 24]), "Header"),
    "negative length": (spoil(shape=[-2]), "Header"),
    "boolean length": (spoil(shape=[True, 2]), "Header"),
    "overflowing shape": (spoil(shape=[2**40, 2**40]), "Header"),
    "no dtype": (frame('{"a":{"shape":[4],"data_offsets":[0,16]}}'), "Header"),
    "lone surrogate": (frame('{"\\ud800":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'), "Header"),
    "NaN": (frame('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":NaN}}'), "Header"),
    "number in metadata": (frame('{"__metadata__":{"k":1},' + A + "," + B + "}"), "Header"),
    "list as metadata": (frame('{"__metadata__":[],' + A + "," + B + "}"), "Header"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n",
        "LfsPointer",
    ),
    "pickle": (b"\x80\x02}q\x00." + bytes(64), "Header|NotFound|Checkpoint"),
    "zip": (b"PK\x03\x04" + bytes(64), "Header|NotFound|Checkpoint"),
}


def commands_on(path: Path, out: Path) -> list[list[object]]:
    """Every command, with the damaged file in each place that takes one."""
    good = FIXTURES / "gpt2"
    return [
        ["inspect", path],
        ["find", path],
        ["tie", path, "--src", "a", "--dst", "b", "-o", out],
        ["tie", path, "--auto", "-o", out],
        ["untie", path, "-o", out],
        ["diff", path, good],
        ["diff", good, path],
    ]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_by_every_command(run: Run, tmp_path: Path, name: str) -> None:
    """The same error whatever is asked; it names the file's trouble and gives a hint."""
    raw, expected = DAMAGED[name]
    path, out = tmp_path / "damaged.safetensors", tmp_path / "out.safetensors"
    path.write_bytes(raw)

    for command in commands_on(path, out):
        outcome = run(*command, "--json")
        assert outcome.code == 2, (command, outcome)
        error = outcome.json["error"]
        assert any(part in error["code"] for part in expected.split("|")), error
        assert error["hints"], error
        assert "Traceback" not in outcome.stderr
        assert sorted(os.listdir(tmp_path)) == ["damaged.safetensors"]
        assert path.read_bytes() == raw


def damage_index(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the index of a sharded checkpoint."""
    index = directory / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    change(document)
    index.write_text(json.dumps(document))


def name_shard(name: str) -> Callable[[dict[str, Any]], None]:
    """Sends one leaf to another shard."""
    return lambda document: document["weight_map"].update({"lm_head.weight": name})


DIRECTORIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (lambda d: (d / "model-00002-of-00003.safetensors").unlink(), "ShardMismatch"),
    "escaping shard": (lambda d: damage_index(d, name_shard("../model.safetensors")), "IndexFile"),
    "absolute shard": (lambda d: damage_index(d, name_shard("/etc/passwd")), "IndexFile"),
    "wrong shard": (lambda d: damage_index(d, name_shard("model-00001-of-00003.safetensors")), "ShardMismatch"),
    "leaf no shard has": (
        lambda d: damage_index(d, lambda i: i["weight_map"].update(ghost="model-00001-of-00003.safetensors")),
        "ShardMismatch",
    ),
    "leaf the index lacks": (
        lambda d: damage_index(d, lambda i: i["weight_map"].pop("lm_head.weight")),
        "ShardMismatch",
    ),
    "no weight map": (lambda d: damage_index(d, lambda i: i.pop("weight_map")), "IndexFile"),
    "index not JSON": (lambda d: (d / "model.safetensors.index.json").write_text("{"), "IndexFile"),
    "truncated shard": (lambda d: os.truncate(d / "model-00003-of-00003.safetensors", 1400), "TruncatedFile"),
    "config not JSON": (lambda d: (d / "config.json").write_text("{"), "ConfigFile"),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_damaged_directory_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    """An index, its shards and the config must make one whole."""
    damage, expected = DIRECTORIES[name]
    directory = tmp_path / "model"
    shutil.copytree(FIXTURES / "qwen2-sharded", directory)
    damage(directory)

    command = [
        "tie",
        directory,
        "--src",
        "model.embed_tokens.weight",
        "--dst",
        "lm_head.weight",
        "-o",
        tmp_path / "out",
    ]
    outcome = run(*command, "--json")
    assert outcome.code == 2, outcome
    assert outcome.json["error"]["code"] == expected
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("what", ["nothing", "directory", "fifo", "other files", "orbax"])
def test_what_is_no_checkpoint_is_refused(run: Run, tmp_path: Path, what: str) -> None:
    """A path that cannot be one says what is there instead."""
    path = tmp_path / "thing"
    if what == "fifo":
        os.mkfifo(path)
    elif what != "nothing":
        path.mkdir()
        (path / {"directory": "x.txt", "other files": "pytorch_model.bin", "orbax": "_METADATA"}[what]).touch()
    outcome = run("inspect", path)

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: ")
    assert "hint: " in outcome.stderr


def test_missing_directory_of_the_target_is_named(run: Run, model: Path, tmp_path: Path) -> None:
    """The directory is not made in passing."""
    outcome = run("tie", model, "--auto", "-o", tmp_path / "no" / "such" / "out.safetensors")

    assert outcome.code == 2
    assert "no/such" in outcome.stderr


def test_symbolic_link_is_not_replaced_in_place(run: Run, model: Path, tmp_path: Path) -> None:
    """A cache shares what the link leads to."""
    link = tmp_path / "link.safetensors"
    link.symlink_to(model)
    before = model.read_bytes()
    outcome = run("tie", link, "--auto", "--in-place")

    assert outcome.code == 2
    assert "symbolic link" in outcome.stderr
    assert link.is_symlink()
    assert model.read_bytes() == before


def test_control_characters_in_names_never_reach_the_terminal(run: Run, write: Write, tmp_path: Path) -> None:
    """A hostile name cannot move the cursor."""
    path = write(tmp_path / "evil.safetensors", {"a\x1b[2Jb": np.zeros(2, np.float32)})
    outcomes = [run("inspect", path), run("inspect", path, "--table"), run("tie", path, "--src", "x", "--dst", "y")]

    assert all("\x1b" not in outcome.stdout + outcome.stderr for outcome in outcomes)
