"""`tiecli verify`: what must pass, what must fail, and what must be said to be undecided."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tests.e2e.conftest import Outcome, Run, Write

pytest.importorskip("jax")

RNG = np.random.default_rng(20261121)
Leaves = Mapping[str, np.ndarray]
Tie = Callable[..., Path]


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Random values."""
    return RNG.normal(size=shape).astype(dtype)


def edit_manifest(path: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    """Changes the first tie of a manifest, as somebody with an editor would."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["tiecli"])
    for record in manifest["ties"]:
        change(record)
    header["__metadata__"]["tiecli"] = json.dumps(manifest)
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    path.write_bytes(len(new).to_bytes(8, "little") + new + raw[8 + length :])


@pytest.fixture
def tied(run: Run, write: Write, tmp_path: Path) -> Tie:
    """Writes `original` with the given leaves, and `tied` made of it."""

    def make(leaves: Leaves, *ties: tuple[str, str, str]) -> Path:
        original = write(tmp_path / "original.safetensors", leaves)
        options = [option for src, dst, t in ties for option in ("--src", src, "--dst", dst, "--transform", t)]
        outcome = run("tie", original, *options, "-o", tmp_path / "tied.safetensors")
        assert outcome.code == 0, outcome.stderr
        return tmp_path / "tied.safetensors"

    return make


@pytest.fixture
def verify(run: Run, tmp_path: Path) -> Callable[..., Outcome]:
    """Verifies `tied` against `original`, as JSON."""

    def judge(*options: object) -> Outcome:
        return run(
            "verify", tmp_path / "tied.safetensors", "--original", tmp_path / "original.safetensors", "--json", *options
        )

    return judge


Judge = Callable[..., Outcome]


def verdicts(outcome: Outcome) -> list[str]:
    """The verdict of each tie."""
    return [tie["verdict"] for tie in outcome.json["ties"]]


@pytest.mark.parametrize(
    ("make", "transform"),
    [
        (lambda a: a, "same"),
        (lambda a: a.T, "transpose"),
        (lambda a: a[:5], "[:5]"),
        (lambda a: a * np.float32(0.125), "scale(1/8)"),
        (lambda a: -a, "neg"),
        (lambda a: a.reshape(4, 14), "reshape(4,14)"),
        (lambda a: np.concatenate([a, np.zeros((2, 7), a.dtype)]), "pad(0,0,2)"),
    ],
    ids=["same", "transpose", "slice", "scale", "neg", "reshape", "pad"],
)
def test_right_ties_pass(tied: Tie, verify: Judge, make: Callable[[np.ndarray], np.ndarray], transform: str) -> None:
    """Bytes, adjoint and gradients of each kind of transform."""
    left = normal(8, 7)
    tied({"a": left, "b": np.ascontiguousarray(make(left)), "c": normal(3)}, ("a", "b", transform))

    outcome = verify()

    (tie,) = outcome.json["ties"]
    assert (outcome.code, tie["verdict"], tie["bytes"]) == (0, "PASS", "equal")
    assert tie["probe_error"] <= tie["probe_bound"]
    assert tie["grad_dst_norm"] > 1e-3
    assert outcome.json["others"] == {"compared": 2, "differing": []}


def test_a_transpose_declared_same_fails(tied: Tie, verify: Judge, tmp_path: Path) -> None:
    """A square matrix has the right shape under both."""
    square = normal(6, 6)
    tied({"a": square, "b": np.ascontiguousarray(square.T)}, ("a", "b", "transpose"))
    edit_manifest(tmp_path / "tied.safetensors", lambda record: record.update(transform="same"))

    outcome = verify()

    (tie,) = outcome.json["ties"]
    assert (outcome.code, tie["verdict"], tie["bytes"]) == (1, "FAIL", "differ")
    assert tie["probe_error"] > 1e6 * tie["probe_bound"]


def test_swapped_destinations_fail(tied: Tie, verify: Judge, tmp_path: Path) -> None:
    """Two ties of one shape, their aliases exchanged: shapes alone see nothing."""
    a, b = normal(5, 4), normal(5, 4)
    tied({"a": a, "b": b, "x": a, "y": b}, ("a", "x", "same"), ("b", "y", "same"))
    edit_manifest(
        tmp_path / "tied.safetensors", lambda record: record.update(alias={"x": ["y"], "y": ["x"]}[record["alias"][0]])
    )

    outcome = verify()

    assert outcome.code == 1
    assert verdicts(outcome) == ["FAIL", "FAIL"]
    assert all(tie["probe_error"] > 1e3 * tie["probe_bound"] for tie in outcome.json["ties"])


@pytest.mark.parametrize(
    "make", [lambda a: a + a.T, np.zeros_like, np.ones_like], ids=["symmetric", "zero", "constant"]
)
def test_what_bytes_cannot_tell_is_ambiguous(
    tied: Tie, verify: Judge, make: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Every transform that fits is listed, and only the user can accept the stated one."""
    leaf = make(normal(6, 6))
    tied({"a": leaf, "b": leaf}, ("a", "b", "same"))

    outcome = verify()

    assert outcome.code == 1
    assert verdicts(outcome) == ["AMBIGUOUS"]
    assert {"same", "transpose"} <= set(outcome.json["ties"][0]["fits"])
    assert verify("--allow", "ambiguous").code == 0


def test_one_ulp_fails_with_its_place(tied: Tie, write: Write, verify: Judge, tmp_path: Path) -> None:
    """The original's alias is off by one unit in the last place, in one element."""
    a = normal(9, 4)
    tied({"a": a, "b": a}, ("a", "b", "same"))
    off = a.copy()
    off[3, 2] = np.nextafter(off[3, 2], np.float32(9))
    write(tmp_path / "original.safetensors", {"a": a, "b": off})

    (tie,) = verify().json["ties"]

    assert (tie["verdict"], tie["differing"], tie["max_ulp"], tie["worst"]) == ("FAIL", 1, 1, [3, 2])
    assert tie["probe_error"] > tie["probe_bound"]


def test_the_worst_of_several_places_is_named(tied: Tie, write: Write, verify: Judge, tmp_path: Path) -> None:
    """Beside the first."""
    a = normal(4, 3)
    tied({"a": a, "b": a}, ("a", "b", "same"))
    changed = a.copy()
    changed[0, 1] = np.nextafter(changed[0, 1], np.float32(9))
    changed[2, 2] += 1
    write(tmp_path / "original.safetensors", {"a": a, "b": changed})

    (tie,) = verify().json["ties"]

    assert "first at [0, 1], worst at [2, 2]" in tie["reason"]
    assert tie["worst"] == [2, 2]


def test_negative_zero_is_another_value(tied: Tie, write: Write, verify: Judge, tmp_path: Path) -> None:
    """Bits decide."""
    a = normal(4, 3)
    a[1, 1] = 0.0
    tied({"a": a, "b": a}, ("a", "b", "same"))
    other = a.copy()
    other[1, 1] = -0.0
    write(tmp_path / "original.safetensors", {"a": a, "b": other})

    assert verdicts(verify()) == ["FAIL"]


def test_nans_on_both_sides_pass_with_a_note(tied: Tie, write: Write, verify: Judge, tmp_path: Path) -> None:
    """Identical ones are left out of the probe; one side alone fails."""
    a = normal(4, 3)
    a[2, 0] = np.nan
    tied({"a": a, "b": a}, ("a", "b", "same"))

    (tie,) = verify().json["ties"]
    assert tie["verdict"] == "PASS"
    assert any("finite" in note or "NaN" in note for note in tie["notes"])

    clean = a.copy()
    clean[2, 0] = 1
    write(tmp_path / "original.safetensors", {"a": clean, "b": a})
    assert verdicts(verify()) == ["FAIL"]


def test_large_values_do_not_overflow(tied: Tie, verify: Judge) -> None:
    """A float32 of 3e19, whose square is no float32."""
    a = normal(4, 3) * np.float32(3e19)
    tied({"a": a, "b": a}, ("a", "b", "same"))

    assert verdicts(verify()) == ["PASS"]


def test_rounding_goes_one_way(tied: Tie, verify: Judge) -> None:
    """The narrower leaf follows from the wider one."""
    wide = normal(6, 4)
    tied({"a": wide, "b": wide.astype(np.float16)}, ("a", "b", "cast(f16)"))

    assert verdicts(verify()) == ["PASS"]


def test_many_aliases_of_one_leaf(tied: Tie, verify: Judge) -> None:
    """A 96-way tie: one gradient is the sum of all."""
    leaf = normal(5, 3)
    tied({"a": leaf, **{f"b{i}": leaf for i in range(95)}}, *(("a", f"b{i}", "same") for i in range(95)))

    outcome = verify()

    assert outcome.code == 0
    assert verdicts(outcome) == ["PASS"] * 95


def test_integers_are_judged_by_bytes(tied: Tie, verify: Judge) -> None:
    """They have no gradient."""
    leaf = np.arange(12, dtype=np.int64).reshape(3, 4)
    tied({"a": leaf, "b": leaf}, ("a", "b", "same"))

    outcome = verify()

    assert (outcome.code, verdicts(outcome)) == (0, ["NOT APPLICABLE"])


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integers_are_never_ambiguous(tied: Tie, verify: Judge, dtype: str) -> None:
    """As `jax.random.PRNGKey(0)`: nothing moves zeros apart that have no gradient. What fits is listed all the same."""
    leaf = np.zeros((2, 2), dtype)
    tied({"a": leaf, "b": leaf}, ("a", "b", "same"))

    outcome = verify()

    assert (outcome.code, verdicts(outcome)) == (0, ["NOT APPLICABLE"])
    assert outcome.json["ties"][0]["fits"][0] == "same"
    assert len(outcome.json["ties"][0]["fits"]) > 1


def test_an_edited_canonical_leaf_is_stale(run: Run, tied: Tie, tmp_path: Path) -> None:
    """A byte of the stored leaf changed after tying; no original is needed to see that."""
    a = normal(5, 4)
    path = tied({"a": a, "b": a}, ("a", "b", "same"))
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)

    outcome = run("verify", path, "--json")

    assert (outcome.code, verdicts(outcome)) == (1, ["FAIL"])
    assert "stale" in outcome.json["ties"][0]["reason"]


def test_an_alias_stored_again_is_rejected(run: Run, write: Write, tied: Tie, tmp_path: Path) -> None:
    """With other bytes than the tie gives, a loader takes one and the manifest says the other."""
    a = normal(5, 4)
    path = tied({"a": a, "b": a}, ("a", "b", "same"))
    raw = path.read_bytes()
    manifest = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["tiecli"]
    write(path, {"a": a, "b": normal(5, 4)}, {"tiecli": manifest})

    outcome = run("verify", path, "--json")

    assert (outcome.code, verdicts(outcome), outcome.json["verdict"]) == (1, ["REJECT"], "REJECT")


def test_other_leaves_must_be_the_originals(tied: Tie, write: Write, verify: Judge, tmp_path: Path) -> None:
    """A leaf that is not tied changed as well."""
    a, c = normal(5, 4), normal(3)
    tied({"a": a, "b": a, "c": c}, ("a", "b", "same"))
    write(tmp_path / "original.safetensors", {"a": a, "b": a, "c": c + 1})

    outcome = verify()

    assert outcome.code == 1
    assert outcome.json["others"]["differing"] == ["c"]


def test_without_the_original_the_digest_serves(run: Run, tied: Tie) -> None:
    """Recorded at tie time, over the values of the alias."""
    a = normal(5, 4)
    path = tied({"a": a, "b": np.ascontiguousarray(a.T)}, ("a", "b", "transpose"))

    outcome = run("verify", path, "--json")

    assert (outcome.code, outcome.json["ties"][0]["bytes"]) == (0, "as recorded")


LOSSES = """
import jax, jax.numpy as jnp

X = jnp.sin(jnp.arange(12.0)).reshape(2, 6)

def loss(tree, key):
    return jnp.mean((jnp.tanh(X @ tree["a"]) @ tree["b"] - X) ** 2)

def transposed(tree, key):
    return jnp.mean((jnp.tanh(X @ tree["a"]) @ tree["a"].T - X) ** 2)

def same(tree, key):
    return jnp.mean((jnp.tanh(X @ tree["a"]) @ tree["a"] - X) ** 2)

def stopped(tree, key):
    return jnp.mean((jnp.tanh(X @ tree["a"]) @ jax.lax.stop_gradient(tree["b"]) - X) ** 2)

def nothing(tree, key):
    raise RuntimeError("no data")
"""


@pytest.fixture
def symmetric(tied: Tie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symmetric leaf tied by transposition, and losses in the working directory."""
    leaf = normal(6, 6)
    leaf += leaf.T
    tied({"a": leaf, "b": leaf}, ("a", "b", "transpose"))
    (tmp_path / "e2e_losses.py").write_text(LOSSES)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("symmetric")
def test_a_reference_settles_what_bytes_leave_open(verify: Judge) -> None:
    """At the stored point both references agree; at perturbed points only the right one does."""
    right = verify("--loss", "e2e_losses:loss", "--reference-loss", "e2e_losses:transposed")
    wrong = verify("--loss", "e2e_losses:loss", "--reference-loss", "e2e_losses:same")

    assert (right.code, verdicts(right)) == (0, ["PASS"])
    assert (wrong.code, verdicts(wrong)) == (1, ["FAIL"])
    stored = [check["ties"][0]["verdict"] for check in wrong.json["losses"] if check["kind"] == "reference"]
    assert len(stored) >= 3


@pytest.mark.usefixtures("symmetric")
def test_a_loss_that_ignores_a_leaf_shows_nothing(verify: Judge) -> None:
    """stop_gradient on the alias: VACUOUS, not PASS."""
    outcome = verify("--loss", "e2e_losses:stopped", "--allow", "ambiguous")

    assert (outcome.code, verdicts(outcome)) == (1, ["VACUOUS"])


@pytest.mark.usefixtures("symmetric")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("e2e_losses:nothing", "no data"),
        ("e2e_losses:absent", "absent"),
        ("nowhere:loss", "nowhere"),
        ("loss", "module"),
        ("", "names no function"),
    ],
)
def test_losses_that_cannot_be_used(run: Run, tmp_path: Path, name: str, found: str) -> None:
    """One line each, exit code 2."""
    outcome = run("verify", tmp_path / "tied.safetensors", "--loss", name)

    assert outcome.code == 2
    assert found in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.usefixtures("symmetric")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_training_stays_together(verify: Judge, optimizer: str) -> None:
    """Tied, and untied with summed gradients; without the sum they part."""
    outcome = verify("--loss", "e2e_losses:loss", "--steps", "5", "--optimizer", optimizer, "--allow", "ambiguous")

    trajectory = outcome.json["trajectory"]
    assert trajectory["holds"] is True
    assert len(trajectory["tied_apart"]) == 5
    assert max(trajectory["naive_apart"]) > 1e3 * max(trajectory["tied_apart"])


def test_orbax_and_a_page(run: Run, tmp_path: Path) -> None:
    """Both modes of a tie in an Orbax item, and the report as a page."""
    source = Path(__file__).parents[2] / "fixtures/orbax/pytree"
    request = ("--src", "params.token_embedder.embedding", "--dst", "params.decoder.logits_dense.kernel")
    for mode in ("omit", "alias"):
        tied = tmp_path / mode
        assert run("tie", source, *request, "--transform", "transpose", "--mode", mode, "-o", tied).code == 0

        outcome = run("verify", tied, "--original", source, "--html", tmp_path / f"{mode}.html")

        assert outcome.code == 0, outcome.stdout
        assert "PASS" in outcome.stdout
        page = (tmp_path / f"{mode}.html").read_text()
        assert "logits_dense" in page
        assert "<svg" in page


@pytest.mark.parametrize("name", ["model.safetensors", "nowhere/page.html"])
def test_a_page_that_cannot_be_written_is_refused_first(run: Run, model: Path, name: str) -> None:
    """Before anything is computed: a checkpoint without a tie would be refused for that."""
    outcome = run("verify", model, "--html", model.parent / name)

    assert outcome.code == 2
    assert f"{name}`" in outcome.stderr.splitlines()[0]
    assert "Name another file" in outcome.stderr


def test_nothing_to_verify(run: Run, model: Path) -> None:
    """A checkpoint without any tie is refused, with the next command."""
    outcome = run("verify", model)

    assert outcome.code == 2
    assert "states no tie" in outcome.stderr
    assert "tiecli find" in outcome.stderr


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"optimizer": "lion"}])
def test_an_exercise_that_cannot_be(wrong: dict[str, Any]) -> None:
    """Refused from Python too, before anything is read."""
    with pytest.raises(tiecli.TiecliError, match="expected"):
        tiecli.Exercise(**wrong)
