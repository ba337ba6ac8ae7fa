"""Tying: every tie that a checkpoint, its config or the project's settings speak about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tiecli.architectures.pairs import known_pairs
from tiecli.errors import TiecliError
from tiecli.keypaths import KeyPath, spell_leaves

if TYPE_CHECKING:
    from tiecli.lint.declaring import DeclaredPair
    from tiecli.lint.subject import Subject
    from tiecli.manifest import Manifest

MANIFEST_KEY = "tiecli"


@dataclass(frozen=True, slots=True)
class StatedTie:
    """One pair of leaves that something speaks about, stored or not.

    Attributes:
        alias: The leaf that follows.
        canonical: The leaf it follows from; several are written `(a, b)`.
        transform: How, in text form.
        tied: Whether it is to be tied. False only of a pair that the config's class would tie
            and whose flag says no.
        origin: Who says so, for people.
        source: The same for rules.
        disputed: Whether transformers 4 and 5 read the flag differently. `tied` is true then,
            and TIE005 and TIE006 say what is the matter; other rules had better keep silent.
        guessed: Whether only the names make it a pair, the class being unknown.
        parts: The leaves that `canonical` lists, where it is several; for manifests.
    """

    alias: str
    canonical: str
    transform: str
    tied: bool
    origin: str
    source: Literal["config", "settings", "manifest", "metadata"]
    disputed: bool = False
    guessed: bool = False
    parts: tuple[str, ...] = ()


def list_stated(subject: Subject) -> tuple[StatedTie, ...]:
    """Lists what config, settings, manifest and metadata say about pairs of leaves, in that order.

    Works on damaged checkpoints as far as their headers can be read; a damaged manifest says nothing.
    A pair that several speak about is listed as often.
    """
    stated: list[StatedTie] = []
    names = list_names(subject)
    if subject.config is not None:
        stated += [
            StatedTie(
                pair.alias,
                pair.canonical,
                "same",
                pair.newer or pair.older,
                pair.origin,
                "config",
                pair.newer != pair.older,
                pair.guessed,
            )
            for pair in known_pairs(subject.config, names)
        ]
    recorded = [*_from_manifests(subject), *_from_metadata(subject, names)]
    if subject.declared:
        known = {*names, *(name for tie in (*stated, *recorded) for name in (tie.alias, tie.canonical))}
        for pair in subject.declared:
            stated += _expand(pair, known)
    return (*stated, *recorded)


def list_names(subject: Subject) -> Collection[str]:
    """Lists the names of all leaves, those whose shape or dtype makes no sense included."""
    if any(file.damages for file in subject.files):
        return subject.homes.keys()
    return subject.specs.keys()


def _expand(pair: DeclaredPair, names: Collection[str]) -> Iterator[StatedTie]:
    """Expands the patterns of a declared tie; what pairs up with nothing here is meant for other checkpoints."""
    from tiecli.patterns import pair_leaves

    paths = {KeyPath.from_name(name): name for name in names}
    origin = "the project's settings"
    try:
        for sources, alias in pair_leaves(pair.src, pair.dst, paths):
            shown = spell_leaves(sources)
            parts = tuple(path.spelling for path in sources) if len(sources) > 1 else ()
            yield StatedTie(alias.spelling, shown, pair.transform, True, origin, "settings", parts=parts)
    except TiecliError:
        if not {"*", "{", "("} & {*pair.src, *pair.dst} and {pair.src, pair.dst} & {*names}:
            yield StatedTie(pair.dst, pair.src, pair.transform, True, origin, "settings")


def _from_manifests(subject: Subject) -> Iterator[StatedTie]:
    """Lists the ties of tiecli's manifest; of a damaged one none."""
    for manifest in _read_manifests(subject):
        for tie in manifest.ties:
            parts = tuple(path.spelling for path in tie.canonicals) if len(tie.canonicals) > 1 else ()
            alias, canonical = tie.alias.spelling, spell_leaves(tie.canonicals)
            yield StatedTie(alias, canonical, str(tie.transform), True, "tiecli's manifest", "manifest", parts=parts)


def _read_manifests(subject: Subject) -> Iterator[Manifest]:
    if subject.unit.format == "safetensors":
        texts = [
            file.metadata[MANIFEST_KEY] for file in subject.files if file.metadata and MANIFEST_KEY in file.metadata
        ]
        texts += [value] if (value := list_index_metadata(subject).get(MANIFEST_KEY)) else []
        if not texts:
            return
        from tiecli.manifest import Manifest

        for text in dict.fromkeys(text for text in texts if isinstance(text, str)):
            try:
                yield Manifest.from_json(text)
            except TiecliError:
                continue
    elif subject.reader is not None:
        try:
            manifest = subject.reader.manifest()
        except TiecliError:
            return
        if manifest is not None:
            yield manifest


def list_index_metadata(subject: Subject) -> Mapping[str, Any]:
    """Gives the metadata of the shard index; empty without one."""
    index = subject.safetensors.shard_index if subject.unit.format == "safetensors" else None
    metadata = index.document.get("metadata") if index and index.document else None
    return metadata if isinstance(metadata, dict) else {}


def _from_metadata(subject: Subject, names: Collection[str]) -> Iterator[StatedTie]:
    """Lists `alias -> canonical` strings, as `safetensors.torch.save_model` writes them."""
    seen: dict[tuple[str, str], None] = {}
    for metadata in (*(file.metadata for file in subject.files if file.metadata), list_index_metadata(subject)):
        for alias, canonical in metadata.items():
            if isinstance(canonical, str) and canonical in names and alias != "format":
                seen[alias, canonical] = None
    for alias, canonical in seen:
        yield StatedTie(alias, canonical, "same", True, "the file's metadata", "metadata")
