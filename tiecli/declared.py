"""Declared ties: every tie that a checkpoint states, and who states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tiecli.architectures import declared_ties
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME

TieSource = Literal["manifest", "metadata", "config"]


@dataclass(frozen=True, slots=True)
class DeclaredTie:
    """One tie and who states it.

    Attributes:
        tie: Which leaf follows from which.
        source: tiecli's manifest, the file's own metadata, or the model's config.
        origin: The same for people, with the key or class that says so.
    """

    tie: Tie
    source: TieSource
    origin: str


def list_ties(reader: CheckpointReader) -> tuple[DeclaredTie, ...]:
    """Lists the ties that a checkpoint states; the first to name an alias wins.

    The manifest is asked first, then the metadata in the convention of
    `safetensors.torch.save_model` (`alias -> canonical`), then `config.json`.

    Raises:
        ManifestError: The manifest is damaged, or its canonical leaf is gone.
        ConfigFileError: `config.json` is damaged.
    """
    specs = reader.specs()
    names = {path.spelling for path in specs}
    manifest = reader.manifest()
    found = [DeclaredTie(tie, "manifest", "tiecli's manifest") for tie in (manifest.ties if manifest else ())]
    found += _metadata_ties(reader.metadata(), names)
    for declared in declared_ties(reader.text("config.json"), names):
        tie = Tie(KeyPath.from_name(declared.alias), (KeyPath.from_name(declared.canonical),), SAME)
        found.append(DeclaredTie(tie, "config", declared.origin))
    first: dict[KeyPath, DeclaredTie] = {}
    for declaration in found:
        first.setdefault(declaration.tie.alias, declaration)
    return tuple(first.values())


def list_open_ties(reader: CheckpointReader) -> TieSet:
    """Lists the ties whose alias is not stored: those that `untie` can end."""
    specs: Mapping[KeyPath, LeafSpec] = reader.specs()
    return TieSet(tuple(known.tie for known in list_ties(reader) if known.tie.alias not in specs))


def _metadata_ties(metadata: Mapping[str, str], names: set[str]) -> list[DeclaredTie]:
    # Source: safetensors 0.8.0 `torch.save_model`; huggingface_hub puts the same pairs into the index.
    return [
        DeclaredTie(Tie(KeyPath.from_name(alias), (KeyPath.from_name(kept),), SAME), "metadata", "the file's metadata")
        for alias, kept in metadata.items()
        if kept in names and alias not in names
    ]
