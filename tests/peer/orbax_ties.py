"""The ties that the layouts of `fixtures/orbax_layouts.py` hold, and what stock Orbax itself cannot restore of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.peer.orbax_restores import Attempt, Part, list_parts
from tiecli.plan import TieRequest
from tiecli.transforms import Transform

ROOT = Path(__file__).parents[2] / "fixtures" / "orbax"
LAYOUTS = tuple(sorted(path.name for path in ROOT.glob("*") if path.is_dir()))

Named = tuple[str, str, str]
"""A tie: canonical leaf, alias, transform."""

_DECODER: tuple[Named, ...] = (
    ("params.token_embedder.embedding", "drafter.token_embedder.embedding", "same"),
    ("params.token_embedder.embedding", "params.decoder.logits_dense.kernel", "transpose"),
)
_PARAMS: tuple[Named, ...] = (
    ("embed.embedding", "tied.embedding", "same"),
    ("embed.embedding", "lm_head.kernel", "transpose"),
)
_NNX: tuple[Named, ...] = (
    ("layers.0.kernel", "layers.1.kernel", "same"),
    ("wte.embedding", "lm_head.kernel", "transpose"),
)


def _below(place: str, ties: tuple[Named, ...]) -> tuple[Named, ...]:
    return tuple((f"{place}.{src}", f"{place}.{dst}", transform) for src, dst, transform in ties)


def _turn(*places: str) -> tuple[Named, ...]:
    ties = (("left", "right", "same"), ("left", "turned", "transpose"))
    return tuple(tie for place in places for tie in _below(place, ties))


_OPTAX = (*_below("params", _PARAMS), *_below("opt_state[1][0].mu", _PARAMS))
_DTYPES = _turn(
    *("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int16", "int32", "uint32", "bool"),
    *("complex64", "float64", "int64"),
)
_NODES: tuple[Named, ...] = (
    ("arrays.embedding", "arrays.copy", "same"),
    ("arrays.embedding", "arrays.head", "transpose"),
    ("device.copy", "device.embedding", "same"),
    ("device.copy", "device.head", "transpose"),
    ("layers[1].kernel", "layers[0].kernel", "same"),
    ("pair[0]", "pair[1]", "transpose"),
    ("rng.dropout", "rng.params", "same"),
)
_ODD_NAMES: tuple[Named, ...] = (
    ('"a.b".kernel', "a/b.kernel", "same"),
    ('"a.b".kernel', "decoder/~/head.w", "transpose"),
    ("größer.kernel", "white space.kernel", "same"),
    ("5", '"[0]".kernel', "same"),
    ("5", '"double\\"d".kernel', "same"),
    ("5", "back\\slash.kernel", "same"),
)
_TIES: Mapping[str, tuple[Named, ...]] = {
    "standard": (
        ("shared.embedding", "{encoder,decoder}.embed_tokens.embedding", "same"),
        ("shared.embedding", "lm_head.kernel", "transpose"),
    ),
    **dict.fromkeys(("nnx", "named-steps", "steps", "v1-training", "two-processes"), _NNX),
    **dict.fromkeys(("sharded", "sharded-files", "sharded-zarr3", "many-chunks", "many-chunks-zarr3"), _NNX),
    "maxtext": (("params", "reference_params", "same"), *_below("params", _DECODER[1:])),
    **dict.fromkeys(("optax", "rich"), _OPTAX),
    **dict.fromkeys(("dtypes", "dtypes-zarr3"), _DTYPES),
    **dict.fromkeys(("nodes", "nodes-zarr3"), _NODES),
    **dict.fromkeys(("odd-names", "odd-names-zarr3"), _ODD_NAMES),
}


class Case(NamedTuple):
    """One item of one layout, with ties that hold in it.

    Attributes:
        layout: The name of the layout.
        item: The name of the item; None where there is only one.
        ties: What may be tied in it.
    """

    layout: str
    item: str | None
    ties: tuple[Named, ...]

    @property
    def root(self) -> Path:
        """The checkpoint."""
        return ROOT / self.layout

    @property
    def requests(self) -> tuple[TieRequest, ...]:
        """The ties as the verb takes them."""
        return tuple(TieRequest(src, dst, Transform.parse(transform)) for src, dst, transform in self.ties)

    @property
    def part(self) -> Part:
        """The item, at the latest step where there are steps."""
        return find_part(self.root, self.item)

    def __str__(self) -> str:
        return self.layout if self.item is None else f"{self.layout}/{self.item}"


def find_part(root: Path, item: str | None) -> Part:
    """Finds an item by its name, at the latest step; the last one without a name."""
    return [part for part in list_parts(root) if item in (None, part.item)][-1]


def _list_cases(layout: str) -> tuple[Case, ...]:
    if layout in ("items", "v1-items"):
        return (Case(layout, "params", _PARAMS), Case(layout, "opt_state", _below("[1][0].mu", _PARAMS)))
    return (Case(layout, None, _TIES.get(layout, _DECODER)),)


CASES = tuple(case for layout in LAYOUTS if layout != "packed" for case in _list_cases(layout))
"""Every item of every layout that tiecli reads."""


def can_restore(layout: str, attempt: Attempt) -> bool:
    """Whether stock Orbax restores its own checkpoint in a way; the few that it does not are listed here."""
    if layout == "two-processes":  # as saved: on devices of another process
        return attempt.form != "found" or attempt.way == "arguments"
    if layout in ("nodes", "nodes-zarr3"):  # a StandardCheckpointer takes no text in a target
        return attempt.way != "standard" or attempt.form == "found"
    return (layout, *attempt) != ("v1-training", "manager", "found")  # the old API knows no handler of the new
