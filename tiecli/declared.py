"""Declared ties: every tie that a checkpoint states, and who states it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath

if TYPE_CHECKING:
    from tiecli.ties import TieSet

CONFIG = "config.json"
TieSource = Literal["manifest", "metadata", "config"]


@dataclass(frozen=True, slots=True)
class DeclaredTie:
    """One tie and who states it, in on-disk names: `inspect` needs no more, and starts sooner.

    Attributes:
        alias: The leaf that follows; it may be stored all the same.
        canonical: The leaf it follows from; several are written `(a, b)`.
        transform: How, in canonical text.
        source: tiecli's manifest, the file's own metadata, or the model's config.
        origin: The same for people, with the key or class that says so.
    """

    alias: str
    canonical: str
    transform: str
    source: TieSource
    origin: str


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
            DeclaredTie(tie.alias.spelling, tie.canonical, str(tie.transform), "manifest", "tiecli's manifest")
            for tie in manifest.ties
        ]
    found += _metadata_ties(metadata, reader.specs())
    if config is not None:
        from tiecli.architectures import declared_ties

        names = {path.spelling for path in reader.specs()}

        found += [
            DeclaredTie(known.alias, known.canonical, "same", "config", known.origin)
            for known in declared_ties(config, names)
        ]
    first: dict[str, DeclaredTie] = {}
    for tie in found:
        first.setdefault(tie.alias, tie)
    return tuple(first.values())


def list_open_ties(reader: CheckpointReader) -> TieSet:
    """Lists the ties whose alias is not stored: those that `untie` can end.

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
    ties = []
    for declared in list_ties(reader):
        alias = KeyPath.from_name(declared.alias)
        if alias not in specs:
            ties.append(recorded.get(alias) or Tie(alias, (KeyPath.from_name(declared.canonical),), SAME))
    return TieSet(tuple(ties))


def _metadata_ties(metadata: Mapping[str, str], stored: Collection[KeyPath]) -> list[DeclaredTie]:
    # Source: safetensors 0.8.0 `torch.save_model`; huggingface_hub puts the same pairs into the index.
    return [
        DeclaredTie(alias, kept, "same", "metadata", "the file's metadata")
        for alias, kept in metadata.items()
        # `format` names a framework, though a leaf may be called `pt`.
        if alias != "format" and KeyPath.from_name(kept) in stored and KeyPath.from_name(alias) not in stored
    ]
