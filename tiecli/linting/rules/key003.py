"""KEY003: a layer lacks a leaf that its like have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tiecli.checkpoints.wording import list_names
from tiecli.linting.exempt import is_state
from tiecli.linting.listing import knows_all_names
from tiecli.linting.naming import Layer, is_few, list_stacks
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

# So many layers have to be exactly alike, and to hold so many leaves, for another to be compared with them.
_FEWEST_ALIKE = 3
_FEWEST_LEAVES = 3
_MOST_KINDS = 8
# A layer that lacks more than a quarter, or one of a kind that an eighth of the layers is of, is meant to be so.
_QUARTER = 4


class _Gap(NamedTuple):
    """A layer that lacks something.

    Attributes:
        layer: Which one.
        lacking: What its names lack.
        others: How many layers have it.
    """

    layer: Layer
    lacking: frozenset[str]
    others: int


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a layer, for leaves that nothing says are meant to be absent."""
    if not subject.naming.uneven or not knows_all_names(subject):
        return
    index = subject.safetensors.shard_index
    known = set(index.weight_map) if index else set()
    known |= {name for tie in subject.stated for name in (tie.alias, tie.canonical)}
    for layers in list_stacks(subject.naming.names):
        for gap in _find_gaps(layers):
            leaves = [gap.layer.spell(rest) for rest in sorted(gap.lacking)]
            leaves = [leaf for leaf in leaves if leaf not in known and not is_state(leaf)]
            known.update(leaves)
            if leaves:
                them = list_names(leaves) if len(leaves) == 1 else f"{len(leaves):,} leaves, {list_names(leaves)}"
                yield Finding(
                    f"Layer {gap.layer.number:,} lacks {them}, present in {gap.others:,} other layers.",
                    tuple(leaves),
                    hint="Save the checkpoint again; a save that drops what shares memory may have dropped too much.",
                )


def _find_gaps(layers: Sequence[Layer]) -> Iterator[_Gap]:
    """Finds layers that hold strictly less than many that are alike; those at either end may well differ."""
    kinds = Counter(layer.rests for layer in layers)
    full = [
        (rests, count)
        for rests, count in kinds.most_common(_MOST_KINDS)
        if count >= _FEWEST_ALIKE and len(rests) >= _FEWEST_LEAVES
    ]
    alike = {rests for rests, _ in full}
    # Several dense layers before those with experts, and predictors of later tokens behind them, are at the ends, too.
    start, end = 0, len(layers)
    while start < end and layers[start].rests not in alike:
        start += 1
    while end > start and layers[end - 1].rests not in alike:
        end -= 1
    gaps = (_hold_against(layer, kinds[layer.rests], full) for layer in layers[start:end] if layer.rests not in alike)
    yield from (gap for gap in gaps if gap)


def _hold_against(layer: Layer, like: int, full: Sequence[tuple[frozenset[str], int]]) -> _Gap | None:
    """Finds the kind that a layer is nearest to; `like` counts the layers that are as it is."""
    fitting = [
        _Gap(layer, rests - layer.rests, count)
        for rests, count in full
        if layer.rests < rests
        and is_few(like, count)
        and len(rests) - len(layer.rests) <= max(1, len(rests) // _QUARTER)
    ]
    return min(fitting, key=lambda gap: len(gap.lacking), default=None)


RULE = Rule(
    code="KEY003",
    name="incomplete-layer",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
Of four layers or more, one in the middle lacks a leaf or a few that layers otherwise exactly like it have.
Layers of another kind are not meant (attention among state-space layers, experts in every second one), nor layers at
either end, nor leaves that a tie accounts for or that the index names.""",
    why="""\
Loaders report a missing key that is easily overlooked, and start the leaf from random values, or refuse the checkpoint
while converting it. Savers that drop tensors which share memory have dropped tensors that only had the address of one
that was freed before.""",
    mend="No fix: the values are not in the checkpoint. Save it again, or take the leaf from an earlier one.",
    bad="""\
model.layers.0.mlp.{gate,up,down}_proj.weight
model.layers.1.mlp.{gate,up,down}_proj.weight
model.layers.2.mlp.{gate,down}_proj.weight
model.layers.3.mlp.{gate,up,down}_proj.weight""",
    good="""\
model.layers.0.mlp.{gate,up,down}_proj.weight
model.layers.1.mlp.{gate,up,down}_proj.weight
model.layers.2.mlp.{gate,up,down}_proj.weight
model.layers.3.mlp.{gate,up,down}_proj.weight""",
    threads=("transformers#27293", "accelerate#2155", "Model-Optimizer#2092"),
)
