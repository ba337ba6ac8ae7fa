"""`tiecli verify`: cases in which a test that looks less closely would give the wrong answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Outcome, Run, Write
from tests.e2e.test_verify import edit_manifest, verdicts

pytest.importorskip("jax")
ml_dtypes = pytest.importorskip("ml_dtypes")

Array = np.ndarray
Leaves = Mapping[str, Array]
Ties = tuple[tuple[str, str, str], ...]
Prove = Callable[..., Outcome]

LOSSES = "tests.e2e.verify_losses"


@pytest.fixture
def prove(run: Run, write: Write, tmp_path: Path) -> Prove:
    """Ties leaves one after the other and verifies what comes of it, as JSON.

    The original may be given other leaves after tying (`before`), every tie in the manifest
    another transform (`stated`), and `tie` and `verify` more options.
    """

    def make(
        leaves: Leaves,
        ties: Ties,
        *options: str,
        before: Leaves | None = None,
        stated: str | None = None,
        tie_with: tuple[str, ...] = (),
        json: bool = True,
    ) -> Outcome:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        original = written = write(folder / "original.safetensors", leaves)
        for number, (src, dst, transform) in enumerate(ties):
            tied = folder / f"tied{number}.safetensors"
            outcome = run("tie", written, "--src", src, "--dst", dst, "--transform", transform, *tie_with, "-o", tied)
            assert outcome.code == 0, outcome.stderr
            written = tied
        if stated is not None:
            edit_manifest(written, lambda record: record.update(transform=stated))
        if before is not None:
            write(original, {**leaves, **before})
        return run("verify", written, "--original", original, *(["--json"] if json else []), *options)

    return make


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Random float32 values."""
    return rng.normal(size=shape).astype(np.float32)


def contiguous(array: Array) -> Array:
    """A copy in C order."""
    return np.ascontiguousarray(array)


def next_up(array: Array, at: tuple[int, ...]) -> Array:
    """A copy that is one unit in the last place larger at one element."""
    changed = array.copy()
    changed[at] = np.nextafter(changed[at], np.float32(np.inf))
    return changed


def losses_of(outcome: Outcome, kind: str) -> dict[str, list[str]]:
    """The verdicts that losses of one kind gave, by point."""
    checks = [check for check in outcome.json["losses"] if check["kind"] == kind]
    return {check["point"]: [tie["verdict"] for tie in check["ties"]] for check in checks}


def measures_of(outcome: Outcome, point: str = "stored") -> list[dict[str, Any]]:
    """What the loss measured at a point, one entry a tie."""
    (check,) = [check for check in outcome.json["losses"] if check["kind"] == "loss" and check["point"] == point]
    found: list[dict[str, Any]] = check["ties"]
    return found


def test_one_layer_of_a_stack_is_the_one_that_fails(prove: Prove, rng: np.random.Generator) -> None:
    """Layers follow from one stacked leaf; in the original, one element of one layer is another."""
    stack = normal(rng, 4, 5, 3)
    leaves = {"w": stack, **{f"layer.{i}.w": stack[i] for i in range(4)}}
    ties = tuple(("w", f"layer.{i}.w", f"[{i}]") for i in range(4))
    before = {"layer.2.w": next_up(stack[2], (3, 1))}

    outcome = prove(leaves, ties, before=before)
    shown = prove(leaves, ties, before=before, json=False)

    assert (outcome.code, verdicts(outcome)) == (1, ["PASS", "PASS", "FAIL", "PASS"])
    wrong = outcome.json["ties"][2]
    assert (wrong["alias"], wrong["transform"], wrong["worst"], wrong["max_ulp"]) == ("layer.2.w", "[2]", [3, 1], 1)
    assert "1 of 15 elements differ" in wrong["reason"]
    assert "first at [3, 1]" in wrong["reason"]
    assert "FAIL layer.2.w: 1 of 15 elements differ" in " ".join(shown.stdout.split())
    assert shown.stdout.count("FAIL") == 2  # in the table, and with its reason


def test_a_stack_names_the_layer_that_is_wrong(prove: Prove, rng: np.random.Generator) -> None:
    """The other way around, the stacked leaf is the alias of one layer for all: the index begins with the layer."""
    layer = normal(rng, 5, 3)
    stack = contiguous(np.broadcast_to(layer, (4, 5, 3)))
    other = normal(rng, 2, 5, 3)
    leaves = {"w": layer, "stack": stack, "v": other[:1], "other": np.repeat(other[:1], 3, 0)}
    ties = (("w", "stack", "reshape(1,5,3) | repeat(0,4)"), ("v", "other", "repeat(0,3)"))

    outcome = prove(leaves, ties, before={"stack": next_up(stack, (2, 3, 1))})

    assert (outcome.code, verdicts(outcome)) == (1, ["FAIL", "PASS"])
    wrong = outcome.json["ties"][0]
    assert (wrong["differing"], wrong["worst"]) == (1, [2, 3, 1])
    assert "first at [2, 3, 1]" in wrong["reason"]


@pytest.mark.parametrize(
    ("make", "transform"),
    [
        (lambda a: np.stack([a] * 4), "reshape(1,5,3) | repeat(0,4)"),
        (lambda a: np.stack([a] * 4).reshape(2, 2, 5, 3), "reshape(1,5,3) | repeat(0,4) | reshape(2,2,5,3)"),
        (lambda a: np.stack([-a] * 4, 2), "reshape(5,3,1) | repeat(2,4) | neg"),
        (lambda a: np.concatenate([a] * 2)[None], "reshape(1,5,3) | repeat(0,2) | reshape(1,10,3)"),
        (lambda a: np.pad(np.stack([a] * 4), ((1, 1), (0, 0), (0, 0))), "reshape(1,5,3) | repeat(0,4) | pad(0,1,1)"),
        (lambda a: np.repeat(a, 2, 0), "repeat(0,2)"),
    ],
    ids=["layers", "two axes", "negated", "joined", "padded", "rows"],
)
def test_layers_that_repeat_one_leaf_are_not_ambiguous(
    prove: Prove, rng: np.random.Generator, make: Callable[[Array], Array], transform: str
) -> None:
    """Flipped, or in another order, they are the same whatever the leaf: that is no other transform."""
    leaf = normal(rng, 5, 3)

    right = prove({"a": leaf, "b": contiguous(make(leaf))}, (("a", "b", transform),))
    constant = prove({"a": np.ones_like(leaf), "b": contiguous(make(np.ones_like(leaf)))}, (("a", "b", transform),))

    assert (right.code, verdicts(right), right.json["ties"][0]["fits"]) == (0, ["PASS"], [transform])
    assert verdicts(constant) == ["AMBIGUOUS"]


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.0, "PASS"), (-0.0, "FAIL"), (1e-45, "FAIL"), (0.5, "FAIL")], ids=repr
)
def test_padded_rows_are_exactly_zero(prove: Prove, rng: np.random.Generator, value: float, verdict: str) -> None:
    """The canonical leaf has no gradient from there, so that bytes alone can tell."""
    leaf = normal(rng, 5, 4)
    padded = np.concatenate([leaf, np.zeros((3, 4), np.float32)])
    before = padded.copy()
    before[6, 2] = value

    outcome = prove({"a": leaf, "b": padded}, (("a", "b", "pad(0,0,3)"),), before={"b": before})

    (tie,) = outcome.json["ties"]
    assert (outcome.code, tie["verdict"]) == (int(verdict == "FAIL"), verdict)
    assert verdict == "PASS" or (tie["differing"], "first at [6, 2]" in tie["reason"]) == (1, True)


@pytest.mark.parametrize(("stated", "verdict"), [(None, "PASS"), ("transpose", "FAIL")])
def test_a_conjugate_transpose(prove: Prove, rng: np.random.Generator, stated: str | None, verdict: str) -> None:
    """Of a complex leaf; without the conjugation it is another leaf."""
    leaf = (normal(rng, 6, 6) + 1j * normal(rng, 6, 6)).astype(np.complex64)

    outcome = prove({"a": leaf, "b": contiguous(leaf.T.conj())}, (("a", "b", "transpose | conj"),), stated=stated)

    (tie,) = outcome.json["ties"]
    assert (outcome.code, tie["verdict"]) == (int(verdict == "FAIL"), verdict)
    assert (tie["probe_error"] <= tie["probe_bound"]) == (verdict == "PASS")
    assert min(tie["grad_src_norm"], tie["grad_dst_norm"]) > 0.1


@pytest.mark.parametrize("transform", ["same", "transpose | conj"])
def test_a_hermitian_matrix_is_ambiguous(prove: Prove, rng: np.random.Generator, transform: str) -> None:
    """What a symmetric one is among real matrices; that the sign of an imaginary zero turns tells nothing."""
    half = (normal(rng, 6, 6) + 1j * normal(rng, 6, 6)).astype(np.complex64)
    leaf = half + half.conj().T
    alias = leaf if transform == "same" else contiguous(leaf.conj().T)

    outcome = prove({"enc": leaf, "dec": alias}, (("enc", "dec", transform),))

    assert (outcome.code, verdicts(outcome)) == (1, ["AMBIGUOUS"])
    assert set(outcome.json["ties"][0]["fits"]) == {"same", "transpose | conj"}


def test_a_real_leaf_in_complex_numbers_is_ambiguous(prove: Prove, rng: np.random.Generator) -> None:
    """Its conjugate is the same, whatever its shape; with one imaginary part it is not."""
    leaf = normal(rng, 5, 3).astype(np.complex64)
    turned = leaf.copy()
    turned[4, 2] += 1j

    real, one = (prove({"a": x, "b": x}, (("a", "b", "same"),)) for x in (leaf, turned))

    assert [*verdicts(real), *verdicts(one)] == ["AMBIGUOUS", "PASS"]
    assert real.json["ties"][0]["fits"] == ["same", "conj"]


@pytest.mark.parametrize("transform", ["same", "transpose"])
def test_large_leaves_are_ambiguous_too(prove: Prove, rng: np.random.Generator, transform: str) -> None:
    """A symmetric matrix of more than one block of 8 MiB."""
    half = normal(rng, 1600, 1600)
    leaf = half + half.T

    outcome = prove({"enc": leaf, "dec": leaf}, (("enc", "dec", transform),))

    assert (outcome.code, verdicts(outcome)) == (1, ["AMBIGUOUS"])
    assert set(outcome.json["ties"][0]["fits"]) == {"same", "transpose"}


def test_a_transform_as_long_as_one_can_be(prove: Prove, rng: np.random.Generator) -> None:
    """It takes no further step, so that nothing is left to confuse it with."""
    leaf = made = normal(rng, 4, 4)
    for _ in range(8):
        made = np.concatenate([np.zeros((1, 4), np.float32), made])[::-1]

    outcome = prove({"a": leaf, "b": contiguous(made)}, (("a", "b", " | ".join(["pad(0,1,0) | flip(0)"] * 8)),))

    assert (outcome.code, verdicts(outcome)) == (0, ["PASS"])


def test_rounding_to_bfloat16_goes_one_way(prove: Prove, rng: np.random.Generator) -> None:
    """The bfloat16 leaf follows from the float32 one; the other way around digits are lost."""
    wide = normal(rng, 6, 4)
    leaves = {"wide": wide, "narrow": wide.astype(ml_dtypes.bfloat16)}

    right = prove(leaves, (("wide", "narrow", "cast(bf16)"),))
    wrong = prove(leaves, (("narrow", "wide", "cast(f32)"),), tie_with=("--keep", "src"))

    assert (right.code, verdicts(right)) == (0, ["PASS"])
    assert (wrong.code, verdicts(wrong)) == (1, ["FAIL"])
    assert "lossy: no BF16 leaf can give the F32 values of `wide`" in wrong.json["ties"][0]["reason"]


def test_what_a_narrow_leaf_could_give_is_not_lossy(prove: Prove, rng: np.random.Generator) -> None:
    """The float32 alias has values of bfloat16, but other ones: the direction is not what is wrong."""
    narrow = normal(rng, 6, 4).astype(ml_dtypes.bfloat16)
    leaves = {"narrow": narrow, "wide": narrow.astype(np.float32)}

    right = prove(leaves, (("narrow", "wide", "cast(f32)"),))
    wrong = prove(leaves, (("narrow", "wide", "cast(f32)"),), before={"wide": contiguous(leaves["wide"][::-1])})

    assert (right.code, verdicts(right)) == (0, ["PASS"])
    assert (wrong.code, verdicts(wrong)) == (1, ["FAIL"])
    assert "lossy" not in wrong.json["ties"][0]["reason"]


@pytest.mark.parametrize("name", ["cancelling", "nearly_cancelling"])
def test_gradients_that_cancel_are_not_vacuous(prove: Prove, rng: np.random.Generator, name: str) -> None:
    """Almost nothing is left of the sum, but each of the two was there to be seen; and so is a mistake."""
    leaf = normal(rng, 6, 6)
    leaves = {"a": leaf, "b": contiguous(leaf.T)}
    ties = (("a", "b", "transpose"),)

    right = prove(leaves, ties, "--loss", f"{LOSSES}:{name}")
    wrong = prove(leaves, ties, "--loss", f"{LOSSES}:{name}", before={"b": next_up(leaves["b"], (4, 1))})

    assert (right.code, verdicts(right)) == (0, ["PASS"])
    assert set(map(tuple, losses_of(right, "loss").values())) == {("PASS",)}
    (measure,) = measures_of(right)
    assert measure["grad_src_norm"] == pytest.approx(measure["grad_dst_norm"], rel=1e-8)
    assert measure["grad_src_norm"] > 0.1
    assert losses_of(wrong, "loss")["stored"] == ["FAIL"]


def test_the_middle_of_a_chain_has_a_gradient_of_its_own(prove: Prove, rng: np.random.Generator) -> None:
    """Of a, b = a.T, c = b[:3]: a reference that drops b's own gradient gives the same loss, and fails."""
    a = normal(rng, 6, 6)
    leaves = {"a": a, "b": contiguous(a.T), "c": contiguous(a.T[:3])}
    ties = (("b", "c", "[:3]"), ("a", "b", "transpose"))
    with_loss = ("--loss", f"{LOSSES}:chain", "--reference-loss")

    right = prove(leaves, ties, *with_loss, f"{LOSSES}:chain_tied")
    wrong = prove(leaves, ties, *with_loss, f"{LOSSES}:chain_without_the_middle")

    assert (right.code, set(verdicts(right))) == (0, {"PASS"})
    assert {tie["canonical"] for tie in right.json["ties"]} == {"a"}
    assert all(measure["grad_dst_norm"] > 0.1 for measure in measures_of(right))
    assert (wrong.code, set(verdicts(wrong))) == (1, {"FAIL"})
    assert all("gradient at `a`" in tie["reason"] for tie in wrong.json["ties"])
    reference = [check for check in wrong.json["losses"] if check["kind"] == "reference"]
    assert all(check["loss_tied"] == pytest.approx(check["loss_other"], rel=1e-12) for check in reference)


def test_a_wrong_transform_that_agrees_at_the_stored_point(prove: Prove, rng: np.random.Generator) -> None:
    """x = I and a symmetric W: loss and gradient are those of either transform, until W moves."""
    leaf = normal(rng, 6, 6)
    leaf += leaf.T
    leaves, ties = {"a": leaf, "b": leaf}, (("a", "b", "transpose"),)
    with_loss = ("--loss", f"{LOSSES}:of_identity", "--reference-loss")

    alone = prove(leaves, ties)
    right = prove(leaves, ties, *with_loss, f"{LOSSES}:of_identity_transposed")
    wrong = prove(leaves, ties, *with_loss, f"{LOSSES}:of_identity_same")

    assert (alone.code, verdicts(alone)) == (1, ["AMBIGUOUS"])
    assert (right.code, verdicts(right)) == (0, ["PASS"])
    assert losses_of(wrong, "loss") == {"stored": ["PASS"], "perturbed 1": ["PASS"], "perturbed 2": ["PASS"]}
    assert losses_of(wrong, "reference") == {"stored": ["PASS"], "perturbed 1": ["FAIL"], "perturbed 2": ["FAIL"]}
    assert (wrong.code, verdicts(wrong)) == (1, ["FAIL"])
    assert "perturbed 1" in wrong.json["ties"][0]["reason"]


def test_an_identity_matrix_is_ambiguous(prove: Prove) -> None:
    """It is its own transpose; a constant factor or a flip would show."""
    leaf = np.eye(5, dtype=np.float32)

    outcome = prove({"a": leaf, "b": leaf}, (("a", "b", "same"),))

    assert (outcome.code, verdicts(outcome)) == (1, ["AMBIGUOUS"])
    assert {"same", "transpose"} <= set(outcome.json["ties"][0]["fits"])


@pytest.mark.parametrize("wrong", [None, "transposed", "one ulp"])
def test_gradients_of_any_size_are_judged_alike(prove: Prove, rng: np.random.Generator, wrong: str | None) -> None:
    """Those of 1e4 and those of 1e-6 pass and fail with the same ratio of error and bound."""
    leaf = normal(rng, 6, 6)
    leaves, ties = {"a": leaf, "b": leaf}, (("a", "b", "same"),)
    before = {None: leaf, "transposed": contiguous(leaf.T), "one ulp": next_up(leaf, (1, 4))}[wrong]

    found = {
        name: prove(leaves, ties, "--loss", f"{LOSSES}:{name}", before={"b": before}) for name in ("large", "small")
    }

    expected = "FAIL" if wrong else "PASS"
    for outcome in found.values():
        assert (outcome.code, verdicts(outcome)) == (int(expected == "FAIL"), [expected])
        assert losses_of(outcome, "loss")["stored"] == [expected]
    (large,), (small,) = measures_of(found["large"]), measures_of(found["small"])
    assert large["grad_src_norm"] > 1e3
    assert small["grad_src_norm"] < 1e-5
    assert large["grad_dst_norm"] / small["grad_dst_norm"] == pytest.approx(1e10)
    assert large["probe_bound"] / small["probe_bound"] == pytest.approx(1e10)
    if wrong:
        assert large["probe_error"] / small["probe_error"] == pytest.approx(1e10, rel=1e-4)
