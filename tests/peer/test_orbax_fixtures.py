"""The Orbax fixtures hold what their script makes: bytes differ from run to run, values do not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
RANDOM = re.compile(r"\b[0-9a-f]{32}\b")
LAYOUTS = sorted(path.name for path in (FIXTURES / "orbax").iterdir())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures, made anew."""
    for peer in ("orbax.checkpoint", "flax", "optax"):
        pytest.importorskip(peer, reason=f"{peer} comes with the extra `peer`")
    into = tmp_path_factory.mktemp("orbax")
    command = [sys.executable, "-B", str(FIXTURES / "make_orbax.py"), "--into", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return into


def read_values(item: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Reads every array of an item with tensorstore."""
    import tensorstore

    document = json.loads((item / "_METADATA").read_text())
    driver, base = "zarr3" if document["use_zarr3"] else "zarr", {"driver": "file", "path": f"{item}/"}
    values = {}
    for entry in document["tree_metadata"].values():
        if entry["value_metadata"]["value_type"] not in ("jax.Array", "np.ndarray", "scalar"):
            continue
        name = ".".join(part["key"] for part in entry["key_metadata"])
        store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        if not document["use_ocdbt"]:
            store = {"driver": "file", "path": f"{item}/{name}/"}
        values[name] = tensorstore.open({"driver": driver, "kvstore": store}).result().read().result()
    return values


def list_names(root: Path) -> set[str]:
    """Lists the files, without those that Orbax names at random."""
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {name for name in names if not RANDOM.search(name)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_holds_what_its_script_makes(name: str, made: Path) -> None:
    """The same files, the same JSON, and leaf by leaf the same dtype, shape and bits."""
    kept, fresh = FIXTURES / "orbax" / name, made / name

    assert list_names(kept) == list_names(fresh)
    for path in sorted(kept.rglob("_*")):
        assert json.loads(path.read_bytes()) == json.loads((fresh / path.relative_to(kept)).read_bytes()), path
    for path in sorted(kept.rglob("_METADATA")):
        values, others = read_values(path.parent), read_values(fresh / path.relative_to(kept).parent)
        assert list(values) == list(others)
        for leaf, value in values.items():
            assert (value.dtype, value.shape) == (others[leaf].dtype, others[leaf].shape), leaf
            assert value.tobytes() == others[leaf].tobytes(), leaf
