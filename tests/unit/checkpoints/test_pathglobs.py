"""`checkpoints/pathglobs.py`: which paths a glob means."""

from __future__ import annotations

import pytest

from tiecli.checkpoints.pathglobs import compile_glob, matches_path


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", True),
        ("a/*", "a", False),
        ("a/*.st", "a/b/c.st", False),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "a/bc", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c/d", True),
        ("a/?", "a/b", True),
        ("a/?", "a/bb", False),
        ("[ab]", "b", True),
        ("[!ab]", "b", False),
        ("[!ab]", "c", True),
        ("[^a]", "^", True),
        ("[a-c]", "b", True),
        ("[]a]", "]", True),
        ("[z-a]", "[z-a]", True),
        ("[a", "[a", True),
        ("a.b", "axb", False),
        ("a\nb*", "a\nbc", True),
        ("./a//b/", "a/b", True),
    ],
)
def test_parts_and_wildcards(pattern: str, path: str, fits: bool) -> None:
    """As shells read them; what lies inside of a match matches, too."""
    assert (compile_glob(pattern).fullmatch(path) is not None) is fits


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("old", "/work/runs/old/model.safetensors", True),
        ("old/", "/work/runs/old/model.safetensors", True),
        ("*.bak", "/work/a.bak", True),
        ("runs/old", "/work/runs/old/model.safetensors", True),
        ("runs/old", "/work/more/runs/old", False),
        ("**/runs/old", "/work/more/runs/old", True),
        ("/work/runs", "/work/runs/a", True),
        ("/data/**", "/data/a/b", True),
        ("/data", "/work/data", False),
        ("data/*", "/data/a", False),
    ],
)
def test_patterns_of_settings_count_from_their_directory(pattern: str, path: str, fits: bool) -> None:
    """Without a slash, against any part of a path."""
    assert matches_path(pattern, path, "/work") is fits
