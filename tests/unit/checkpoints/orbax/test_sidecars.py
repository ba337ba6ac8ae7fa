"""Sidecars: how arrays were spread, and which are random keys, in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tiecli.checkpoints.orbax.sidecars import Sidecars, encode_name, parse_kinds, parse_sharding, read_sidecars
from tiecli.errors import CheckpointError, OrbaxMetadataError

ORBAX = Path(__file__).parents[4] / "fixtures" / "orbax"


def named(**members: Any) -> dict[str, Any]:
    """Makes a NamedSharding over 4×2 devices."""
    return {"sharding_type": "NamedSharding", "shape": [4, 2], "axis_names": ["x", "y"], "partition_spec": []} | members


def sharding(described: object) -> bytes:
    """Makes a `_sharding` with one leaf, `a.b`."""
    return json.dumps({encode_name("a.b"): json.dumps(described)}).encode()


def test_reads_what_orbax_wrote() -> None:
    """A mesh with its axes, single devices, and keys that are more than numbers."""
    spread = read_sidecars(ORBAX / "sharded-zarr3").shardings
    assert spread["wte.embedding"] == "4×2 mesh, PartitionSpec('fsdp', 'tensor')"
    assert spread["layers.0.bias"] == "4×2 mesh, PartitionSpec()"

    nodes = read_sidecars(ORBAX / "nodes")
    assert nodes.shardings["rng.raw"] == "cpu:0"
    assert nodes.kinds == dict.fromkeys(("rng.dropout", "rng.params"), "PRNG key (threefry2x32)")


def test_each_file_may_be_missing(tmp_path: Path) -> None:
    """An item without arrays has neither, and Orbax restores without the latter."""
    assert read_sidecars(tmp_path) == Sidecars({}, {})
    shutil.copy(ORBAX / "nodes" / "_sharding", tmp_path)
    assert read_sidecars(tmp_path).kinds == {}
    assert read_sidecars(tmp_path).shardings["pair.1"] == "cpu:0"


def test_one_process_tells_for_all(tmp_path: Path) -> None:
    """They all list the same, so only one file is read."""
    shutil.copytree(ORBAX / "nodes" / "array_metadatas", tmp_path / "array_metadatas")
    (tmp_path / "array_metadatas" / "process_10").write_bytes(b"damaged")

    assert len(read_sidecars(tmp_path).kinds) == 2


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (named(partition_spec=["x", None]), "4×2 mesh, PartitionSpec('x', None)"),
        (named(partition_spec=[["x", "y"]]), "4×2 mesh, PartitionSpec(('x', 'y'))"),
        (named(shape=[]), " mesh, PartitionSpec()"),
        ({"sharding_type": "SingleDeviceSharding", "device_str": "cuda:0"}, "cuda:0"),
        ({"sharding_type": "PositionalSharding"}, "PositionalSharding"),
    ],
)
def test_words_a_sharding(described: object, words: str) -> None:
    """As jax spells it."""
    assert parse_sharding(sharding(described), "_sharding") == {"a.b": words}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "is not JSON"),
        (b'{"?": "{}"}', "`?` is no name of a leaf in base64"),
        (b'{"/w==": "{}"}', "is no name of a leaf in base64"),
        (b'{"\xc3\xb6": "{}"}', "is no name of a leaf in base64"),
        (b'{"YQ==": {}}', "the sharding of `a` is no text"),
        (b'{"YQ==": "{"}', "`_sharding: a` is not JSON"),
        (sharding(named(shape=None)), "has no `shape` and `partition_spec`"),
        (sharding(named(partition_spec={})), "has no `shape` and `partition_spec`"),
        (sharding(named(partition_spec=[[["x"]]])), "an odd `shape` or `partition_spec`"),
        (sharding(named(shape=[True])), "an odd `shape` or `partition_spec`"),
    ],
)
def test_names_damage_of_shardings(raw: bytes, message: str) -> None:
    """Each kind is told."""
    with pytest.raises(OrbaxMetadataError) as caught:
        parse_sharding(raw, "_sharding")

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "it has no list `array_metadatas`"),
        ({"array_metadatas": {}}, "it has no list `array_metadatas`"),
        ({"array_metadatas": [1]}, "an entry names no array"),
        ({"array_metadatas": [{"array_metadata": {}}]}, "an entry names no array"),
        ({"array_metadatas": [{"array_metadata": {"param_name": 1}}]}, "an entry names no array"),
    ],
)
def test_names_damage_of_arrays(document: object, message: str) -> None:
    """Each kind is told."""
    with pytest.raises(CheckpointError) as caught:
        parse_kinds(json.dumps(document).encode(), "array_metadatas/process_0")

    assert caught.value.message == f"`array_metadatas/process_0` is damaged: {message}"
