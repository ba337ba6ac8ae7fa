"""Permuting: the metadata under which a leaf's stored bytes are the leaf along other axes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from tiecli.checkpoints.zarr.arrays import ArrayMetadata, read_document
from tiecli.checkpoints.zarr.codecs import Axes, Shape, invert_axes, settle_axes
from tiecli.errors import UnsupportedCheckpointError


class Permuted(NamedTuple):
    """A leaf along other axes.

    Attributes:
        metadata: What it is now.
        chunk_key_map: For each chunk, what follows the leaf's name in its key: the new text to the old.
    """

    metadata: ArrayMetadata
    chunk_key_map: Mapping[str, str]


def permute_array(metadata: ArrayMetadata, axes: Axes) -> Permuted:
    """Describes a leaf along other axes; see `ArrayMetadata.permute`.

    Raises:
        UnsupportedCheckpointError: Zarr 2 knows two orders of the elements only, and this is a third.
    """
    if sorted(axes) != list(range(len(metadata.spec.shape))):
        raise ValueError(f"{axes} are not the axes of a leaf of shape {metadata.spec.shape}")
    permuted = metadata
    if axes != tuple(sorted(axes)):
        compose = _compose2 if metadata.version == 2 else _compose3
        permuted = read_document(compose(metadata, axes), "a permuted leaf")
    spell, back = metadata.key_style.spell, invert_axes(axes)
    keys = {spell(index): spell(_take(index, back)) for index in product(*map(range, permuted.chunk_counts))}
    return Permuted(permuted, MappingProxyType(keys))


def _take(numbers: Shape, axes: Axes) -> Shape:
    return tuple(numbers[axis] for axis in axes)


def _compose2(metadata: ArrayMetadata, axes: Axes) -> dict[str, Any]:
    chunk_shape = _take(metadata.chunk_shape, axes)
    plain = tuple(range(len(axes)))
    order = _take(invert_axes(axes), metadata.layout.axes)
    document = {**metadata.document, "shape": list(_take(metadata.spec.shape, axes)), "chunks": list(chunk_shape)}
    if settle_axes(order, chunk_shape) == plain:
        return {**document, "order": "C"}
    if settle_axes(order[::-1], chunk_shape) == plain:
        return {**document, "order": "F"}
    raise UnsupportedCheckpointError(
        f"zarr 2 cannot say that stored bytes stand for their permutation {axes}: it can reverse all axes only",
        "Store the alias as values of its own, or not at all.",
    )


def _compose3(metadata: ArrayMetadata, axes: Axes) -> dict[str, Any]:
    document, layout = metadata.document, metadata.layout
    chunk_shape = _take(metadata.chunk_shape, axes)
    back = invert_axes(axes)
    order = _take(back, layout.axes)
    codecs = [codec for codec in document["codecs"] if codec["name"] != "transpose"]
    if layout.sharding is None:
        codecs = _compose_transpose(order, chunk_shape) + codecs
    else:
        part_shape = _take(layout.sharding.part_shape, axes)
        counts = tuple(whole // part for whole, part in zip(chunk_shape, part_shape, strict=True))
        # The parts stay where they are, so the index has to be read along the old axes.
        outer = settle_axes(_take(back, layout.sharding.axes), counts)
        inner = _take(invert_axes(outer), order)
        turned = _take(part_shape, outer)
        settings = codecs[0]["configuration"]
        kept = [codec for codec in settings["codecs"] if codec["name"] != "transpose"]
        settings = {
            **settings,
            "chunk_shape": list(turned),
            "codecs": _compose_transpose(inner, turned) + kept,
        }
        codecs = [*_compose_transpose(outer, counts), {**codecs[0], "configuration": settings}]
    document = {
        **document,
        "shape": list(_take(metadata.spec.shape, axes)),
        "chunk_grid": {
            **document["chunk_grid"],
            "configuration": {**document["chunk_grid"]["configuration"], "chunk_shape": list(chunk_shape)},
        },
        "codecs": codecs,
    }
    if document.get("dimension_names") is not None:
        document["dimension_names"] = [document["dimension_names"][axis] for axis in axes]
    return document


def _compose_transpose(axes: Axes, lengths: Shape) -> list[dict[str, Any]]:
    """Composes the codec for an order of axes of some lengths; none where the order is plain."""
    if settle_axes(axes, lengths) == tuple(range(len(axes))):
        return []
    return [{"configuration": {"order": list(axes)}, "name": "transpose"}]
