"""Orbax checkpoints to be rewritten by runs that do not get through, at every level and in every layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tiecli
from tiecli.checkpoints.ocdbt.database import read_database
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.keypaths import KeyPath
from tiecli.plan import TieRequest
from tiecli.transforms import TRANSPOSE

FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
EMBED, DRAFT = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
HEAD, NORM = "params.decoder.logits_dense.kernel", "params.decoder.decoder_norm.scale"
DECODER = (TieRequest(EMBED, DRAFT), TieRequest(EMBED, HEAD, TRANSPOSE))
PARAMS = (
    TieRequest("embed.embedding", "tied.embedding"),
    TieRequest("embed.embedding", "lm_head.kernel", TRANSPOSE),
)
MODEL = (TieRequest("wte.embedding", "lm_head.kernel", TRANSPOSE),)

Do = Callable[[Path, Path | None], object]
"""Rewrites a source as a target; in place where the two are one, and not at all without one."""


class Case(NamedTuple):
    """One kind of run.

    Attributes:
        name: What it is called in the report of the tests.
        make: Puts the source into an empty directory, and gives its path.
        do: What is killed, or fails.
        undo: What leads back, as far as the leaves go.
    """

    name: str
    make: Callable[[Path], Path]
    do: Do
    undo: Do

    def __str__(self) -> str:
        return self.name


def tie(
    requests: tuple[TieRequest, ...],
    mode: Literal["omit", "alias"] | None = None,
    *,
    link: bool = False,
) -> Do:
    """A run of `tie`."""

    def do(source: Path, target: Path | None) -> object:
        return tiecli.tie(source, requests, _target(source, target, link=link), mode=mode)

    return do


def untie(source: Path, target: Path | None) -> object:
    """A run of `untie`."""
    return tiecli.untie(source, _target(source, target))


def _target(source: Path, target: Path | None, *, link: bool = False) -> Any:
    return target and tiecli.Target(target, in_place=source == target, kept_files="hardlink" if link else "copy")


def make_item(directory: Path) -> Path:
    """An item with four leaves in a database, and a file of somebody else's."""
    item = _copy("pytree", directory)
    _keep_four(item)
    values = {key: value for key, value in read_database(item, "").values.items() if _is_kept(key)}
    encoded = encode_database(values)
    shutil.rmtree(item / "d")
    (item / "d").mkdir()
    (item / "manifest.ocdbt").write_bytes(encoded.manifest)
    (item / encoded.node_file).write_bytes(encoded.nodes)
    (item / "notes.txt").write_text("mine")
    return item


def make_files(directory: Path) -> Path:
    """The same with a file for every chunk."""
    item = _copy("files-zarr2", directory)
    _keep_four(item)
    for leaf in item.iterdir():
        if leaf.is_dir() and (leaf / ".zarray").exists() and not _is_kept(f"{leaf.name}/"):
            shutil.rmtree(leaf)
    return item


def make_step(directory: Path) -> Path:
    """A step with two trees and a JSON item, whose directory is read-only."""
    shutil.copytree(FIXTURES / "items" / "2", directory / "2")
    shutil.rmtree(directory / "2" / "opt_state" / "ocdbt.process_0")
    (directory / "2" / "cfg").chmod(0o555)
    return directory / "2"


def make_root(directory: Path) -> Path:
    """A CheckpointManager's directory with two steps."""
    return _copy("named-steps", directory)


def make_tied(directory: Path) -> Path:
    """An item that is tied: one alias shares bytes, one has to be encoded anew."""
    source = make_item(directory)
    shared, tied = directory / "shared", directory / "tied"
    tie(DECODER[:1], "alias")(source, shared)
    tie(DECODER[1:], "omit")(shared, tied)
    shutil.rmtree(source)
    shutil.rmtree(shared)
    return tied


def make_tied_files(directory: Path) -> Path:
    """The same with a file for every chunk."""
    source, tied = make_files(directory), directory / "tied"
    tie(DECODER, "alias")(source, tied)
    shutil.rmtree(source)
    return tied


def _copy(fixture: str, directory: Path) -> Path:
    shutil.copytree(FIXTURES / fixture, directory / "source")
    return directory / "source"


def _is_kept(key: str) -> bool:
    return key.startswith(tuple(f"{name}/" for name in (EMBED, DRAFT, HEAD, NORM)))


def _keep_four(item: Path) -> None:
    """Leaves the other leaves out of the tree, so that fewer steps are the same tests."""
    document = json.loads((item / "_METADATA").read_text())
    entries = document["tree_metadata"]
    for name, entry in list(entries.items()):
        if not _is_kept(".".join(str(key["key"]) for key in entry["key_metadata"]) + "/"):
            del entries[name]
    (item / "_METADATA").write_text(json.dumps(document))


def read_leaves(checkpoint: Path) -> dict[KeyPath, bytes]:
    """The values of all leaves."""
    with tiecli.open_reader(checkpoint) as reader:
        found = {}
        for path, spec in reader.specs().items():
            found[path] = bytearray(spec.nbytes)
            reader.read_into(path, 0, memoryview(found[path]))
    return {path: bytes(raw) for path, raw in found.items()}


def restore(backup: Path, source: Path) -> None:
    """Puts a source back as it was, links between its files too."""
    seen: dict[int, str] = {}

    def copy_one(one: str, other: str) -> str:
        inode = Path(one).stat().st_ino
        if inode in seen:
            os.link(seen[inode], other)
        else:
            seen[inode] = str(shutil.copy2(one, other))
        return other

    shutil.copytree(backup, source, copy_function=copy_one)


NEW = (
    Case("item", make_item, tie(DECODER, "alias"), untie),
    Case("item, data files linked", make_item, tie(DECODER, "omit", link=True), untie),
    Case("item, a file a chunk", make_files, tie(DECODER, "alias"), untie),
    Case("root of steps", make_root, tie(MODEL), untie),
    Case("untie", make_tied, untie, tie(DECODER)),
)
IN_PLACE = (
    Case("item", make_item, tie(DECODER, "alias"), untie),
    Case("item, a file a chunk", make_files, tie(DECODER, "omit"), untie),
    Case("item of a step", lambda directory: make_step(directory) / "params", tie(PARAMS), untie),
    Case("root of steps", make_root, tie(MODEL), untie),
    Case("untie, a file a chunk", make_tied_files, untie, tie(DECODER)),
)
