"""Shared by the end-to-end tests: run a command, make a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiecli.cli.entry import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.stdout)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `tiecli` in this process."""

    def run_command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    return run_command


def _write_safetensors(
    path: Path, leaves: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, pad: int = 8
) -> Path:
    """Writes a safetensors file by hand, in the order given, so that no library decides the bytes."""
    codes = {"float32": "F32", "float16": "F16", "float64": "F64", "bfloat16": "BF16", "complex64": "C64"}
    codes |= {"int64": "I64", "uint8": "U8"}
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, leaf in leaves.items():
        header[name] = {
            "dtype": codes[leaf.dtype.name],
            "shape": list(leaf.shape),
            "data_offsets": [offset, offset + leaf.nbytes],
        }
        offset += leaf.nbytes
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % pad)
    body = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + body)
    return path


Write = Callable[..., Path]


@pytest.fixture
def write() -> Write:
    """Writes a safetensors file: `write(path, leaves, metadata)`."""
    return _write_safetensors


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20260101)


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A small checkpoint with an identical, a transposed, a symmetric and a drifted pair."""
    embed = rng.normal(size=(40, 16)).astype(np.float32)
    square = rng.normal(size=(16, 16)).astype(np.float32)
    drifted = embed.copy()
    drifted[3, 5] = np.nextafter(drifted[3, 5], np.float32(9))
    symmetric = square + square.T
    leaves = {
        "lm_head.weight": embed,
        "decoder.kernel": np.ascontiguousarray(embed.T),
        "head2.weight": drifted,
        "gate.weight": symmetric,
        "mix.weight": symmetric,
        "norm.weight": np.ones(16, np.float32),
        "model.embed_tokens.weight": embed,
        "layers.0.q": rng.normal(size=(4, 16)).astype(np.float32),
        "layers.1.q": rng.normal(size=(4, 16)).astype(np.float32),
    }
    return _write_safetensors(tmp_path / "model.safetensors", leaves, {"format": "pt"})
