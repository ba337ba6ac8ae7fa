"""Declared ties: every tie that a checkpoint states, and who states it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath, spell_leaves

if TYPE_CHECKING:
    from tiecli.ties import TieSet

CONFIG = "config.json"
TieSource = Literal["manifest", "metadata", "config"]


@dataclass(frozen=True, slots=True)
class DeclaredTie:
    """One tie and who states it: `inspect` needs no parsed transform, and starts sooner without.

    Attributes:
        alias: The leaf that follows; it may be stored all the same.
        canonicals: The leaves it follows from; one, but for `concat` and `stack`.
        transform: How, in canonical text.
        source: tiecli's manifest, the file's own metadata, or the model's config.
        origin: The same for people, with the key or class that says so.
    """

    alias: KeyPath
    canonicals: tuple[KeyPath, ...]
    transform: str
    source: TieSource
    origin: str

    @property
    def canonical(self) -> str:
        """What it follows from as people see it; several are written `(a, b)`."""
        return spell_leaves(self.canonicals)


def list_ties(reader: CheckpointReader) -> tuple[DeclaredTie, ...]:
    """Lists the ties that a checkpoint states; the first to name an alias wins.

    The manifest is asked first, then the metadata in the convention of
    `safetensors.torch.save_model` (`alias -> canonical`), then `config.json`.

    Raises:
        ManifestError: The manifest is damaged.
        ConfigFileError: `config.json` is damaged.
    """
    manifest, metadata, config = reader.manifest(), reader.metadata(), reader.text(CONFIG)
    if manifest is None and not metadata and config is None:
        return ()
    found: list[DeclaredTie] = []
    if manifest is not None:
        found += [
            DeclaredTie(tie.alias, tie.canonicals, str(tie.transform), "manifest", "tiecli's manifest")
            for tie in manifest.ties
        ]
    if reader.format == "safetensors":
        # The convention is that of names in a safetensors file; elsewhere such a pair means nothing.
        found += _metadata_ties(metadata, reader.specs())
    if config is not None:
        from tiecli.architectures import declared_ties

        names = {path.spelling for path in reader.specs()}

        found += [
            _declare(known.alias, known.canonical, "config", known.origin) for known in declared_ties(config, names)
        ]
    first: dict[KeyPath, DeclaredTie] = {}
    for tie in found:
        first.setdefault(tie.alias, tie)
    return tuple(first.values())


def list_shared(reader: CheckpointReader) -> frozenset[KeyPath]:
    """Lists the aliases of the manifest that are second names of their canonical leaves' stored bytes.

    Raises:
        ManifestError: The manifest is damaged.
    """
    manifest, specs = reader.manifest(), reader.specs()
    return frozenset(
        record.tie.alias
        for record in (manifest.records if manifest else ())
        if record.mode == "alias"
        and specs.keys() >= {record.tie.alias, *record.tie.canonicals}
        and reader.shares_bytes(record.tie.alias, record.tie.canonicals[0])
    )


def list_open_ties(reader: CheckpointReader) -> TieSet:
    """Lists the ties whose alias has no stored bytes of its own: those that `untie` can end.

    Raises:
        ManifestError: The manifest is damaged.
        ConfigFileError: `config.json` is damaged.
        TieConflictError: What is declared contradicts itself.
    """
    from tiecli.ties import Tie, TieSet
    from tiecli.transforms import SAME

    specs = reader.specs()
    manifest = reader.manifest()
    recorded = manifest.ties.by_alias if manifest else {}
    ties, shared = [], list_shared(reader)
    for declared in list_ties(reader):
        alias = declared.alias
        if alias not in specs or alias in shared:
            ties.append(recorded.get(alias) or Tie(alias, declared.canonicals, SAME))
    return TieSet(tuple(ties))


def _metadata_ties(metadata: Mapping[str, str], stored: Collection[KeyPath]) -> list[DeclaredTie]:
    # Source: safetensors 0.8.0 `torch.save_model`; huggingface_hub puts the same pairs into the index.
    return [
        _declare(alias, kept, "metadata", "the file's metadata")
        for alias, kept in metadata.items()
        # `format` names a framework, though a leaf may be called `pt`.
        if alias != "format" and KeyPath.from_name(kept) in stored and KeyPath.from_name(alias) not in stored
    ]


def _declare(alias: str, canonical: str, source: TieSource, origin: str) -> DeclaredTie:
    """Builds a tie from names as Hugging Face's files spell them."""
    return DeclaredTie(KeyPath.from_name(alias), (KeyPath.from_name(canonical),), "same", source, origin)
