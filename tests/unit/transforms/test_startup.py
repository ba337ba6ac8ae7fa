"""Start-up: what importing the transforms must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tiecli.transforms", ["numpy", "einops", "ml_dtypes", "tiecli.transforms.steps"]),
        ("import tiecli.transforms as t; t.TRANSPOSE.inverse", ["numpy", "einops", "ml_dtypes"]),
        ("import tiecli.transforms as t; str(t.Transform.parse('\\'(h k) -> h k\\', h=2'))", ["numpy", "einops"]),
    ],
)
def test_heavy_libraries_wait_for_arrays(code: str, absent: list[str]) -> None:
    """Text and shapes need no array library, and `same` needs no steps."""
    check = f"{code}; import sys; print([name for name in {absent} if name in sys.modules])"

    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_unknown_names_are_still_refused() -> None:
    """Names that are made on demand do not hide misspelt ones."""
    import tiecli.transforms

    with pytest.raises(AttributeError, match="has no attribute 'TRANSPOZE'"):
        tiecli.transforms.TRANSPOZE  # noqa: B018
