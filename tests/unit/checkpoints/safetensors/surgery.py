"""Tying and untying by the door alone, with nothing proved: what the tests of writing share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiecli.checkpoints import open_reader, open_writer
from tiecli.checkpoints.protocol import CheckpointReader, CommitReport, KeptFiles, Metadata, Target
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import Manifest, TieRecord
from tiecli.ties import Tie
from tiecli.transforms import SAME

DIGEST = "xxh3_128:" + "0" * 32


def record_same(alias: str, canonical: str, spec: LeafSpec) -> TieRecord:
    """The record of an identity tie, its digests left out."""
    tie = Tie(KeyPath.from_name(alias), (KeyPath.from_name(canonical),), SAME)
    return TieRecord(tie, spec, (spec,), DIGEST, (DIGEST,))


def metadata_of(records: Sequence[TieRecord], texts: Mapping[str, str] | None = None) -> Metadata:
    """What is committed with these ties."""
    conventional = {record.tie.alias.spelling: record.tie.canonical for record in records}
    return Metadata(Manifest(tuple(records)) if records else None, conventional, texts or {})


def read_blocks(reader: CheckpointReader, path: KeyPath) -> Iterator[memoryview]:
    """The bytes of a leaf, a few at a time."""
    nbytes = reader.extent(path).nbytes
    for start in range(0, nbytes, 1000):
        block = memoryview(bytearray(min(1000, nbytes - start)))
        reader.read_into(path, start, block)
        yield block


def tie(
    source: Path,
    target: Path,
    pairs: Mapping[str, str],
    *,
    texts: Mapping[str, str] | None = None,
    kept_files: KeptFiles = "copy",
    sync: bool = False,
) -> CommitReport:
    """Ties aliases to canonical leaves; in place where target and source are one."""
    with open_reader(source) as reader:
        specs, manifest = reader.specs(), reader.manifest()
        records = [
            *(manifest.records if manifest else ()),
            *(record_same(alias, canonical, specs[KeyPath.from_name(alias)]) for alias, canonical in pairs.items()),
        ]
        with open_writer(reader, Target(target, source == target, kept_files, sync)) as writer:
            for path in specs:
                if path.spelling not in pairs:
                    writer.keep(path)
            return writer.commit(metadata_of(records, texts))


def untie(source: Path, target: Path, *aliases: str, sync: bool = False) -> CommitReport:
    """Unties the aliases named, or all."""
    with open_reader(source) as reader:
        manifest = reader.manifest()
        assert manifest is not None
        gone = [record for record in manifest.records if not aliases or record.tie.alias.spelling in aliases]
        left = [record for record in manifest.records if record not in gone]
        with open_writer(reader, Target(target, source == target, sync=sync)) as writer:
            for path in reader.specs():
                writer.keep(path)
            for record in gone:
                (canonical,) = record.tie.canonicals
                writer.write(record.tie.alias, record.alias_spec, read_blocks(reader, canonical), canonical)
            return writer.commit(metadata_of(left))


def take_stock(path: Path) -> dict[str, object]:
    """Everything below a path: contents, permissions, links; two equal stocks are equal trees."""
    stock: dict[str, object] = {}
    for at in sorted([path, *path.rglob("*")]):
        name = str(at.relative_to(path))
        if at.is_symlink():
            stock[name] = ("link", str(at.readlink()))
        elif at.is_dir():
            stock[name] = ("directory", at.stat().st_mode)
        elif not at.is_file():
            stock[name] = ("other", at.stat().st_mode)
        else:
            stock[name] = (at.read_bytes(), at.stat().st_mode)
    return stock
