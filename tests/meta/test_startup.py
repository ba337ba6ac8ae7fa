"""What a command loads: nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
NEVER = {"jax", "orbax", "tensorstore", "torch", "pydantic"}


def loaded_modules(*arguments: str) -> set[str]:
    """Runs a command in a fresh process and gives the top-level modules it loaded."""
    code = (
        "import sys; from tiecli.cli.entry import main; code = main(sys.argv[1:]);"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], {"numpy", "rich", "safetensors", "einops", "ml_dtypes", "xxhash"}),
        (["tie", "--help"], {"numpy", "rich", "safetensors", "einops", "ml_dtypes", "xxhash"}),
        (
            ["inspect", str(FIXTURES / "gpt2")],
            {"numpy", "rich", "typer", "safetensors", "einops", "ml_dtypes", "xxhash", "zstandard", "google_crc32c"},
        ),
        (
            ["inspect", str(FIXTURES / "orbax" / "nodes")],
            {"numpy", "rich", "typer", "safetensors", "einops", "ml_dtypes", "xxhash"},
        ),
        (["find", str(FIXTURES / "orbax" / "nodes")], {"rich", "safetensors", "einops"}),
        (
            ["tie", str(FIXTURES / "opt"), "--src", "model.decoder.embed_tokens.weight", "--dst", "lm_head.weight"],
            {"numpy", "rich", "safetensors", "einops", "ml_dtypes"},
        ),
        (["find", str(FIXTURES / "gpt2-untied")], {"rich", "safetensors", "einops"}),
        (["untie", str(FIXTURES / "gpt2")], {"numpy", "rich", "safetensors", "einops", "ml_dtypes"}),
        (["lint", "--help"], {"numpy", "rich", "safetensors", "einops", "ml_dtypes", "xxhash"}),
        (
            ["lint", str(FIXTURES / "gpt2"), str(FIXTURES / "qwen2-sharded"), "--no-config"],
            {"numpy", "rich", "safetensors", "einops", "ml_dtypes", "xxhash", "tomllib", "multiprocessing"},
        ),
        (["lint", str(FIXTURES / "gpt2"), "--level", "data"], {"rich", "safetensors", "einops"}),
        (["diff", str(FIXTURES / "gpt2"), str(FIXTURES / "gpt2")], {"numpy", "rich", "safetensors", "einops"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_heavy_libraries_are_loaded_only_where_used(arguments: list[str], unused: set[str]) -> None:
    """Start-up time is imports; each of these costs more than the command itself."""
    assert loaded_modules(*arguments) & (unused | NEVER) == set()
