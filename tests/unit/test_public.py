"""`tiecli/__init__.py`: everything it promises is there, however often it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tiecli


@pytest.mark.parametrize("name", tiecli.__all__)
def test_every_public_name_stays_what_it_is(name: str) -> None:
    """A submodule of the same name, once imported, must not take its place."""
    code = (
        f"import tiecli; first = tiecli.{name}; import tiecli.cli.entry;"
        f"tiecli.cli.entry.main(['find', 'nowhere']); assert tiecli.{name} is first; assert callable(first)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_unknown_names_are_attribute_errors() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tiecli.nothing  # noqa: B018
