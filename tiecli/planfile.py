"""Plan files: ties as `find --plan` writes them and `tie --plan` reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tiecli.errors import PlanFileError, TiecliError
from tiecli.keypaths import Key, KeyPath
from tiecli.plan import TieRequest
from tiecli.transforms import Transform

SCHEMA = "tiecli.plan/1"


def plan_to_json(requests: Sequence[TieRequest]) -> dict[str, object]:
    """Gives requests as data; see docs/schemas/plan.schema.json."""
    ties = [
        {"src": _spell(request.src), "dst": _spell(request.dst)}
        | ({} if request.transform is None else {"transform": str(request.transform)})
        for request in requests
    ]
    return {"schema": SCHEMA, "ties": ties}


def _spell(leaf: str | KeyPath) -> str | list[Key]:
    """Spells a leaf as people see it; by its keys, one by one, where that could be read in another way."""
    if isinstance(leaf, str):
        return leaf
    return leaf.spelling if leaf.spelling == str(leaf) else list(leaf.keys)


def parse_plan(text: str, name: str) -> list[TieRequest]:
    """Reads requests back.

    Args:
        text: The file's contents.
        name: The file's name, for errors.

    Raises:
        PlanFileError: It is damaged (says where) or of another version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanFileError(f"`{name}` is not JSON: {error}", _HINT) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise PlanFileError(f"`{name}`: schema is {schema!r:.60}, expected `{SCHEMA}`", _HINT)
    ties = document.get("ties")
    if not isinstance(ties, list):
        raise PlanFileError(f"`{name}`: ties is {ties!r:.60}, expected a list", _HINT)
    return [_parse_tie(entry, f"`{name}`: ties[{i}]") for i, entry in enumerate(ties)]


def _parse_tie(entry: object, place: str) -> TieRequest:
    members = entry if isinstance(entry, dict) else {}
    src, dst = (_parse_leaf(members.get(side)) for side in ("src", "dst"))
    if src is None or dst is None:
        raise PlanFileError(f"{place} is {entry!r:.80}, expected src and dst as strings or lists of keys", _HINT)
    unknown = sorted(set(members) - {"src", "dst", "transform"})
    if unknown:
        raise PlanFileError(f"{place} has unknown keys: {', '.join(map(str, unknown)):.80}", _HINT)
    transform = members.get("transform")
    if transform is None:
        return TieRequest(src, dst)
    try:
        return TieRequest(src, dst, Transform.parse(transform))
    except (TiecliError, TypeError, AttributeError) as error:
        raise PlanFileError(f"{place}.transform: {error}", _HINT) from error


def _parse_leaf(value: object) -> str | KeyPath | None:
    """Reads how one side is spelled; None if it is not."""
    if isinstance(value, list) and all(type(key) in (str, int) for key in value):
        return KeyPath(tuple(value))
    return value if isinstance(value, str) else None


_HINT = "`tiecli find --plan FILE` writes one; docs/json.md describes it."
