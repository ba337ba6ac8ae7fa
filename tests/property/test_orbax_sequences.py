"""Law: whatever was tied and untied in an Orbax item, in whatever order, untying the rest gives everything back."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiecli
from tiecli.errors import LeafNotFoundError, NothingToUntieError, TieConflictError
from tiecli.plan import Mode, TieRequest
from tiecli.transforms import SAME, TRANSPOSE

FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
EMBED, DRAFT = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
HEAD = "params.decoder.logits_dense.kernel"
TURNED = {frozenset({EMBED, HEAD}), frozenset({DRAFT, HEAD})}

leaf = st.sampled_from((EMBED, DRAFT, HEAD))
ties = st.tuples(leaf, leaf, st.sampled_from(("alias", "omit"))).filter(lambda tie: tie[0] != tie[1])
acts = st.lists(st.tuples(st.one_of(ties, leaf), st.booleans(), st.booleans()), min_size=1, max_size=7)


def tie(work: Path, target: tiecli.Target, src: str, dst: str, mode: Mode) -> tiecli.ApplyReport:
    """Ties one leaf to another, turned if it has to be."""
    transform = TRANSPOSE if frozenset({src, dst}) in TURNED else SAME
    return tiecli.tie(work, [TieRequest(src, dst, transform)], target, mode=mode)


def values_of(item: Path) -> dict[str, bytes]:
    """The values of all leaves."""
    found = {}
    with tiecli.open_reader(item) as reader:
        for at, spec in reader.specs().items():
            raw = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(raw))
            found[at.spelling] = bytes(raw)
    return found


def documents_of(item: Path) -> dict[str, bytes]:
    """The JSON files."""
    names = ("_METADATA", "_sharding", "_CHECKPOINT_METADATA", "array_metadatas/process_0")
    return {name: (item / name).read_bytes() for name in names if (item / name).exists()}


def arrays_of(item: Path) -> dict[str, str]:
    """How every leaf is stored: codec, chunks, stored bytes."""
    with tiecli.open_reader(item) as reader:
        stored = {path.spelling: reader.storage(path)._asdict() | {"file": ""} for path in reader.specs()}
    return {name: json.dumps(storage, default=str) for name, storage in stored.items()}


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3", "v1/state"])
@settings(max_examples=25)
@given(acts=acts)
def test_every_sequence_leads_back(layout: str, acts: list[tuple[object, bool, bool]]) -> None:
    """Values at each step, and in the end the JSON files byte for byte and the storage of every leaf."""
    before = values_of(FIXTURES / layout)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name, "0")
        shutil.copytree(FIXTURES / layout, work)
        for number, (act, in_place, link) in enumerate(acts, start=1):
            path = work if in_place else Path(name, str(number))
            target = tiecli.Target(path, in_place=in_place, kept_files="hardlink" if link else "copy", sync=False)
            try:
                if isinstance(act, tuple):
                    tie(work, target, *act)
                else:
                    tiecli.untie(work, target, select=str(act))
            except (TieConflictError, NothingToUntieError, LeafNotFoundError):
                continue
            work = path
            found = values_of(work)
            assert found.items() <= before.items()
        try:
            report = tiecli.untie(work, tiecli.Target(work, in_place=True, sync=False))
        except NothingToUntieError:
            pass
        else:
            assert report.restored
        assert values_of(work) == before
        assert documents_of(work) == documents_of(FIXTURES / layout)
        assert arrays_of(work) == arrays_of(FIXTURES / layout)
