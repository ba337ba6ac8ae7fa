"""Targets: what is refused before anything is written, and that nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.checkpoints.safetensors.files import write_file, write_sharded
from tests.unit.checkpoints.safetensors.surgery import take_stock, tie, untie
from tiecli.checkpoints import open_reader, open_writer, staging, system, trees
from tiecli.checkpoints.protocol import Metadata, Target
from tiecli.errors import (
    InPlaceError,
    SourceChangedError,
    TargetError,
    TargetExistsError,
    TargetIsSourceError,
    TargetLockedError,
    TiecliError,
    WriteFailedError,
)

CHECK = "tiecli.checkpoints.safetensors.filling.check_opens"
"""What is called last before a file is published."""

TABLE = bytes(range(200)) * 40
LEAVES = {"head": ("U8", [80, 100], TABLE), "embed": ("U8", [80, 100], TABLE)}
PAIRS = {"head": "embed"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One file, in a directory of its own."""
    (tmp_path / "from").mkdir()
    return write_file(tmp_path / "from" / "m.safetensors", LEAVES)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two shards and an index."""
    shards = {
        "m-0.safetensors": {"head": LEAVES["head"], "body": ("U8", [3], b"xyz")},
        "m-1.safetensors": {"embed": LEAVES["embed"]},
    }
    return write_sharded(tmp_path / "from", shards)


@pytest.fixture(params=["file", "sharded"])
def source(request: pytest.FixtureRequest) -> Path:
    """Either of them."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(autouse=True)
def _no_stage_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever happens, no stage is left behind."""
    yield
    assert not [path for path in tmp_path.rglob("*") if staging.is_stage(path.name)]


def refuse(source: Path, target: Path, error: type[TiecliError], message: str, *, changed: bool = False) -> None:
    """Checks how a target is refused, and that the source stays as it is unless the test changes it."""
    before = take_stock(source)
    with pytest.raises(error, match=message) as caught:
        tie(source, target, PAIRS)
    assert caught.value.hints
    assert changed or take_stock(source) == before


@pytest.mark.parametrize("kind", ["file", "directory", "broken link"])
def test_existing(source: Path, tmp_path: Path, kind: str) -> None:
    """Whatever stands at the target stays."""
    target = tmp_path / "out"
    match kind:
        case "file":
            target.write_text("precious")
        case "directory":
            target.mkdir()
        case _:
            target.symlink_to("nowhere")
    before = take_stock(tmp_path)

    refuse(source, target, TargetExistsError, "out` exists already")
    assert take_stock(tmp_path) == before


def test_target_that_appears_meanwhile(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that somebody else puts there while the stage is built stays, by either way of publishing."""
    target, real = tmp_path / "out", system.rename_new

    def appear(old: Path, new: Path) -> None:
        if source.is_dir():
            new.mkdir()
            (new / "precious").touch()
        else:
            new.write_text("precious")
        real(old, new)

    monkeypatch.setattr(system, "rename_new", appear)
    refuse(source, target, TargetExistsError, "exists already")
    assert target.exists()


def test_file_systems_without_renameat2(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rename cannot spare what is there, a hard link can."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(system, "rename_new", unsupported)
    tie(file, tmp_path / "out", PAIRS)
    assert (tmp_path / "out").stat().st_nlink == 1
    (tmp_path / "there").touch()
    monkeypatch.setattr("tiecli.checkpoints.targets.refuse_existing", lambda _: None)
    refuse(file, tmp_path / "there", TargetExistsError, "exists already")


def test_target_is_the_source(file: Path, sharded: Path, tmp_path: Path) -> None:
    """The source is recognised by any of its names."""
    other = tmp_path / "link"
    other.symlink_to(file)
    hard = tmp_path / "hard"
    hard.hardlink_to(file)

    for target in (file.parent / ".." / "from" / file.name, other, hard):
        refuse(file, target, TargetIsSourceError, "is the source itself")
    refuse(sharded, sharded / "m-0.safetensors", TargetIsSourceError, "is the source itself")
    refuse(sharded, tmp_path / "x" / ".." / "from", TargetError, "is the source itself|no such file")


def test_target_inside_the_source(sharded: Path) -> None:
    """An output inside its own source would be copied into itself."""
    refuse(sharded, sharded / "out", TargetIsSourceError, "lies inside the source")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/out", "no such file or directory"),
        ("x" * 256, "file name too long"),
        ("blocker/out", "not a directory"),
    ],
)
def test_places_that_cannot_be_written(source: Path, tmp_path: Path, name: str, message: str) -> None:
    """A missing directory, a name too long, a file in the way."""
    (tmp_path / "blocker").touch()

    refuse(source, tmp_path / name, WriteFailedError, f"cannot be written: {message}")


def test_long_names(source: Path, tmp_path: Path) -> None:
    """A name as long as the system allows can still be staged."""
    tie(source, tmp_path / ("x" * 255), PAIRS)

    assert (tmp_path / ("x" * 255)).exists()


ERRORS = {
    "full disk": (errno.ENOSPC, "no space left on device", "Free some space"),
    "quota": (errno.EDQUOT, "disk quota exceeded", "Your quota"),
    "failing disk": (errno.EIO, "input/output error", "See the system's log"),
}


@pytest.mark.parametrize(("number", "message", "hint"), ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("call", ["allocate", "copy_file_range", "pwrite", "fsync", "rename_new"])
def test_errors_of_the_disk(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, message: str, hint: str
) -> None:
    """A disk that fails at any step is named, with what may help; no stage is left."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    match call:
        case "allocate" | "rename_new":
            monkeypatch.setattr(system, call, fail)
        case _:
            monkeypatch.setattr(os, call, fail)
    with pytest.raises(WriteFailedError, match=f"out` cannot be written: {message}") as caught:
        tie(source, tmp_path / "out", PAIRS, sync=True)
    assert caught.value.hints[0].startswith(hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", ["copy_file_range", "fsync"])
def test_interrupt(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An interrupted run leaves nothing behind."""

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        tie(source, tmp_path / "out", PAIRS, sync=True)
    assert not (tmp_path / "out").exists()


def test_two_runs_for_one_target(source: Path, tmp_path: Path) -> None:
    """The second run for a target gives way; for another target beside it, it does not."""
    stage = staging.Stage(tmp_path / "out", directory=source.is_dir())
    try:
        refuse(source, tmp_path / "out", TargetLockedError, "another tiecli is writing to `.*out`")
        tie(source, tmp_path / "other", PAIRS)
        assert stage.path.exists()
    finally:
        stage.discard()


def test_directory_locked_by_others(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that something else keeps locked is waited for, but not forever."""
    monkeypatch.setattr(staging, "_PATIENCE", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        refuse(file, tmp_path / "out", TargetLockedError, "is locked by another program")
    finally:
        os.close(descriptor)


def test_file_systems_without_locks(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be locked, runs go on without."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    tie(source, tmp_path / "out", PAIRS)


def test_clears_what_a_dead_run_left(source: Path, tmp_path: Path) -> None:
    """Stages of dead runs for the same target go; all else that looks alike stays."""
    (tmp_path / ".out.tiecli-01234567").write_text("left")
    (tmp_path / ".out.tiecli-89abcdef" / "sub").mkdir(parents=True)
    (tmp_path / ".out.tiecli-89abcdef" / "sub" / "x").touch()
    (tmp_path / ".out.tiecli-89abcdef" / "sub").chmod(0o500)
    (tmp_path / ".out.tiecli-11111111").symlink_to(source)
    strangers = [tmp_path / name for name in (".out.tiecli-notes", ".other.tiecli-01234567x", "out.tiecli-01234567")]
    for path in strangers:
        path.touch()

    tie(source, tmp_path / "out", PAIRS)

    assert all(path.exists() for path in strangers)
    names = {path.name for path in tmp_path.iterdir()} - {path.name for path in strangers}
    assert names == {"from", "out", ".out.tiecli-11111111"}
    (tmp_path / ".out.tiecli-11111111").unlink()


def test_source_that_changes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that changes while it is copied is noticed before anything is published."""
    monkeypatch.setattr(CHECK, lambda *_: os.utime(_first(source), ns=(5, 5)))

    refuse(source, tmp_path / "out", SourceChangedError, "it was modified", changed=True)
    assert not (tmp_path / "out").exists()


def _first(source: Path) -> Path:
    return source / "m-0.safetensors" if source.is_dir() else source


def test_shards_that_are_replaced(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard or an index that is exchanged for another one meanwhile is noticed."""
    index = next(sharded.glob("*.index.json"))

    def replace(*_: object) -> None:
        (sharded / "new").write_bytes((sharded / "m-0.safetensors").read_bytes())
        (sharded / "new").replace(sharded / "m-0.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(CHECK, replace)
        refuse(sharded, tmp_path / "out", SourceChangedError, "`m-0.safetensors` was replaced meanwhile", changed=True)
    monkeypatch.setattr(CHECK, lambda *_: index.write_text(index.read_text() + "\n"))
    refuse(sharded, tmp_path / "out", SourceChangedError, r"index\.json` was changed meanwhile", changed=True)


def test_links_in_place(file: Path, sharded: Path, tmp_path: Path) -> None:
    """A symbolic link is not replaced: neither the file given, nor one in a directory."""
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    refuse(link, link, InPlaceError, "is a symbolic link, as in the Hugging Face cache")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in sharded.iterdir():
        if path != file:
            (snapshot / path.name).symlink_to(path)
    refuse(snapshot, snapshot, InPlaceError, "`.*snapshot/m.*` is a symbolic link")


def test_in_place_elsewhere(file: Path, tmp_path: Path) -> None:
    """In place means at the source."""
    with open_reader(file) as reader:
        with pytest.raises(InPlaceError, match=r"`.*other` is not the source"):
            open_writer(reader, Target(tmp_path / "other", in_place=True))
        # The config beside a file is no name for that file.
        with pytest.raises(InPlaceError, match="is not the source"):
            open_writer(reader, Target(tmp_path, in_place=True))


def test_hard_links_in_place(file: Path, tmp_path: Path) -> None:
    """Other names of the file keep the old contents, and that is said."""
    (tmp_path / "other").hardlink_to(file)
    before = file.read_bytes()

    report = tie(file, file, PAIRS)

    assert any("has other hard links" in notice for notice in report.notices)
    assert (tmp_path / "other").read_bytes() == before


def test_odd_things_in_place(sharded: Path) -> None:
    """A pipe cannot be taken over into the new directory."""
    os.mkfifo(sharded / "pipe")
    try:
        refuse(sharded, sharded, InPlaceError, "`pipe` is neither a file nor a directory")
    finally:
        (sharded / "pipe").unlink()


@pytest.mark.parametrize(
    ("call", "number", "message"),
    [("exchange", errno.EINVAL, "cannot be swapped"), ("exchange", errno.EBUSY, "cannot be swapped")],
)
def test_directories_that_cannot_be_swapped(
    sharded: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, message: str
) -> None:
    """Where a directory cannot be swapped, in place is refused."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(system, call, fail)
    refuse(sharded, sharded, InPlaceError, message)


def test_files_that_cannot_be_linked(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on another file system cannot be taken over in place."""
    (sharded / "config.json").write_text("{}")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", fail)
    try:
        refuse(
            sharded,
            sharded,
            InPlaceError,
            r"`config\.json` cannot be taken over into the new directory: invalid cross-device link",
        )
    finally:
        (sharded / "config.json").unlink()


def test_files_that_come_meanwhile(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody adds is not lost: before the swap it stops the run, after it, it is set aside."""
    with monkeypatch.context() as patch:
        patch.setattr(CHECK, lambda *_: (sharded / "new").touch())
        refuse(sharded, sharded, SourceChangedError, "files came or went in", changed=True)
    (sharded / "new").unlink()
    real = system.exchange

    def add_and_exchange(stage: Path, target: Path) -> None:
        (target / "new").write_text("precious")
        real(stage, target)

    monkeypatch.setattr(system, "exchange", add_and_exchange)
    report = tie(sharded, sharded, PAIRS)

    assert any("somebody put files into the directory meanwhile" in notice for notice in report.notices)
    assert (tmp_path / "from.left-by-tiecli" / "new").read_text() == "precious"
    assert not (sharded / "new").exists()


def test_standing_in_the_directory(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands in the directory is told that it was exchanged."""
    monkeypatch.chdir(sharded)

    report = tie(Path(), Path(), PAIRS)

    assert any("`cd .` takes it to the new one" in notice for notice in report.notices)


@pytest.mark.parametrize("how", ["reflink", "hardlink"])
def test_files_that_cannot_be_shared(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """What was asked for and cannot be had is refused, with another way."""
    (sharded / "config.json").write_text("{}")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(system, "clone_file", fail)
    try:
        with pytest.raises(WriteFailedError, match=r"`config\.json` cannot be (reflinked|hard-linked)") as caught:
            tie(sharded, tmp_path / "out", PAIRS, kept_files=how)  # type: ignore[arg-type]
        assert "copy" in caught.value.hints[0]
        assert not (tmp_path / "out").exists()
    finally:
        (sharded / "config.json").unlink()


def test_shared_files(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where blocks can be shared, kept files share them."""
    (sharded / "config.json").write_text("{}")

    def clone(source: int, target: int) -> None:
        os.pwrite(target, os.pread(source, 100, 0), 0)

    monkeypatch.setattr(system, "clone_file", clone)
    report = tie(sharded, tmp_path / "out", PAIRS, kept_files="reflink")

    assert {file.name: file.how for file in report.files}["config.json"] == "reflinked"
    (sharded / "config.json").unlink()


def test_kept_file_that_changes(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the weights that changes while it is copied is noticed."""
    other = sharded / "a"
    other.write_text("x")
    monkeypatch.setattr(trees, "set_mode", lambda path, _: os.utime(other, ns=(7, 7)))
    try:
        refuse(sharded, tmp_path / "out", SourceChangedError, "`a` changed while it was read", changed=True)
    finally:
        other.unlink()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_across_file_systems(source: Path, tmp_path: Path) -> None:
    """A target on another file system is copied by the ways that cross over."""
    import shutil
    import tempfile

    away = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        tie(source, away / "out", PAIRS, sync=True)
        assert untie(away / "out", tmp_path / "back", sync=True).restored is True
        assert take_stock(tmp_path / "back") == take_stock(source)
    finally:
        shutil.rmtree(away)


def test_nothing_left_of_a_writer_never_committed(file: Path, tmp_path: Path) -> None:
    """A target is refused when the writer opens, not when everything has been compared."""
    (tmp_path / "out").touch()
    with open_reader(file) as reader, pytest.raises(TargetExistsError, match="exists already"):
        open_writer(reader, Target(tmp_path / "out"))


def test_commits_an_empty_checkpoint(file: Path, tmp_path: Path) -> None:
    """A checkpoint of which nothing is kept is still one."""
    with open_reader(file) as reader, open_writer(reader, Target(tmp_path / "out", sync=False)) as writer:
        writer.commit(Metadata(None))
    with open_reader(tmp_path / "out") as reader:
        assert reader.specs() == {}
