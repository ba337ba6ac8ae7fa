"""`conversion/ties.py`: the manifest in the names and digests of the other format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.checkpoints.orbax.items import SameBytes, write_item
from tests.unit.checkpoints.safetensors.files import write_file
from tests.unit.checkpoints.safetensors.surgery import DIGEST, record_same
from tiecli.checkpoints import open_reader
from tiecli.compare import digest_leaf
from tiecli.conversion import CarriedTies, carry_ties, to_name, to_path
from tiecli.digests import digest_bytes
from tiecli.errors import ConversionError, ManifestError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.manifest import Manifest, Original, TieRecord
from tiecli.ties import Tie
from tiecli.transforms import SAME, TRANSPOSE

SPEC = LeafSpec((2, 3), DTYPES["F32"])
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
A, B = (KeyPath((name,)) for name in "ab")


def carry_file(directory: Path, manifest: Manifest, *, share: bool = False) -> CarriedTies:
    """Carries the ties of a safetensors file that stores `a`."""
    source = write_file(
        directory / "m.safetensors", {"a": ("F32", [2, 3], VALUES.tobytes())}, {"tiecli": manifest.to_json()}
    )
    with open_reader(source) as reader:
        return carry_ties(reader, to_path, lambda _, __: share)


def test_digests_of_values_stay_and_originals_go(tmp_path: Path) -> None:
    """What was recorded holds in any format, even where the leaf changed since; files of before do not."""
    record = record_same("layers[0].b", "a", SPEC)

    carried = carry_file(tmp_path, Manifest((record,), {".": Original.pack("header", b"{}")}))

    path = KeyPath(("layers", 0, "b"))
    assert carried.records == (replace(record, tie=Tie(path, (A,), SAME)),)
    assert carried.records[0].alias_digest == DIGEST
    assert carried.manifest is not None
    assert carried.manifest.originals == {}
    assert (carried.omitted, carried.shared, carried.dropped) == ({path}, {}, frozenset())
    assert carried.conventional == {"layers[0].b": "a"}
    assert (carried.reported[0].before, carried.reported[0].after) == ("omit", "omit")


def test_an_alias_that_can_share_does(tmp_path: Path) -> None:
    """It becomes a second name, and the manifest says so."""
    carried = carry_file(tmp_path, Manifest((record_same("b", "a", SPEC),)), share=True)

    assert list(carried.shared) == [B]
    assert carried.records[0].mode == "alias"
    assert carried.omitted == frozenset()


def test_no_ties(tmp_path: Path) -> None:
    """An empty manifest is none."""
    assert carry_file(tmp_path, Manifest(())).manifest is None


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        (record_same("b", "c", SPEC), ManifestError, "`b` follows from `c`, which is not stored, expected F32 2×3"),
        (
            record_same("b", "a", LeafSpec((3,), DTYPES["F32"])),
            ManifestError,
            "`b` follows from `a`, which is F32 2×3, expected F32 3",
        ),
        (record_same("b..c", "a", SPEC), ConversionError, "the name `b..c` is no place in a tree"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, record: TieRecord, error: type[ManifestError | ConversionError], message: str
) -> None:
    """It is of another checkpoint, or names an alias that can have no place."""
    with pytest.raises(error) as caught:
        carry_file(tmp_path, Manifest((record,)))
    assert caught.value.message.startswith(message)


TURNED = LeafSpec((3, 2), SPEC.dtype)
OF_VALUES = digest_bytes(VALUES.tobytes())
OF_TURNED = digest_bytes(np.ascontiguousarray(VALUES.T).tobytes())
STORED = "stored_xxh3_128:" + "0" * 32


def carry_item(
    directory: Path, alias_digest: str, canonical_digest: str, *, exact: bool = True, named_twice: bool = False
) -> CarriedTies:
    """Carries the ties of an item that stores `a` compressed, of which `b` is the transpose."""
    record = TieRecord(Tie(B, (A,), TRANSPOSE), TURNED, (SPEC,), alias_digest, (canonical_digest,), exact)
    record = replace(record, mode="alias" if named_twice else "omit")
    leaves: dict[tuple[str | int, ...], Any] = {("a",): VALUES, ("c",): VALUES + 1}
    if named_twice:
        leaves[("b",)] = SameBytes(("a",), turned=True)
    custom = {"tiecli": json.loads(Manifest((record,)).to_json())}
    item = write_item(directory / "item", leaves, custom=custom)
    with open_reader(item) as reader:
        return carry_ties(reader, to_name, lambda _, __: False)


def digest_as_stored(directory: Path) -> str:
    """The digest of `a` over its compressed bytes."""
    with open_reader(write_item(directory / "plain", {("a",): VALUES})) as reader:
        return digest_leaf(reader, A)


def test_digests_of_stored_bytes_become_those_of_values(tmp_path: Path) -> None:
    """As long as the leaf is what it was when it was tied."""
    carried = carry_item(tmp_path, STORED, digest_as_stored(tmp_path))

    (record,) = carried.records
    assert (record.alias_digest, record.canonical_digests) == (OF_TURNED, (OF_VALUES,))
    assert carried.notices == ()


def test_an_alias_digest_of_values_stays(tmp_path: Path) -> None:
    """It was proved then, and nothing has to be computed again."""
    (record,) = carry_item(tmp_path, DIGEST, digest_as_stored(tmp_path)).records

    assert (record.alias_digest, record.canonical_digests) == (DIGEST, (OF_VALUES,))


@pytest.mark.parametrize("alias_digest", [STORED, DIGEST])
def test_what_changed_since_is_recorded_as_it_is(tmp_path: Path, alias_digest: str) -> None:
    """Nobody can tell what it was from a digest of bytes that are no more; a person is told."""
    carried = carry_item(tmp_path, alias_digest, STORED)

    (record,) = carried.records
    assert (record.alias_digest, record.canonical_digests) == (OF_TURNED, (OF_VALUES,))
    assert carried.notices == ("`a` changed since `b` was tied to it; the tie is recorded as it holds now",)


def test_values_that_were_given_up_are_no_news(tmp_path: Path) -> None:
    """Where `--keep` gave one side up, the two never agreed."""
    carried = carry_item(tmp_path, STORED, STORED, exact=False)

    assert carried.records[0].exact is False
    assert carried.notices == ()


def test_second_names_are_dropped(tmp_path: Path) -> None:
    """They are leaves of the item, and none of a safetensors file."""
    carried = carry_item(tmp_path, DIGEST, digest_as_stored(tmp_path), named_twice=True)

    assert carried.dropped == {B}
    assert (carried.reported[0].before, carried.reported[0].after) == ("alias", "omit")
    assert carried.records[0].mode == "omit"
