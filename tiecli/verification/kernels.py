"""Kernels: what a device computes of one tile, compiled once for each shape.

A tile is gone through block by block, and what is gathered stays element by element until
its end, so that a processor does arithmetic on whole vectors and keeps them in its caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from math import prod
from operator import mul
from typing import Any

from tiecli.verification.coefficients import AMPLITUDE, FREQUENCY, axis_factors
from tiecli.verification.devices import Device, float64, shard_map
from tiecli.verification.plans import Part, Place, Plan, Tile
from tiecli.verification.terms import Coefficients, Sums, measure_block

SLOPE = 0.25
"""How much the gradient of an element moves, at most, when it changes by half its size."""

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

    maxima = [largest(sums.difference), largest(sums.source), largest(sums.pulled)]
    totals = [sum(jnp.sum(array) for array in arrays) for arrays in (sums.tied, sums.untied)]
    size = sum(jnp.sum(jnp.abs(array)) for array in sums.tied)
    masked = sum((jnp.sum(array) for array in sums.masked), jnp.int32(0))
    return jnp.stack([*maxima, *totals, size, masked.astype(jnp.float64)])


def gather_tile(plan: Plan, tile: Tile) -> Sums:
    """Goes through a tile: traced by jax, gives what is gathered over its blocks, element by element."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    factors = [_tables(part, place) for part, place in zip(plan.sources, tile.places, strict=True)]
    alias_factors = _tables(plan.alias, tile.alias_place)
    count = prod(plan.blocks)
    if count == 1:
        own = [_coefficients(found, part) for found, part in zip(factors, plan.sources, strict=True)]
        return measure_block(plan, tile, own, _coefficients(alias_factors, plan.alias))

    def measure(number: Any) -> Sums:
        """Measures one block of the tile."""
        index = [number // prod(plan.blocks[axis + 1 :]) % length for axis, length in enumerate(plan.blocks)]
        start = [at * side for at, side in zip(index, plan.sources[0].block, strict=True)]
        alias_start = [
            first + sum(at * moves[axis] for at, moves in zip(index, plan.strides, strict=True))
            for axis, first in enumerate(plan.origin)
        ]

        def cut(array: Any, part: Part, at: list[Any]) -> Any:
            """Cuts the block out of a tile."""
            extra = array.ndim - len(at)
            return lax.dynamic_slice(array, [*at, *[0] * extra], [*part.block, *array.shape[len(at) :]])

        source = plan.sources[0]
        block = tile._replace(
            written=(cut(tile.written[0], source, start),),
            original=(cut(tile.original[0], source, start),),
            alias=cut(tile.alias, plan.alias, alias_start),
            rounded=None if tile.rounded is None else cut(tile.rounded, plan.alias, alias_start),
        )
        return measure_block(
            plan,
            block,
            [_coefficients(_cut_tables(factors[0], source, start), source)],
            _coefficients(_cut_tables(alias_factors, plan.alias, alias_start), plan.alias),
        )

    # Under `shard_map`, what a loop carries must differ from device to device from the start.
    nothing = tile.alias_place.amplitude * 0
    zeros = jax.tree.map(
        lambda found: jnp.zeros(found.shape, found.dtype) + nothing.astype(found.dtype),
        jax.eval_shape(measure, jnp.int32(0)),
    )
    found: Sums = lax.fori_loop(0, count, lambda number, sums: sums.join(measure(number)), zeros)
    return found


def _tables(part: Part, place: Place) -> Tables:
    """Draws the factors of a tile's coefficients, axis by axis; zero where nothing is."""
    import jax.numpy as jnp
    from jax import lax

    lengths = (*part.tile, *((2,) if part.form == "c64" else ())) or (1,)
    tables: Tables = []
    for axis, length in enumerate(lengths):
        indices = jnp.arange(length, dtype=jnp.int64)
        there: Any = True
        if axis < len(part.tile):
            indices = indices + place.start[axis]
            there = (indices >= place.low[axis]) & (indices < place.high[axis])
        pair = [
            jnp.where(there, axis_factors(place.key, kind, axis, indices, len(lengths)), 0.0)
            for kind in (AMPLITUDE, FREQUENCY)
        ]
        if axis == 0:
            pair = [pair[0] * place.amplitude, pair[1] * (place.amplitude * SLOPE)]
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
    """Compiles a kernel, once for each plan.

    Returns:
        What takes as many tiles as there are devices, and gives a row of `STATISTICS` for
        each; it is safe to call from several threads.
    """
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    if len(device.devices) == 1:
        single = jax.jit(partial(measure_tile, plan))

        def run(tiles: Sequence[Tile]) -> Any:
            """Runs it on one device."""
            with float64():
                return np.asarray(single(jax.device_put(tiles[0], device.devices[0])))[None]

        return run
    split = PartitionSpec("blocks")  # type: ignore[no-untyped-call]
    sharding = NamedSharding(device.mesh, split)

    def measure_one(tiles: Tile) -> Any:
        """Measures the one tile that a device gets."""
        return measure_tile(plan, jax.tree.map(lambda array: array[0], tiles))[None]

    spread = jax.jit(shard_map()(measure_one, mesh=device.mesh, in_specs=split, out_specs=split))

    def run_all(tiles: Sequence[Tile]) -> Any:
        """Runs it on all devices of the mesh."""
        with float64():
            stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *tiles)
            return np.asarray(spread(jax.device_put(stacked, sharding)))

    return run_all
