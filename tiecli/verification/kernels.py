"""Kernels: what a device computes of one tile, compiled once for each shape.

A tile is gone through block by block, and what is gathered stays element by element until
its end, so that a processor does arithmetic on whole vectors and keeps them in its caches.
XLA makes one loop of each thing that is gathered, and computes all it depends on again; so
a maximum and a sum that need the same travel together, as the parts of one complex number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial, reduce
from math import prod
from operator import add, mul
from threading import Lock
from typing import Any, NamedTuple

from tiecli.verification.coefficients import AMPLITUDE, FREQUENCY, axis_factors
from tiecli.verification.devices import Device, float64, shard_map
from tiecli.verification.plans import Part, Place, Plan, Tile
from tiecli.verification.terms import Coefficients, Sums, measure_block

SLOPE = 0.125
"""How large the frequencies are, at most: half of what a gradient moves by when an element changes by its size."""

Tables = list[tuple[Any, Any]]
"""For each axis, the factors of the amplitudes and of the frequencies along it."""

STATISTICS = ("difference", "source", "pulled", "tied", "untied", "size", "masked")
"""What a kernel gives of a tile, in this order: three maxima and four sums."""


def measure_tile(plan: Plan, tile: Tile) -> Any:
    """Measures one tile: traced by jax, gives the numbers named in `STATISTICS`."""
    import jax.numpy as jnp

    sums = gather_tile(plan, tile)

    def largest(arrays: Sequence[Any]) -> Any:
        """The largest element of all; infinite where one is no number, which XLA would pass over on a CPU."""
        numbers = [jnp.where(jnp.isnan(array), jnp.inf, array) for array in arrays]
        return reduce(jnp.maximum, [jnp.max(array, initial=0.0) for array in numbers])

    def total(arrays: Sequence[Any]) -> Any:
        """The sum of all elements."""
        return reduce(add, [jnp.sum(array) for array in arrays])

    maxima = [largest(sums.difference), largest(sums.source), largest(sums.pulled)]
    totals = [total(sums.tied), total((*sums.untied, *sums.alias)), total([jnp.abs(array) for array in sums.tied])]
    masked = total(sums.masked or (jnp.int32(0),))
    return jnp.stack([*maxima, *totals, masked.astype(jnp.float64)])


def gather_tile(plan: Plan, tile: Tile) -> Sums:
    """Goes through a tile: traced by jax, gives what is gathered over its blocks, element by element."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    count = prod(plan.blocks)
    tables = [_tables(part, place) for part, place in zip(plan.sources, tile.places, strict=True)]
    alias_tables = _tables(plan.alias, tile.alias_place)
    if count == 1:
        own = [_coefficients(found, part) for found, part in zip(tables, plan.sources, strict=True)]
        return measure_block(plan, tile, own, _coefficients(alias_tables, plan.alias))

    if plan.turn is not None:
        # A tile is turned once; a block would be whenever something is gathered of it.
        back = tuple(plan.turn.index(axis) for axis in range(len(plan.turn)))
        tile = tile._replace(alias=_turn(tile.alias, back), rounded=_turn(tile.rounded, back))

    def measure(number: Any) -> _Packed:
        """Measures one block of the tile."""
        return _pack(measure_block(plan, *_cut_block(plan, tile, tables[0], alias_tables, number)))

    # Under `shard_map`, what a loop carries must differ from device to device from the start.
    nothing = tile.alias_place.amplitude * 0
    zeros = jax.tree.map(
        lambda found: jnp.zeros(found.shape, found.dtype) + nothing.astype(found.dtype),
        jax.eval_shape(measure, jnp.int32(0)),
    )
    return _unpack(lax.fori_loop(0, count, lambda number, packed: _join(packed, measure(number)), zeros))


class _Packed(NamedTuple):
    """What is gathered: pairs of a maximum and a sum, and counts."""

    pairs: tuple[Any, ...]
    masked: tuple[Any, ...]


def _pack(sums: Sums) -> _Packed:
    from jax import lax

    maxima, totals = (*sums.difference, *sums.source, *sums.pulled), (*sums.tied, *sums.untied, *sums.alias)
    return _Packed(tuple(lax.complex(*pair) for pair in zip(maxima, totals, strict=True)), sums.masked)


def _join(packed: _Packed, other: _Packed) -> _Packed:
    import jax.numpy as jnp
    from jax import lax

    pairs = [
        lax.complex(jnp.maximum(mine.real, theirs.real), mine.imag + theirs.imag)
        for mine, theirs in zip(packed.pairs, other.pairs, strict=True)
    ]
    return _Packed(tuple(pairs), tuple(map(add, packed.masked, other.masked)))


def _unpack(packed: _Packed) -> Sums:
    count = len(packed.pairs) // 3
    groups = [packed.pairs[start : start + count] for start in range(0, len(packed.pairs), count)]
    difference, source, pulled = (tuple(pair.real for pair in group) for group in groups)
    tied, untied, alias = (tuple(pair.imag for pair in group) for group in groups)
    return Sums(difference, source, pulled, tied, untied, alias, packed.masked)


def _turn(array: Any, axes: tuple[int, ...]) -> Any:
    """Reorders the axes of a leaf, if it is there; complex elements have one more, which stays last."""
    import jax.numpy as jnp

    return None if array is None else jnp.transpose(array, (*axes, *range(len(axes), array.ndim)))


def _cut_block(
    plan: Plan, tile: Tile, tables: Tables, alias_tables: Tables, number: Any
) -> tuple[Tile, list[Coefficients], Coefficients]:
    """Cuts one block out of a tile, as a tile of its own, and its coefficients."""
    from jax import lax

    index = [number // prod(plan.blocks[axis + 1 :]) % length for axis, length in enumerate(plan.blocks)]
    source = plan.sources[0]
    start = [at * side for at, side in zip(index, source.block, strict=True)]
    alias_start = [
        first + sum(at * moves[axis] for at, moves in zip(index, plan.strides, strict=True))
        for axis, first in enumerate(plan.origin)
    ]

    def cut(array: Any, part: Part, at: list[Any]) -> Any:
        """Cuts along all axes of the leaf."""
        extra = array.ndim - len(at)
        return lax.dynamic_slice(array, [*at, *[0] * extra], [*part.block, *array.shape[len(at) :]])

    def cut_alias(array: Any) -> Any:
        """Cuts the image of the block, if the array is there."""
        if array is None or plan.turn is None:
            return None if array is None else cut(array, plan.alias, alias_start)
        return _turn(cut(array, source, start), plan.turn)

    block = tile._replace(
        written=(cut(tile.written[0], source, start),),
        original=(cut(tile.original[0], source, start),),
        alias=cut_alias(tile.alias),
        rounded=cut_alias(tile.rounded),
    )
    own = _coefficients(_cut_tables(tables, source, start), source)
    return block, [own], _coefficients(_cut_tables(alias_tables, plan.alias, alias_start), plan.alias)


def _tables(part: Part, place: Place) -> Tables:
    """Draws the factors of a tile's coefficients, axis by axis; zero where nothing is."""
    import jax.numpy as jnp
    from jax import lax

    lengths = (*part.tile, *((2,) if part.form == "c64" else ())) or (1,)
    tables: Tables = []
    for axis, length in enumerate(lengths):
        # Processors compute in 32 bits twice as fast as in 64; numbers beyond those come round again.
        indices, there = lax.iota(jnp.uint32, length), None
        if axis < len(part.tile):
            first, last = (edge[axis] - place.start[axis] for edge in (place.low, place.high))
            there = (indices >= first.astype(jnp.uint32)) & (indices < last.astype(jnp.uint32))
            indices = indices + place.start[axis].astype(jnp.uint32)
        pair = [axis_factors(place.key, kind, axis, indices, len(lengths)) for kind in (AMPLITUDE, FREQUENCY)]
        if axis == 0:
            pair = [pair[0] * place.amplitude, pair[1] * (place.amplitude * SLOPE)]
        if there is not None:
            pair = [jnp.where(there, found, 0.0) for found in pair]
        tables.append((pair[0], pair[1]))
    # Otherwise they would be drawn again for every element of the tile.
    settled: Tables = lax.optimization_barrier(tables)  # type: ignore[no-untyped-call]
    return settled


def _cut_tables(tables: Tables, part: Part, start: list[Any]) -> Tables:
    from jax import lax

    cut = [
        tuple(lax.dynamic_slice(table, [at], [side]) for table in pair)
        for pair, at, side in zip(tables, start, part.block, strict=False)
    ]
    return [(pair[0], pair[1]) for pair in (*cut, *tables[len(cut) :])]


def _coefficients(tables: Tables, part: Part) -> Coefficients:
    """Multiplies the factors of all axes."""
    rank = len(part.block) + (part.form == "c64")

    def multiply(kind: int) -> Any:
        """Multiplies those of one kind."""
        shaped = [
            pair[kind].reshape([-1 if at == axis else 1 for at in range(rank)]) for axis, pair in enumerate(tables)
        ]
        return reduce(mul, shaped)

    amplitudes = multiply(AMPLITUDE)
    return amplitudes, multiply(FREQUENCY)


@lru_cache(maxsize=256)
def compile_kernel(plan: Plan, device: Device) -> Callable[[Sequence[Tile]], Any]:
    """Prepares a kernel, which is compiled once for each plan.

    Returns:
        What takes as many tiles as there are devices, and gives a row of `STATISTICS` for
        each; it is safe to call from several threads.
    """
    import jax
    import numpy as np

    kernel, place = _spread(plan, device)
    lock = Lock()
    compiled: list[Any] = []

    def run(tiles: Sequence[Tile]) -> Any:
        """Runs it on all devices of the mesh."""
        with float64():
            placed = place(tiles)
            with lock:
                if not compiled:
                    compiled.append(compile_for(jax.jit(kernel).lower(placed), device))
            return np.asarray(compiled[0](placed)).reshape(len(tiles), -1)

    return run


def _spread(plan: Plan, device: Device) -> tuple[Callable[[Tile], Any], Callable[[Sequence[Tile]], Tile]]:
    """Gives what each device computes, and what puts the tiles there."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    if len(device.devices) == 1:
        return partial(measure_tile, plan), lambda tiles: _put(tiles[0], device.devices[0])
    split = PartitionSpec("blocks")  # type: ignore[no-untyped-call]
    sharding = NamedSharding(device.mesh, split)

    def measure_one(tiles: Tile) -> Any:
        """Measures the one tile that a device gets."""
        return measure_tile(plan, jax.tree.map(lambda array: array[0], tiles))[None]

    def place(tiles: Sequence[Tile]) -> Tile:
        """Gives each device a tile."""
        put = [
            _put(jax.tree.map(lambda array: array[None], tile), there)
            for tile, there in zip(tiles, device.devices, strict=True)
        ]
        joined: Tile = jax.tree.map(
            lambda *arrays: jax.make_array_from_single_device_arrays(
                (len(arrays), *arrays[0].shape[1:]), sharding, list(arrays)
            ),
            *put,
        )
        return joined

    return shard_map()(measure_one, mesh=device.mesh, in_specs=split, out_specs=split), place


def _put(tile: Tile, device: Any) -> Tile:
    """Puts a tile on a device; on a CPU, where it lies in memory."""
    import jax

    placed: Tile = jax.device_put(tile, device)
    return placed


def compile_for(lowered: Any, device: Device) -> Any:
    """Compiles for vectors as long as the processor has, which XLA leaves half empty of its own accord."""
    import jax

    if device.platform == "cpu":
        # An XLA that does not know this option refuses it.
        with suppress(jax.errors.JaxRuntimeError):
            return lowered.compile(compiler_options={"xla_cpu_prefer_vector_width": 512})
    return lowered.compile()
