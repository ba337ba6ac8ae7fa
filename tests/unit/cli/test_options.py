"""`cli/options.py`: files that a user names are written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiecli.cli.options import replace_text
from tiecli.errors import WriteFailedError


def test_a_file_is_replaced_at_once_and_keeps_its_mode(tmp_path: Path) -> None:
    """Through a link too; a new one has the usual mode."""
    target, link = tmp_path / "a.txt", tmp_path / "link.txt"
    replace_text(target, "first")
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    target.chmod(0o600)
    link.symlink_to(target)
    replace_text(link, "half a character: \udc80")

    assert target.read_text() == "half a character: \\udc80"
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "link.txt"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """`--output-file /dev/stdout` must not try to replace it."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as pipe:
        replace_text(Path(f"/proc/self/fd/{writing}"), "told")
        os.close(writing)
        assert pipe.read() == "told"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """A directory that is not there, or is in the way."""
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "gone" / "a.txt", tmp_path / "taken", tmp_path / ("x" * 300)):
        with pytest.raises(WriteFailedError, match="cannot be written"):
            replace_text(path, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
