"""What `convert` makes of every layout and model, the stock libraries of the other format read, bit for bit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors import safe_open

import tiecli
from tests.peer.orbax_restores import Leaves, RestoredLeaf, Restorer
from tests.peer.orbax_ties import CASES, Case, can_restore, find_part
from tiecli.keypaths import KeyPath

FIXTURES = Path(__file__).parents[2] / "fixtures"
FILES = sorted(path.parent.name for path in FIXTURES.glob("*/*.safetensors"))
Zarr = Literal[2, 3]

every_case = pytest.mark.parametrize("case", [case for case in CASES if case.layout != "packed"], ids=str)


def read_flat(path: Path, torch: Any) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Every tensor as the reference reader gives it."""
    found = {}
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in list(opened.keys()):
                tensor = opened.get_tensor(name).contiguous()
                found[name] = (tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found


def arrays_of(leaves: Leaves) -> dict[str, RestoredLeaf]:
    """Leaves out what is no array."""
    return {name: leaf for name, leaf in leaves.items() if leaf.dtype not in ("None", "empty", "str")}


@every_case
@pytest.mark.parametrize("shard_nbytes", [None, 4000], ids=["one file", "shards"])
def test_the_reference_reader_reads_every_layout(
    case: Case, shard_nbytes: int | None, restorer: Restorer, torch: Any, tmp_path: Path
) -> None:
    """Shapes and bytes are those that stock Orbax restores as numpy arrays."""
    tiecli.convert(case.root, tiecli.Target(tmp_path / "flat", sync=False), shard_nbytes=shard_nbytes, item=case.item)

    attempt = next(attempt for attempt in case.part.attempts if str(attempt) == "arguments, found")
    expected = arrays_of(restorer.restore(case.part, attempt))
    found = read_flat(tmp_path / "flat", torch)
    assert found.keys() == expected.keys()
    for name, (shape, raw) in found.items():
        # A random key is restored as one; what it holds is what is stored.
        assert (shape, raw) == (expected[name].shape, expected[name].data) or "key<" in expected[name].dtype


@every_case
@pytest.mark.parametrize(("zarr", "compress"), [(2, False), (3, False), (2, True), (3, True)])
def test_orbax_restores_what_went_to_safetensors_and_back(
    case: Case, zarr: Zarr, compress: bool, restorer: Restorer, tmp_path: Path
) -> None:
    """In every way that the layout itself can be restored, with every leaf, node, text, scalar and random key."""
    flat, back = tmp_path / "flat.safetensors", tmp_path / "back"
    tiecli.convert(case.root, tiecli.Target(flat, sync=False), item=case.item)

    tiecli.convert(flat, tiecli.Target(back, sync=False), zarr=zarr, compress=compress)

    attempts = [attempt for attempt in find_part(back, None).attempts if can_restore(case.layout, attempt)]
    assert len(attempts) > 3
    for attempt in attempts:
        assert restorer.restore(find_part(back, None), attempt) == restorer.restore(case.part, attempt), attempt


@pytest.mark.parametrize("fixture", FILES)
def test_orbax_restores_every_model(fixture: str, restorer: Restorer, torch: Any, tmp_path: Path) -> None:
    """Without a target, as numpy arrays, and over eight devices, by old and new classes."""
    tiecli.convert(FIXTURES / fixture, tiecli.Target(tmp_path / "item", sync=False))

    expected = read_flat(FIXTURES / fixture, torch)
    part = find_part(tmp_path / "item", None)
    for attempt in part.attempts:
        restored = restorer.restore(part, attempt)
        assert {name: (leaf.shape, leaf.data) for name, leaf in restored.items()} == expected, attempt


@pytest.mark.parametrize("zarr", [2, 3])
def test_orbax_restores_second_names(zarr: Zarr, restorer: Restorer, torch: Any, tmp_path: Path) -> None:
    """Aliases that a file does not store are there again, transposed ones too; any order of axes with zarr 3."""
    rng = np.random.default_rng(3)
    embed, cube = rng.normal(size=(48, 16)).astype(np.float32), rng.normal(size=(8, 4, 6)).astype(np.float32)
    leaves = {"embed": embed, "l[0].tied": embed, "head": embed.T, "cube": cube, "turned": cube.transpose(1, 2, 0)}
    untied, tied = tmp_path / "untied.safetensors", tmp_path / "tied.safetensors"
    save(untied, leaves)
    ties = (("embed", "l[0].tied", "same"), ("embed", "head", "transpose"), ("cube", "turned", "transpose(1,2,0)"))
    requests = [tiecli.TieRequest(src, dst, tiecli.Transform.parse(how)) for src, dst, how in ties]
    tiecli.tie(untied, requests, tiecli.Target(tied, sync=False))

    tiecli.convert(tied, tiecli.Target(tmp_path / "item", sync=False), zarr=zarr)

    expected = read_flat(untied, torch)
    if zarr == 2:
        del expected["turned"]
    part = find_part(tmp_path / "item", None)
    for attempt in part.attempts:
        restored = restorer.restore(part, attempt)
        assert {name: (leaf.shape, leaf.data) for name, leaf in restored.items()} == expected, attempt


def save(path: Path, leaves: dict[str, Any]) -> None:
    """Writes a safetensors file by its own library."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}, path)


ODD = ["a/b", "a//b", "/a", ".", "..", "a/../b", "it's", 'say "x"', "back\\slash", "\n", "\x00", "a?b#c", "größer", " "]


@pytest.mark.parametrize("zarr", [2, 3])
def test_orbax_restores_odd_names(zarr: Zarr, restorer: Restorer, tmp_path: Path) -> None:
    """Whatever name is accepted, Orbax finds again."""
    values = {str(KeyPath((name, "w"))): np.full(300, number, np.float32) for number, name in enumerate(ODD)}
    values |= {str(KeyPath((name + ".x", 0))): np.full(3, number, np.float32) for number, name in enumerate(ODD)}
    save(tmp_path / "m.safetensors", values)

    tiecli.convert(tmp_path / "m.safetensors", tiecli.Target(tmp_path / "item", sync=False), zarr=zarr)

    part = find_part(tmp_path / "item", None)
    for attempt in part.attempts:
        restored = restorer.restore(part, attempt)
        assert {name: leaf.data for name, leaf in restored.items()} == {n: v.tobytes() for n, v in values.items()}


@pytest.mark.parametrize("shard_nbytes", [None, 12_000], ids=["one file", "shards"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_transformers_computes_the_same_logits(
    family: str,
    shard_nbytes: int | None,
    tmp_path: Path,
    build: Callable[..., Any],
    save_all_names: Callable[..., Path],
    load: Callable[[Path], Any],
    logits: Callable[[Any], Any],
    torch: Any,
) -> None:
    """From a model to Orbax, and back to a directory with the model's config beside the weights."""
    source, back = save_all_names(build(family), tmp_path / "source"), tmp_path / "back"
    tiecli.convert(source, tiecli.Target(tmp_path / "item", sync=False))

    tiecli.convert(tmp_path / "item", tiecli.Target(back, sync=False), shard_nbytes=shard_nbytes)

    assert (back / "model.safetensors").exists() == (shard_nbytes is None)
    shutil.copy(source / "config.json", back)
    assert torch.equal(logits(load(source)), logits(load(back)))


SNIPPETS = re.findall(
    r"(?<=^```python\n)(.*?)(?=^```$)", (FIXTURES.parent / "docs" / "convert.md").read_text(), re.M | re.S
)


def test_the_snippets_of_the_page_run(restorer: Restorer, tmp_path: Path) -> None:
    """Each reads what the commands above it write, and its own assertions hold."""
    flat, item = tmp_path / "flat.safetensors", tmp_path / "item"
    tiecli.convert(FIXTURES / "orbax" / "pytree", tiecli.Target(flat, sync=False))
    tiecli.convert(flat, tiecli.Target(item, sync=False))

    names: dict[str, Any] = {"flat": flat, "item": item}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/convert.md", "exec"), names)
    assert names.keys() > {"leaves", "restored"}
