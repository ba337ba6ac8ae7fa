"""Chains: a leaf that others follow from is tied to yet another, and everything leads back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Outcome, Run
from tests.e2e.orbax_damages import DRAFT, EMBED, FIXTURES, HEAD, flip_value
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints import open_reader

# The alias goes on from what its canonical leaf goes on from.
FIRST = ("--src", EMBED, "--dst", DRAFT)
THEN = ("--src", HEAD, "--dst", EMBED, "--transform", "transpose")


def succeed(outcome: Outcome) -> Outcome:
    """A command that was to work."""
    assert outcome.code == 0, outcome.stderr
    return outcome


def values_of(path: Path) -> dict[str, bytes]:
    """The values of all leaves."""
    found = {}
    with open_reader(path) as reader:
        for at, spec in reader.specs().items():
            raw = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(raw))
            found[at.spelling] = bytes(raw)
    return found


@pytest.mark.parametrize("then", ["alias", "omit"])
@pytest.mark.parametrize("first", ["alias", "omit"])
@pytest.mark.parametrize("layout", ["pytree", "raw", "files-zarr2", "files-zarr3", "v1"])
def test_a_canonical_leaf_becomes_an_alias(run: Run, tmp_path: Path, layout: str, first: str, then: str) -> None:
    """Second names of its bytes become second names of the new ones, so that it is stored no more."""
    source, one, two, back = FIXTURES / layout, tmp_path / "one", tmp_path / "two", tmp_path / "back"

    succeed(run("tie", source, *FIRST, "--mode", first, "-o", one))
    succeed(run("tie", one, *THEN, "--mode", then, "-o", two))

    shown = run("inspect", two, "--json").json
    assert {tie["alias"]: (tie["canonical"], tie["transform"]) for tie in shown["ties"]} == {
        DRAFT: (HEAD, "transpose"),
        EMBED: (HEAD, "transpose"),
    }
    assert {tie["alias"]: tie["shares_bytes"] for tie in shown["ties"]} == {
        DRAFT: first == "alias",
        EMBED: then == "alias",
    }
    stored = [run("inspect", path, "--json").json["totals"]["stored_nbytes"] for path in (source, one, two)]
    assert stored[0] > stored[1] > stored[2]
    values = values_of(source)
    assert values_of(two) == {
        name: raw
        for name, raw in values.items()
        if not (name == DRAFT and first == "omit") and not (name == EMBED and then == "omit")
    }

    succeed(run("untie", two, "-o", back))
    assert values_of(back) == values
    assert run("diff", source, back).code == 0


@pytest.mark.parametrize("order", [(DRAFT, EMBED), (EMBED, DRAFT)])
def test_a_chain_is_untied_one_by_one(run: Run, tmp_path: Path, order: tuple[str, str]) -> None:
    """In either order, in place."""
    work = tmp_path / "work"
    shutil.copytree(FIXTURES / "pytree", work)
    for pair in (FIRST, THEN):
        succeed(run("tie", work, *pair, "--in-place"))

    for alias in order:
        succeed(run("untie", work, "--dst", alias, "--in-place"))

    assert values_of(work) == values_of(FIXTURES / "pytree")
    documents = ("_METADATA", "_sharding", "_CHECKPOINT_METADATA", "array_metadatas/process_0")
    before, after = take_stock(FIXTURES / "pytree"), take_stock(work)
    assert {name: after[name] for name in documents} == {name: before[name] for name in documents}


@pytest.mark.parametrize("mode", ["alias", "omit"])
@pytest.mark.parametrize("keep", ["src", "dst"])
def test_values_given_up_in_a_chain(run: Run, tmp_path: Path, keep: str, mode: str) -> None:
    """Where the canonical leaf gives its values up, so does what follows from it, and untie says so."""
    work, one, two, back = tmp_path / "work", tmp_path / "one", tmp_path / "two", tmp_path / "back"
    shutil.copytree(FIXTURES / "pytree", work)
    flip_value(work, f"{HEAD}/0.0", 700)
    values = values_of(work)
    succeed(run("tie", work, *FIRST, "--mode", mode, "-o", one))
    tied = run("tie", one, *THEN, "--mode", mode, "--keep", keep, "-o", two)
    if keep == "dst":
        # The other leaf would change under the hands of those that follow from this one.
        assert tied.code == 2
        assert "follows from it too" in tied.stderr
        return
    succeed(tied)

    told = succeed(run("untie", two, "-o", back)).stderr

    assert f"the values of `{EMBED}` were given up by --keep" in told
    assert f"the values of `{DRAFT}` were given up by --keep" in told
    after = values_of(back)
    assert after[EMBED] == after[DRAFT] != values[EMBED]
    assert {name: raw for name, raw in after.items() if name not in (EMBED, DRAFT)} == {
        name: raw for name, raw in values.items() if name not in (EMBED, DRAFT)
    }


@pytest.mark.parametrize("drifted", [False, True])
def test_a_chain_in_a_safetensors_file(run: Run, model: Path, tmp_path: Path, drifted: bool) -> None:
    """The same where aliases are never stored."""
    one, two, back = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "back"))
    src = "head2.weight" if drifted else "decoder.kernel"
    how = ("--keep", "src") if drifted else ("--transform", "transpose")

    succeed(run("tie", model, "--src", "model.embed_tokens.weight", "--dst", "lm_head.weight", "-o", one))
    succeed(run("tie", one, "--src", src, "--dst", "model.embed_tokens.weight", *how, "-o", two))
    untied = succeed(run("untie", two, "-o", back))

    if drifted:
        assert untied.stderr.count("were given up by --keep") == 2
    else:
        assert back.read_bytes() == model.read_bytes()
