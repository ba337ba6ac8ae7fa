"""Plan files: ties as `find --plan` writes them and `tie --plan` reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tiecli.errors import PlanFileError, TiecliError
from tiecli.plan import TieRequest
from tiecli.transforms import Transform

SCHEMA = "tiecli.plan/1"


def plan_to_json(requests: Sequence[TieRequest]) -> dict[str, object]:
    """Gives requests as data; see docs/schemas/plan.schema.json."""
    ties = [
        {"src": request.src, "dst": request.dst}
        | ({} if request.transform is None else {"transform": str(request.transform)})
        for request in requests
    ]
    return {"schema": SCHEMA, "ties": ties}


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
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("src", "dst")):
        raise PlanFileError(f"{place} is {entry!r:.80}, expected src and dst as strings", _HINT)
    unknown = sorted(set(entry) - {"src", "dst", "transform"})
    if unknown:
        raise PlanFileError(f"{place} has unknown keys: {', '.join(map(str, unknown)):.80}", _HINT)
    transform = entry.get("transform")
    if transform is None:
        return TieRequest(entry["src"], entry["dst"])
    try:
        return TieRequest(entry["src"], entry["dst"], Transform.parse(transform))
    except (TiecliError, TypeError, AttributeError) as error:
        raise PlanFileError(f"{place}.transform: {error}", _HINT) from error


_HINT = "`tiecli find --plan FILE` writes one; docs/json.md describes it."
