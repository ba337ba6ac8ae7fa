"""A tied file that was spoilt anywhere is refused, or untied; it never fails in another way."""

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoints.safetensors.files import write_file, write_sharded
from tests.unit.checkpoints.safetensors.surgery import tie, untie
from tiecli.checkpoints import open_reader
from tiecli.errors import TiecliError

LEAVES = {"head": ("U8", [4], b"abcd"), "body": ("F32", [], b"xyzw"), "embed": ("U8", [4], b"abcd")}


@cache
def tied_file() -> bytes:
    """A small tied file."""
    with tempfile.TemporaryDirectory() as name:
        source = write_file(Path(name, "m"), LEAVES, {"k": "v"})
        tie(source, Path(name, "tied"), {"head": "embed"})
        return Path(name, "tied").read_bytes()


@cache
def tied_index() -> bytes:
    """The index of a small tied checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        source = write_sharded(Path(name, "source"), {"1.safetensors": LEAVES})
        tie(source, Path(name, "tied"), {"head": "embed"})
        return Path(name, "tied", "model.safetensors.index.json").read_bytes()


@st.composite
def spoil(draw: st.DrawFn, content: bytes) -> bytes:
    """Changes, drops, repeats or inserts bytes at a few places."""
    spoilt = content
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(spoilt)))
        stop = min(len(spoilt), start + draw(st.sampled_from([0, 1, 2, 20])))
        new = draw(st.sampled_from([b"", b'"', b"{", b"[", b",", b"0", b"-1", b"null", b"\\"]) | st.binary(max_size=2))
        spoilt = spoilt[:start] + new + draw(st.sampled_from([b"", spoilt[start:stop]])) + spoilt[stop:]
    return spoilt


def use_up(path: Path, target: Path) -> None:
    """Reads and unties whatever stands at a path, as far as it lets itself be read."""
    with contextlib.suppress(TiecliError):
        with open_reader(path) as reader:
            reader.metadata()
            manifest = reader.manifest()
        if manifest is not None:
            assert untie(path, target).restored is not None
            return
    assert not target.exists()


@given(st.deferred(lambda: spoil(tied_file())))
def test_spoilt_files(content: bytes) -> None:
    """Any change to a tied file is met with an answer or a refusal."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "m.safetensors")
        path.write_bytes(content)
        use_up(path, Path(name, "out"))
        assert path.read_bytes() == content


@given(st.deferred(lambda: spoil(tied_index())))
def test_spoilt_indexes(content: bytes) -> None:
    """Any change to the index of a tied checkpoint is met with an answer or a refusal."""
    with tempfile.TemporaryDirectory() as name:
        directory = write_sharded(
            Path(name, "m"), {"1.safetensors": {name: LEAVES[name] for name in ("body", "embed")}}
        )
        (directory / "model.safetensors.index.json").write_bytes(content)
        use_up(directory, Path(name, "out"))
        assert (directory / "model.safetensors.index.json").read_bytes() == content
