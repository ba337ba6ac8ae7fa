"""Indexes: the rows, sizes and ties of a shard index follow what becomes of the shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tiecli.architectures.jsontexts import Edits
from tiecli.checkpoints.mending.texts import edit_text
from tiecli.checkpoints.safetensors.originals import encode_index
from tiecli.checkpoints.survey.indexes import IndexSurvey
from tiecli.errors import FixError
from tiecli.leaves import LeafSpec

Holdings = Mapping[str, Mapping[str, LeafSpec | None]]
"""By file, the leaves that it holds; None for the spec of one that has no valid one."""

_SIZES: Mapping[str, Callable[[LeafSpec], int]] = {
    "total_size": lambda spec: spec.nbytes,
    "total_parameters": lambda spec: spec.size,
}


def rebuild_rows(rows: Mapping[str, str], holdings: Holdings) -> dict[str, str]:
    """Gives each stored leaf its row: the one it has if that is right, else one for the first file that holds it."""
    found: dict[str, str] = {}
    for file, leaves in holdings.items():
        for leaf in leaves:
            row = rows.get(leaf, "")
            found.setdefault(leaf, row if leaf in holdings.get(row, ()) else file)
    return found


def correct_sizes(
    metadata: Mapping[str, Any], rows: tuple[Mapping[str, str], Mapping[str, str]], holdings: tuple[Holdings, Holdings]
) -> dict[str, int]:
    """Gives the totals that were right before a change, and are others after it.

    Args:
        metadata: Of the index.
        rows: Its rows, before and after.
        holdings: The leaves of each file, before and after.
    """
    corrected: dict[str, int] = {}
    for key, measure in _SIZES.items():
        before = metadata.get(key)
        if type(before) is not int:
            continue
        for total in (_total_stored, _total_indexed):
            if total(rows[0], holdings[0], measure) == before:
                after = total(rows[1], holdings[1], measure)
                if after != before:
                    corrected[key] = after
                break
    return corrected


def total_size(holdings: Holdings) -> int:
    """Adds up the bytes of all leaves, each once."""
    return _total_stored({}, holdings, _SIZES["total_size"])


def _total_stored(_: Mapping[str, str], holdings: Holdings, measure: Callable[[LeafSpec], int]) -> int:
    leaves = {leaf: spec for each in holdings.values() for leaf, spec in each.items()}
    return sum(measure(spec) for spec in leaves.values() if spec is not None)


def _total_indexed(rows: Mapping[str, str], holdings: Holdings, measure: Callable[[LeafSpec], int]) -> int:
    specs = (holdings.get(file, {}).get(leaf) for leaf, file in rows.items())
    return sum(measure(spec) for spec in specs if spec is not None)


def write_index(
    index: IndexSurvey, rows: Mapping[str, str], metadata: Mapping[str, Any], members: Edits, *, anew: bool
) -> bytes:
    """Writes an index; where it can be kept, all else in it stays as it is, to the letter.

    Args:
        index: As it is now.
        rows: The rows it gets.
        metadata: The metadata it gets.
        members: What else is to change in it.
        anew: Whether all may be written anew where it is damaged.

    Raises:
        FixError: It is damaged, and not to be written anew.
    """
    known = index.document or {}
    old = known.get("metadata")
    old = old if isinstance(old, dict) else {}
    edits: dict[tuple[str, ...], Mapping[str, str | None]] = {
        ("weight_map",): {
            **{leaf: None for leaf in index.weight_map if leaf not in rows},
            **{leaf: json.dumps(file) for leaf, file in rows.items() if index.weight_map.get(leaf) != file},
        },
        ("metadata",): {
            **{key: None for key in old if key not in metadata},
            **{key: _encode(value) for key, value in metadata.items() if key not in old or old[key] != value},
        },
    }
    edits = {place: {**changes, **members.get(place, {})} for place, changes in edits.items()}
    edits |= {place: changes for place, changes in members.items() if place not in edits}
    edits = {place: changes for place, changes in edits.items() if changes}
    if not anew or not index.problems:
        try:
            return edit_text(index.raw, index.name, edits)
        except FixError:
            if not anew:
                raise
    document = {**known, "metadata": dict(metadata), "weight_map": dict(sorted(rows.items()))}
    try:
        written = encode_index(document)
    except (ValueError, RecursionError) as error:
        raise FixError(f"`{index.name}` holds what cannot be written: {error}") from error
    return edit_text(written, index.name, members)


def _encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
