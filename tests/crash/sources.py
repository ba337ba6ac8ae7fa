"""Checkpoints to be rewritten by runs that do not get through, and what such runs leave."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.unit.checkpoints.safetensors.files import write_file, write_sharded
from tests.unit.checkpoints.safetensors.surgery import take_stock, tie
from tiecli.checkpoints import staging

TABLE = bytes(range(250)) * 280
LEAVES = {"body": ("U8", [3], b"xyz"), "embed": ("U8", [70, 1000], TABLE), "head": ("U8", [70, 1000], TABLE)}
TEXTS = {"config.json": '{"tie_word_embeddings": true}'}


def make_file(directory: Path) -> Path:
    """One file."""
    return write_file(directory / "m.safetensors", LEAVES)


def make_directory(directory: Path) -> Path:
    """A directory with one file, a config, and things that are carried over."""
    source = directory / "source"
    (source / "sub").mkdir(parents=True)
    write_file(source / "model.safetensors", LEAVES)
    (source / "config.json").write_text('{"tie_word_embeddings": false}')
    (source / "sub" / "more").write_text("more")
    (source / "sub").chmod(0o555)
    return source


def make_sharded(directory: Path) -> Path:
    """Two shards and an index."""
    shards = {
        "m-1.safetensors": {name: LEAVES[name] for name in ("head", "body")},
        "m-2.safetensors": {"embed": LEAVES["embed"]},
    }
    source = write_sharded(directory / "source", shards)
    (source / "config.json").write_text('{"tie_word_embeddings": false}')
    return source


MAKERS = (make_file, make_directory, make_sharded)


def stages_in(directory: Path) -> list[Path]:
    """What killed runs left."""
    return [path for path in directory.rglob("*") if staging.is_stage(path.name)]


def visible(path: Path) -> dict[str, object]:
    """What stands at a path, but for what killed runs left."""
    return {name: it for name, it in take_stock(path).items() if not any(map(staging.is_stage, Path(name).parts))}


def tie_all(source: Path, target: Path) -> None:
    """The run that is killed."""
    tie(source, target, {"head": "embed"}, texts={} if source.suffix else TEXTS, sync=True)


def remove(path: Path) -> None:
    """Removes a file or a tree, be it read-only."""
    if path.is_dir():
        for directory in [path, *(inner for inner in path.rglob("*") if inner.is_dir())]:
            directory.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink()
