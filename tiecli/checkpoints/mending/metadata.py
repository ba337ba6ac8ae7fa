"""Metadata: what headers and index say of leaves in words, the ties among it, follows leaves that change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tiecli.errors import FixError, TiecliError
from tiecli.keypaths import KeyPath
from tiecli.manifest import KEY, Manifest, TieRecord
from tiecli.ties import Tie

_FORMAT = "format"


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of leaves and files, as far as others speak about them.

    Attributes:
        renamed: Leaves with new names.
        gone: Leaves that no file stores any more.
        moved: Files with new names.
    """

    renamed: Mapping[str, str]
    gone: Collection[str]
    moved: Mapping[str, str]


def follow(metadata: Mapping[str, Any], turn: Turn, changes: Mapping[str, str | None]) -> dict[str, Any]:
    """Gives the metadata that fits the leaves after a turn.

    An alias in the convention of `safetensors.torch.save_model`, `alias -> canonical`, follows
    its canonical leaf's new name; where that is the alias's own, the two change places.

    Args:
        metadata: Of a file or an index.
        turn: What becomes of the leaves.
        changes: What is asked for besides; None removes a string.

    Raises:
        FixError: A tie would lose its canonical leaf, or a stored leaf be an alias as well.
    """
    new: dict[str, Any] = {}
    for key, value in metadata.items():
        if key == KEY and isinstance(value, str):
            new[key] = _follow_manifest(value, turn)
        elif key == _FORMAT or not isinstance(value, str) or value not in turn.renamed:
            new[key] = value
        elif turn.renamed[value] == key:
            new[value] = key
        else:
            new[key] = turn.renamed[value]
    new |= {key: text for key, text in changes.items() if text is not None}
    new = {key: value for key, value in new.items() if changes.get(key, "") is not None}
    came = set(turn.renamed.values()) - changes.keys()
    for key, value in new.items():
        if key in (KEY, _FORMAT) or not isinstance(value, str):
            continue
        if value in turn.gone:
            raise FixError(f"`{key}` follows from `{value}`, which therefore has to stay")
        if key in came:
            raise FixError(f"`{key}` is the name of an alias of `{value}` already")
    return new


def _follow_manifest(text: str, turn: Turn) -> str:
    """Has tiecli's own record of ties follow.

    Raises:
        FixError: It is damaged, or a tie would lose its canonical leaf or meet another leaf.
    """
    try:
        manifest = Manifest.from_json(text)
        records = tuple(_follow_record(record, turn) for record in manifest.records)
        originals = {turn.moved.get(name, name): original for name, original in manifest.originals.items()}
        if records == manifest.records and originals.keys() == manifest.originals.keys():
            return text
        return replace(manifest, records=records, originals=originals).to_json()
    except FixError:
        raise
    except TiecliError as error:
        if not turn.renamed and not turn.gone and not turn.moved:
            return text
        raise FixError(f"tiecli's manifest cannot follow: {error.message}", *error.hints) from error


def _follow_record(record: TieRecord, turn: Turn) -> TieRecord:
    tie = record.tie
    for path in tie.canonicals:
        if path.spelling in turn.gone:
            raise FixError(f"`{tie.alias.spelling}` is tied to `{path.spelling}`, which therefore has to stay")
    alias = tie.alias.spelling
    if alias in turn.renamed.values() and alias not in turn.renamed:
        raise FixError(
            f"`{alias}` is tied, and no stored leaf can have its name", "Untie it first, with `tiecli untie`."
        )
    canonicals = tuple(_rename(path, turn) for path in tie.canonicals)
    return replace(record, tie=Tie(_rename(tie.alias, turn), canonicals, tie.transform))


def _rename(path: KeyPath, turn: Turn) -> KeyPath:
    name = turn.renamed.get(path.spelling)
    return path if name is None else KeyPath.from_name(name)
