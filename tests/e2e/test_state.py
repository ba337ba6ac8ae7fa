"""Optimizer state through `tie` and `untie`: checkpoints written by hand, no framework in sight."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.e2e.conftest import Outcome, Run, Write
from tiecli.checkpoints import open_reader
from tiecli.cli.entry import main
from tiecli.pytrees import list_leaves, load, save
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward

Array = NDArray[Any]
Arrays = Mapping[str, Array]
FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
EMBED, HEAD = "embed.w", "head.w"
TIE = ("--src", EMBED, "--dst", HEAD)
LAYOUTS = {
    "torch": ("optimizer.state.{leaf}.{slot}", "exp_avg", "exp_avg_sq"),
    "optax": ("opt_state.0.{slot}.{leaf}", "mu", "nu"),
}


class Adam:
    """The state of an Adam, as one layout names it."""

    def __init__(self, rng: np.random.Generator, layout: str = "torch") -> None:
        self.rng = rng
        self.name, *self.slots = LAYOUTS[layout]

    def first(self, leaf: str) -> str:
        """Names the first moment of a leaf."""
        return self.name.format(leaf=leaf, slot=self.slots[0])

    def second(self, leaf: str) -> str:
        """Names the second."""
        return self.name.format(leaf=leaf, slot=self.slots[1])

    def step(self, leaf: str) -> str:
        """Names the count of a leaf, which torch keeps."""
        return self.name.format(leaf=leaf, slot="step")

    def train(self, params: Arrays, copies: Mapping[str, str] | None = None) -> dict[str, Array]:
        """Makes a state; that of copies is what they are copies of."""
        state: dict[str, Array] = {}
        for leaf, values in params.items():
            moment = self.rng.standard_normal(values.shape).astype(np.float32)
            if copies and leaf in copies:
                moment = state[self.first(copies[leaf])]
            state |= {self.first(leaf): moment, self.second(leaf): moment * moment}
            if self.slots[0] == "exp_avg":
                state[self.step(leaf)] = np.array(10_000, np.float32)
            else:
                state["opt_state.0.count"] = np.array(10_000, np.int64)
        return state


def succeed(outcome: Outcome) -> Outcome:
    """A command that was to work."""
    assert outcome.code == 0, outcome.stderr
    return outcome


def add(*parts: Array) -> Array:
    """Adds in float64, rounds once."""
    total: Array = sum(part.astype(np.float64) for part in parts)  # type: ignore[assignment]
    return total.astype(np.float32)


def by_alias(report: Any) -> dict[str, Any]:
    """Gives what is said of each slot."""
    return {slot["alias"]: slot for slot in report["state"]}


@pytest.fixture
def params(rng: np.random.Generator) -> dict[str, Array]:
    """A table, its copy, and something else."""
    table = rng.standard_normal((10, 4)).astype(np.float32)
    return {EMBED: table, "mix.w": rng.standard_normal((4, 4)).astype(np.float32), HEAD: table}


def list_names(path: Path) -> set[str]:
    """Lists what is stored."""
    with open_reader(path) as reader:
        return {place.spelling for place in reader.specs()}


def read_all(path: Path) -> dict[str, Array]:
    """Reads every leaf of a tree, second names among them."""
    return {place.spelling: array for place, array in list_leaves(load(path)).items()}


class TestTransforms:
    """Moments of an alias go back by the transposed map, and by that of its squares."""

    @pytest.mark.parametrize(
        ("transform", "shape"),
        [
            ("transpose", (6, 4)),
            ("neg", (6, 4)),
            ("scale(0.25)", (6, 4)),
            ("scale(-3)", (6, 4)),
            ("[:4]", (6, 4)),
            ("[..., 1:3]", (6, 4)),
            ("pad(0,0,2)", (6, 4)),
            ("[2] | transpose", (3, 6, 4)),
            ("reshape(-1)", (6, 4)),
            ("'(h k) d -> h k d', h=2 | flip(0)", (6, 4)),
            ("repeat(0,3)", (2, 4)),
            ("[::2]", (6, 4)),
            ("cast(bf16)", (6, 4)),
        ],
    )
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_one_leaf(
        self,
        run: Run,
        write: Write,
        tmp_path: Path,
        rng: np.random.Generator,
        transform: str,
        shape: tuple[int, ...],
        layout: str,
    ) -> None:
        """Told by the map's own matrix, column by column."""
        parsed = Transform.parse(transform)
        canonical = rng.integers(-8, 9, shape).astype(np.float32)
        model = {"a": canonical, "b": np.ascontiguousarray(forward(parsed, [canonical]))}
        optimizer = Adam(rng, layout)
        state = optimizer.train(model)
        write(tmp_path / "m.safetensors", {**model, **state})
        tied = tmp_path / "t.safetensors"
        tie = ("--src", "a", "--dst", "b", "--transform", transform)
        report = succeed(run("tie", tmp_path / "m.safetensors", *tie, "-o", tied, "--json")).json

        matrix = self.find_matrix(parsed, shape)
        for name, weights in ((optimizer.first, matrix), (optimizer.second, matrix * matrix)):
            moved = (weights.T @ state[name("b")].astype(np.float64).reshape(-1)).reshape(shape)
            assert np.allclose(load_file(tied)[name("a")], state[name("a")] + moved, rtol=1e-6, atol=1e-6)
        assert by_alias(report)[optimizer.first("b")]["exact"]
        assert not by_alias(report)[optimizer.second("b")]["exact"]
        assert not [name for name in load_file(tied) if "b" in name.split(".")]
        assert ("a factor of" in " ".join(report["notices"])) == ("scale" in transform)

    def find_matrix(self, transform: Transform, shape: tuple[int, ...]) -> Array:
        """Gives the matrix of a linear map."""
        basis = np.eye(int(np.prod(shape)), dtype=np.float32)
        columns = [forward(transform, [one.reshape(shape)]).astype(np.float64).reshape(-1) for one in basis]
        return np.stack(columns, axis=1)

    @pytest.mark.parametrize("join", ["concat(0)", "concat(1)", "stack(0)"])
    def test_leaves_that_are_joined(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, join: str
    ) -> None:
        """Fused projections, layer by layer: each gets its own part, and `untie` gives the fused one back."""
        optimizer, model = Adam(rng, "optax"), dict[str, Array]()
        for layer in range(3):
            parts = [rng.standard_normal((4, 6)).astype(np.float32) for _ in "qkv"]
            model |= {f"h.{layer}.{name}": part for name, part in zip("qkv", parts, strict=True)}
            model[f"h.{layer}.qkv"] = forward(Transform.parse(join), parts)
        state = optimizer.train(model)
        write(tmp_path / "m.safetensors", {**model, **state})
        tie = ("--src", "(h.{i}.q, h.{i}.k, h.{i}.v)", "--dst", "h.{i}.qkv", "--transform", join)
        outcome = succeed(run("tie", tmp_path / "m.safetensors", *tie, "-o", tmp_path / "t.safetensors"))
        found = load_file(tmp_path / "t.safetensors")

        fused = state[optimizer.first("h.1.qkv")]
        part = {"concat(0)": fused[4:8], "concat(1)": fused[:, 6:12], "stack(0)": fused[1]}[join]
        assert np.array_equal(found[optimizer.first("h.1.k")], add(state[optimizer.first("h.1.k")], part))
        assert "opt_state.0.mu.h.2.qkv → (opt_state.0.mu.h.2.q, " in outcome.stdout
        succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors"))
        whole = load_file(tmp_path / "u.safetensors")
        merged = [whole[optimizer.second(f"h.0.{name}")] for name in "qkv"]
        assert np.array_equal(whole[optimizer.second("h.0.qkv")], forward(Transform.parse(join), merged))

    def test_slots_of_other_dtypes(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Rounded once, to that of the slot that takes the other up; the leaf's own matters not."""
        model = {name: values.astype(ml_dtypes.bfloat16) for name, values in params.items()}
        optimizer = Adam(rng)
        state = optimizer.train(params)
        state[optimizer.first(EMBED)] = state[optimizer.first(EMBED)].astype(ml_dtypes.bfloat16)
        write(tmp_path / "m.safetensors", {**model, **state})
        succeed(run("tie", tmp_path / "m.safetensors", *TIE, "-o", tmp_path / "t.safetensors"))
        found = load_file(tmp_path / "t.safetensors")[optimizer.first(EMBED)]
        exact = state[optimizer.first(EMBED)].astype(np.float64) + state[optimizer.first(HEAD)]

        assert found.dtype == ml_dtypes.bfloat16
        assert np.all(np.abs(found.astype(np.float64) - exact) <= np.abs(exact) * 2**-8)
        again = succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors", "--json")).json
        assert by_alias(again)[optimizer.first(HEAD)]["transform"] == "cast(F32)"


class TestRegimes:
    """What the state of two leaves tells of how they were trained."""

    def test_copies_come_back_bit_for_bit(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """One of the two is kept, and `untie` gives the file back as it was."""
        model = write(tmp_path / "m.safetensors", {**params, **Adam(rng).train(params, {HEAD: EMBED})})
        report = succeed(run("tie", model, *TIE, "-o", tmp_path / "t.safetensors", "--json")).json
        outcome = succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors"))

        assert [slot["regime"] for slot in report["state"]] == ["replicas", "replicas", "counts"]
        assert "as it was, bit for bit" in outcome.stdout
        assert (tmp_path / "u.safetensors").read_bytes() == model.read_bytes()

    def test_tied_and_untied_and_tied_again(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """What was merged comes back as copies, which are then kept as one: the same tied checkpoint."""
        write(tmp_path / "m.safetensors", {**params, **Adam(rng).train(params)})
        succeed(run("tie", tmp_path / "m.safetensors", *TIE, "-o", tmp_path / "t.safetensors"))
        succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors"))
        report = succeed(run("tie", tmp_path / "u.safetensors", *TIE, "-o", tmp_path / "a.safetensors", "--json")).json

        assert {slot["regime"] for slot in report["state"]} == {"replicas", "counts"}
        first, again = load_file(tmp_path / "t.safetensors"), load_file(tmp_path / "a.safetensors")
        assert first.keys() == again.keys()
        assert all(first[name].tobytes() == again[name].tobytes() for name in first)

    def test_two_aliases_of_one_leaf(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """At once, or one after the other: the same checkpoint; the copy is told from the one trained apart."""
        params |= {"copy.w": params[EMBED], "own.w": params[EMBED]}
        optimizer = Adam(rng)
        state = optimizer.train(params, {"copy.w": EMBED})
        model = write(tmp_path / "m.safetensors", {**params, **state})
        both = (*TIE, "--src", EMBED, "--dst", "copy.w")
        report = succeed(run("tie", model, *both, "-o", tmp_path / "both.safetensors", "--json")).json
        one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
        succeed(run("tie", model, "--src", EMBED, "--dst", "copy.w", "-o", one))
        succeed(run("tie", one, *TIE, "-o", two))

        said = by_alias(report)
        assert said[optimizer.first("copy.w")]["regime"] == "replicas"
        assert said[optimizer.first(HEAD)]["regime"] == "independent"
        found = load_file(tmp_path / "both.safetensors")
        expected = add(state[optimizer.first(EMBED)], state[optimizer.first(HEAD)])
        assert np.array_equal(found[optimizer.first(EMBED)], expected)
        assert {name: array.tobytes() for name, array in load_file(two).items()} == {
            name: array.tobytes() for name, array in found.items()
        }
        # What is recorded of the first tie follows the values that its leaf has now.
        assert succeed(run("verify", two, "--original", model)).code == 0
        back = succeed(run("untie", two, "--dst", "copy.w", "-o", tmp_path / "u.safetensors", "--json")).json
        assert {slot["alias"] for slot in back["state"]} == {
            name("copy.w") for name in (optimizer.first, optimizer.second, optimizer.step)
        }
        assert np.array_equal(load_file(tmp_path / "u.safetensors")[optimizer.first("copy.w")], expected)

    def test_a_leaf_that_others_follow_becomes_an_alias(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Its slots go on to the new root, with all that they took up before."""
        params["own.w"] = params[EMBED]
        optimizer = Adam(rng)
        state = optimizer.train(params)
        write(tmp_path / "m.safetensors", {**params, **state})
        succeed(run("tie", tmp_path / "m.safetensors", *TIE, "-o", tmp_path / "1.safetensors"))
        succeed(
            run("tie", tmp_path / "1.safetensors", "--src", "own.w", "--dst", EMBED, "-o", tmp_path / "2.safetensors")
        )
        found = load_file(tmp_path / "2.safetensors")

        total = add(add(state[optimizer.first(EMBED)], state[optimizer.first(HEAD)]), state[optimizer.first("own.w")])
        assert np.array_equal(found[optimizer.first("own.w")], total)
        assert not [name for name in found if "head" in name or "embed" in name]
        assert succeed(run("verify", tmp_path / "2.safetensors", "--original", tmp_path / "m.safetensors")).code == 0
        report = succeed(run("untie", tmp_path / "2.safetensors", "-o", tmp_path / "u.safetensors", "--json")).json
        assert len(report["state"]) == 6
        assert np.array_equal(load_file(tmp_path / "u.safetensors")[optimizer.first(HEAD)], total)

    def test_a_dead_alias_and_a_leaf_without_state(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Both leave the canonical leaf's as it is, and are told apart."""
        optimizer = Adam(rng)
        state = optimizer.train(params)
        dead = {name: np.zeros_like(array) if "head" in name else array for name, array in state.items()}
        without = {name: array for name, array in state.items() if "head" not in name}
        for kind, leaves in {"dead": dead, "without": without}.items():
            write(tmp_path / f"{kind}.safetensors", {**params, **leaves})
            outcome = succeed(
                run("tie", tmp_path / f"{kind}.safetensors", *TIE, "-o", tmp_path / f"{kind}.t.safetensors")
            )
            found = load_file(tmp_path / f"{kind}.t.safetensors")
            assert np.array_equal(found[optimizer.first(EMBED)], state[optimizer.first(EMBED)])
            said = {"dead": "never received a gradient", "without": f"no optimizer state is kept for `{HEAD}`"}
            assert said[kind] in outcome.stderr

    def test_a_fresh_state_is_kept(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Nothing was gathered yet, though a sign makes one zero of another."""
        params[HEAD] = -params[EMBED]
        state = {name: np.zeros_like(array) for name, array in Adam(rng).train(params).items()}
        model = write(tmp_path / "m.safetensors", {**params, **state})
        report = succeed(run("tie", model, *TIE, "--transform", "neg", "-o", tmp_path / "t.safetensors", "--json")).json

        assert {slot["regime"] for slot in report["state"]} == {"empty", "counts"}
        assert {slot["exact"] for slot in report["state"]} == {True}


class TestRefusals:
    """Nothing is guessed, and nothing written."""

    def check(self, run: Run, model: Path, says: str, *options: str) -> None:
        """Expects a refusal."""
        out = model.with_name("refused.safetensors")
        outcome = run("tie", model, *TIE, "-o", out, *options)
        assert outcome.code == 2
        assert says in outcome.stderr
        assert "hint: " in outcome.stderr
        assert not out.exists()

    def test_steps_that_differ(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """One leaf has one count."""
        optimizer = Adam(rng)
        state = optimizer.train(params)
        state[optimizer.step(HEAD)] = np.array(9_000, np.float32)
        model = write(tmp_path / "m.safetensors", {**params, **state})

        self.check(run, model, f"`{optimizer.step(HEAD)}` and `{optimizer.step(EMBED)}` differ")
        reset = succeed(run("tie", model, *TIE, "--state", "reset", "-o", tmp_path / "t.safetensors"))
        assert (
            "begins at zero again, of all parameters and with its counts: `exp_avg`, `exp_avg_sq`, `step`"
            in reset.stderr
        )
        assert not any(load_file(tmp_path / "t.safetensors")[optimizer.step(leaf)] for leaf in (EMBED, "mix.w"))

    def test_slots_of_unknown_meaning(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Preconditioners of leaves that were trained apart; a reset would not know what they begin at."""
        optimizer = Adam(rng)
        state = optimizer.train(params)
        state |= {f"optimizer.state.{leaf}.GG.0": np.eye(4, dtype=np.float32) for leaf in params}
        model = write(tmp_path / "m.safetensors", {**params, **state})

        self.check(run, model, "kept for `head.w`, as SOAP does: there is no known rule for it")
        self.check(run, model, "what it begins at is not known", "--state", "reset")

    def test_one_of_two_optimizers(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Whichever side it is that the other has none for."""
        optimizer = Adam(rng)
        state = optimizer.train(params)
        for gone in (optimizer.first(EMBED), optimizer.second(HEAD)):
            left = {name: array for name, array in state.items() if name != gone}
            model = write(tmp_path / "m.safetensors", {**params, **left})
            self.check(run, model, "a mask, or another optimizer, has one of them")

    def test_a_sum_too_large_for_its_dtype(
        self, run: Run, write: Write, tmp_path: Path, params: dict[str, Array]
    ) -> None:
        """Infinite moments would end the training without a word."""
        sizes = {EMBED: 5e4, HEAD: 6e4}
        state = {f"optimizer.state.{leaf}.exp_avg_sq": np.full((10, 4), it, np.float16) for leaf, it in sizes.items()}
        self.check(run, write(tmp_path / "m.safetensors", {**params, **state}), "F16, which cannot hold the sum")

    def test_slots_that_are_named_like_leaves(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """In a file of state alone the names of leaves stand for their slots; the better way is told."""
        state = {name.removeprefix("optimizer.state."): array for name, array in Adam(rng).train(params).items()}
        model = write(tmp_path / "m.safetensors", state)
        outcome = run("tie", model, *TIE)

        assert outcome.code == 2
        assert "name their checkpoint with --params" in outcome.stderr


class TestReset:
    """What begins anew."""

    def test_moments_and_counts_of_all_leaves_and_nothing_else(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Learning rates, the counts of their schedules and averages of parameters are not gathered."""
        optimizer = Adam(rng, "optax")
        count = np.array(7, np.int64)
        kept = {
            "opt_state.1.count": count,
            "opt_state.2.hyperparams.learning_rate": np.array(0.5, np.float32),
            "params_ema.embed.w": params[EMBED],
            "params_ema.head.w": params[EMBED],
        }
        state = {**optimizer.train(params), "opt_state.0.count": count, **kept}
        model = write(tmp_path / "m.safetensors", {**params, **state})
        report = succeed(run("tie", model, *TIE, "--state", "reset", "-o", tmp_path / "t.safetensors", "--json")).json
        found = load_file(tmp_path / "t.safetensors")

        assert not any(
            found[name].any() for name in found if ".mu." in name or ".nu." in name or name == "opt_state.0.count"
        )
        assert all(np.array_equal(found[name], array) for name, array in kept.items() if "head" not in name)
        assert {slot["slot"]: slot["regime"] for slot in report["state"]} == {
            "mu": "reset",
            "nu": "reset",
            "params_ema": "parameters",
        }
        succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors"))
        assert not load_file(tmp_path / "u.safetensors")[optimizer.first(HEAD)].any()

    def test_a_second_tie_resets_what_the_first_one_kept(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """And its record says so."""
        params["own.w"] = params[EMBED]
        optimizer = Adam(rng)
        write(tmp_path / "m.safetensors", {**params, **optimizer.train(params, {HEAD: EMBED})})
        succeed(run("tie", tmp_path / "m.safetensors", *TIE, "-o", tmp_path / "1.safetensors"))
        second = ("--src", EMBED, "--dst", "own.w", "--state", "reset")
        succeed(run("tie", tmp_path / "1.safetensors", *second, "-o", tmp_path / "2.safetensors"))
        outcome = succeed(run("untie", tmp_path / "2.safetensors", "--dst", HEAD, "-o", tmp_path / "u.safetensors"))

        assert "what it was is not kept" in outcome.stdout
        assert not load_file(tmp_path / "u.safetensors")[optimizer.first(HEAD)].any()
        assert run("verify", tmp_path / "2.safetensors").code == 0

    def test_where_there_is_nothing_to_reset(
        self, run: Run, write: Write, tmp_path: Path, params: dict[str, Array]
    ) -> None:
        """Is said."""
        outcome = succeed(run("tie", write(tmp_path / "m.safetensors", params), *TIE, "--state", "reset"))

        assert "there is no optimizer state of the aliases here, so none was reset" in outcome.stderr


class TestAverages:
    """Copies of the parameters follow as those do."""

    def make(self, write: Write, path: Path, params: dict[str, Array], drift: float) -> Path:
        """Writes a model with an average of its parameters, whose head has drifted."""
        averages = {f"ema_params.{name}": values * np.float32(0.5) for name, values in params.items()}
        averages["ema_params.head.w"] = averages["ema_params.head.w"] + np.float32(drift)
        return write(path, {**params, **averages})

    def test_they_are_tied_and_never_summed(
        self, run: Run, write: Write, tmp_path: Path, params: dict[str, Array]
    ) -> None:
        """And come back with their leaf."""
        model = self.make(write, tmp_path / "m.safetensors", params, 0)
        report = succeed(run("tie", model, *TIE, "-o", tmp_path / "t.safetensors", "--json")).json
        succeed(run("untie", tmp_path / "t.safetensors", "--dst", HEAD, "-o", tmp_path / "u.safetensors"))

        assert [(slot["regime"], slot["exact"]) for slot in report["state"]] == [("parameters", True)]
        assert "ema_params.head.w" not in load_file(tmp_path / "t.safetensors")
        assert {name: it.tobytes() for name, it in load_file(tmp_path / "u.safetensors").items()} == {
            name: it.tobytes() for name, it in load_file(model).items()
        }

    @pytest.mark.parametrize(("side", "left"), [("src", EMBED), ("dst", HEAD)])
    def test_those_that_drifted_need_a_side_as_leaves_do(
        self, run: Run, write: Write, tmp_path: Path, params: dict[str, Array], side: str, left: str
    ) -> None:
        """`--keep` is of both."""
        model = self.make(write, tmp_path / "m.safetensors", params, 0.125)
        refused = run("tie", model, *TIE, "-o", tmp_path / "t.safetensors")
        report = succeed(run("tie", model, *TIE, "--keep", side, "-o", tmp_path / "t.safetensors", "--json")).json

        assert refused.code == 2
        assert "`ema_params.head.w` is not `ema_params.embed.w`" in refused.stderr
        assert [slot["exact"] for slot in report["state"]] == [False]
        found = load_file(tmp_path / "t.safetensors")["ema_params.embed.w"]
        assert np.array_equal(found, load_file(model)[f"ema_params.{left}"])


class TestRequests:
    """However the ties are asked for."""

    def test_slots_are_not_asked_for_twice(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """What `find` finds of copies, slots among it, is one request with what goes along anyway."""
        optimizer = Adam(rng)
        model = write(tmp_path / "m.safetensors", {**params, **optimizer.train(params, {HEAD: EMBED})})
        named = (*TIE, "--src", optimizer.first(EMBED), "--dst", optimizer.first(HEAD))
        outputs = {"auto": ["--auto"], "named": [*named], "plain": [*TIE]}
        succeed(run("find", model, "--plan", tmp_path / "p.json"))
        outputs["plan"] = ["--plan", str(tmp_path / "p.json")]
        for name, options in outputs.items():
            report = succeed(run("tie", model, *options, "-o", tmp_path / f"{name}.safetensors", "--json")).json
            assert [tie["alias"] for tie in report["ties"]] == [HEAD]
            assert len(report["state"]) == 3
        files = [(tmp_path / f"{name}.safetensors").read_bytes() for name in outputs]
        assert files[1:] == files[:-1]

    def test_a_slot_that_is_asked_for_in_its_own_way(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Is a tie like any other, and refused if it does not hold."""
        optimizer = Adam(rng)
        model = write(tmp_path / "m.safetensors", {**params, **optimizer.train(params, {HEAD: EMBED})})
        slots = ("--src", optimizer.first(EMBED), "--dst", optimizer.first(HEAD))
        outcome = run("tie", model, *TIE, "--transform", "same", *slots, "--transform", "neg")

        assert outcome.code == 2
        assert "tie those, or name their checkpoint with --params" in outcome.stderr

    def test_leaves_that_drifted(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """`--keep` gives up values of the leaf; what was gathered is summed all the same."""
        params[HEAD] = params[HEAD] + np.float32(1)
        optimizer = Adam(rng)
        state = optimizer.train(params)
        model = write(tmp_path / "m.safetensors", {**params, **state})
        for side, left in (("src", EMBED), ("dst", HEAD)):
            tied = tmp_path / f"{side}.safetensors"
            succeed(run("tie", model, *TIE, "--keep", side, "-o", tied))
            assert np.array_equal(load_file(tied)[EMBED], params[left])
            expected = add(state[optimizer.first(EMBED)], state[optimizer.first(HEAD)])
            assert np.array_equal(load_file(tied)[optimizer.first(EMBED)], expected)

    def test_repeated_layers_by_a_pattern(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        """Their slots are shown together, and reported one by one."""
        table = rng.standard_normal((4, 4)).astype(np.float32)
        model = {f"h.{layer}.w": table for layer in range(12)}
        optimizer = Adam(rng)
        state = optimizer.train(model)
        write(tmp_path / "m.safetensors", {**model, **state})
        tie = ("tie", tmp_path / "m.safetensors", "--src", "h.0.w", "--dst", "h.{i}.w")
        shown, report = succeed(run(*tie)), succeed(run(*tie, "-o", tmp_path / "t.safetensors", "--json")).json

        assert "exp_avg of 11 leaves" in shown.stdout
        assert "summed; exact (independent)" in shown.stdout
        assert len(report["state"]) == 33
        total = add(*(state[optimizer.first(f"h.{layer}.w")] for layer in range(12)))
        assert np.array_equal(load_file(tmp_path / "t.safetensors")[optimizer.first("h.0.w")], total)

    def test_a_dry_run_shows_the_slots(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """And writes nothing."""
        optimizer = Adam(rng)
        model = write(tmp_path / "m.safetensors", {**params, **optimizer.train(params)})
        before = model.read_bytes()
        outcome = succeed(run("tie", model, *TIE, "--in-place", "--dry-run"))

        assert f"{optimizer.first(HEAD)} → {optimizer.first(EMBED)}" in outcome.stdout
        assert "a clip of the global norm saw their gradients apart, and sees the sum" in outcome.stderr
        assert model.read_bytes() == before

    def test_in_place(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """As to a new file, byte for byte."""
        model = write(tmp_path / "m.safetensors", {**params, **Adam(rng).train(params)})
        succeed(run("tie", model, *TIE, "-o", tmp_path / "t.safetensors"))
        succeed(run("tie", model, *TIE, "--in-place"))

        assert model.read_bytes() == (tmp_path / "t.safetensors").read_bytes()


class TestUntying:
    """What a leaf gets that is stored again."""

    def test_one_of_several_aliases(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Gets its own slots, and the others stay tied."""
        params["third.w"] = params[EMBED]
        optimizer = Adam(rng)
        copies = {HEAD: EMBED, "third.w": EMBED}
        model = write(tmp_path / "m.safetensors", {**params, **optimizer.train(params, copies)})
        tie = ("--src", EMBED, "--dst", "{head,third}.w")
        succeed(run("tie", model, *tie, "-o", tmp_path / "t.safetensors"))
        succeed(run("untie", tmp_path / "t.safetensors", "--dst", HEAD, "-o", tmp_path / "u.safetensors"))
        found = load_file(tmp_path / "u.safetensors")

        assert {name for name in found if "head" in name} == {
            HEAD,
            *(name(HEAD) for name in (optimizer.first, optimizer.second, optimizer.step)),
        }
        assert not [name for name in found if "third" in name]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_a_checkpoint_that_was_saved_tied(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array], layout: str
    ) -> None:
        """Nobody recorded slots: the leaf gets copies, counts included, and `tie` then finds replicas."""
        del params[HEAD]
        optimizer = Adam(rng, layout)
        state = optimizer.train(params)
        model = write(tmp_path / "m.safetensors", {**params, **state}, {HEAD: EMBED, "format": "pt"})
        outcome = succeed(run("untie", model, "-o", tmp_path / "u.safetensors"))
        found = load_file(tmp_path / "u.safetensors")

        assert "copied from the leaf it followed from" in outcome.stdout
        for name in (optimizer.first, optimizer.second, *([optimizer.step] if layout == "torch" else [])):
            assert np.array_equal(found[name(HEAD)], state[name(EMBED)])
        report = succeed(run("tie", tmp_path / "u.safetensors", *TIE, "-o", tmp_path / "t.safetensors", "--json")).json
        assert {slot["regime"] for slot in report["state"]} <= {"replicas", "counts"}

    def test_what_has_no_counterpart(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """A preconditioner of a matrix is none of the same matrix turned: the program must make one."""
        del params[HEAD]
        optimizer = Adam(rng)
        state = optimizer.train(params) | {f"optimizer.state.{EMBED}.GG": np.eye(10, dtype=np.float32)}
        write(tmp_path / "m.safetensors", {**params, HEAD: np.ascontiguousarray(params[EMBED].T), **state})
        tie = (*TIE, "--transform", "transpose")
        succeed(run("tie", tmp_path / "m.safetensors", *tie, "-o", tmp_path / "t.safetensors"))
        outcome = succeed(run("untie", tmp_path / "t.safetensors", "-o", tmp_path / "u.safetensors"))

        assert f"`optimizer.state.{EMBED}.GG` has no known counterpart" in outcome.stderr
        found = load_file(tmp_path / "u.safetensors")
        assert np.array_equal(found[optimizer.first(HEAD)], state[optimizer.first(EMBED)].T)


class TestElsewhere:
    """State in another file than the leaves, or in another item."""

    def test_a_file_beside_the_model(
        self,
        run: Run,
        write: Write,
        tmp_path: Path,
        rng: np.random.Generator,
        params: dict[str, Array],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`tie` names it, and the command that carries it across, which works when it is pasted."""
        directory = tmp_path / "a model"
        optimizer = Adam(rng)
        state = {name.removeprefix("optimizer.state."): array for name, array in optimizer.train(params).items()}
        write(directory / "model.safetensors", params)
        write(directory / "optimizer.safetensors", state)
        monkeypatch.chdir(tmp_path)
        shown = succeed(run("tie", "a model/model.safetensors", *TIE))
        outcome = succeed(run("tie", "a model/model.safetensors", *TIE, "-o", "tied.safetensors"))

        assert (
            "`a model/optimizer.safetensors` keeps optimizer state of the aliases, and stays as it is" in shown.stderr
        )
        self.paste(outcome.stderr)
        found = load_file("optimizer.safetensors")
        expected = add(state["embed.w.exp_avg"], state["head.w.exp_avg"])
        assert np.array_equal(found["embed.w.exp_avg"], expected)
        assert found.keys() == {name for name in state if "head" not in name}
        succeed(run("untie", "optimizer.safetensors", "-o", "back.safetensors"))
        assert load_file("back.safetensors").keys() == state.keys()

        in_place = succeed(run("tie", "a model/model.safetensors", *TIE, "--in-place"))
        self.paste(in_place.stderr)
        assert load_file("a model/optimizer.safetensors").keys() == found.keys()

    def paste(self, said: str) -> None:
        """Runs the command that a note names."""
        (line,) = (line for line in said.splitlines() if "carries it across" in line)
        words = shlex.split(line.partition("is: `")[2].partition("` carries")[0])
        assert words[0] == "tiecli"
        assert main(words[1:]) == 0

    def test_parameters_that_are_not_tied_yet(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Their ties are named, or found; or there is nothing to do, with the reason."""
        model = write(tmp_path / "model.safetensors", params)
        state = write(tmp_path / "state.safetensors", Adam(rng).train(params))
        named = succeed(run("tie", state, "--params", model, *TIE, "--json")).json
        found = succeed(run("tie", state, "--params", model, "--auto", "--json")).json
        nothing = run("tie", state, "--params", model)
        other = run("tie", model, "--params", model, *TIE)

        assert len(named["state"]) == len(found["state"]) == 3
        assert named["ties"] == []
        assert (nothing.code, other.code) == (2, 2)
        assert "records no tie whose optimizer state could be carried" in nothing.stderr
        assert f"holds no optimizer state of `{HEAD}`" in other.stderr

    def test_files_that_hold_nothing_of_the_aliases_are_not_named(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """State of another model, a file that is no checkpoint, a directory that cannot be listed."""
        model = write(tmp_path / "model.safetensors", {**params, **Adam(rng, "optax").train(params)})
        write(tmp_path / "optimizer.safetensors", Adam(rng).train({"other.w": params[EMBED]}))
        (tmp_path / "optimizer2.safetensors").write_bytes(b"nothing")

        assert "keeps optimizer state" not in succeed(run("tie", model, *TIE)).stderr

    def test_items_of_an_orbax_step(self, run: Run, tmp_path: Path) -> None:
        """The other item of the step is named; the command ties it in the new checkpoint, in place."""
        tie = ("--item", "params", "--src", "embed.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")
        outcome = succeed(run("tie", FIXTURES / "items", *tie, "-o", tmp_path / "tied"))
        self.paste(outcome.stderr)
        state = tmp_path / "tied" / "2" / "opt_state"
        ties = succeed(run("inspect", state, "--json")).json["ties"]

        assert {tie["alias"] for tie in ties} == {f"[1][0].{slot}.lm_head.kernel" for slot in ("mu", "nu")}
        assert all(tie["shares_bytes"] for tie in ties)
        lone = ("--src", "embed.embedding", "--dst", "tied.embedding")
        outcome = succeed(run("tie", FIXTURES / "items" / "2" / "params", *lone, "-o", tmp_path / "params"))
        self.paste(outcome.stderr)
        assert (tmp_path / "opt_state" / "_METADATA").exists()

    def test_a_mode_goes_for_both_items(self, run: Run, tmp_path: Path) -> None:
        """A leaf that was omitted has no slots that stay."""
        tie = ("--item", "params", "--src", "embed.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")
        outcome = succeed(run("tie", FIXTURES / "items", *tie, "--mode", "omit", "-o", tmp_path / "tied"))
        self.paste(outcome.stderr)

        assert not [name for name in list_names(tmp_path / "tied" / "2" / "opt_state") if "lm_head" in name]


class TestOrbax:
    """State in the same tree."""

    TIE = ("--src", "params.embed.embedding", "--dst", "params.lm_head.kernel", "--transform", "transpose")

    @pytest.mark.parametrize("mode", ["alias", "omit"])
    @pytest.mark.parametrize("in_place", [False, True])
    def test_both_modes(self, run: Run, tmp_path: Path, mode: str, in_place: bool) -> None:
        """The slots stay or go with their leaf, and all comes back bit for bit."""
        source = tmp_path / "source"
        shutil.copytree(FIXTURES / "optax", source)
        target = ["--in-place"] if in_place else ["-o", str(tmp_path / "tied")]
        before = read_all(source)
        report = succeed(run("tie", source, *self.TIE, "--mode", mode, *target, "--json")).json
        tied = source if in_place else tmp_path / "tied"

        slots = {f"opt_state[1][0].{slot}.lm_head.kernel" for slot in ("mu", "nu")}
        assert {slot["alias"]: slot["mode"] for slot in report["state"]} == dict.fromkeys(slots, mode)
        assert ({"params.lm_head.kernel", *slots} <= list_names(tied)) == (mode == "alias")
        succeed(run("untie", tied, "-o", tmp_path / "back"))
        after = read_all(tmp_path / "back")
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)

    def test_leaf_and_slots_are_second_names_all_or_none(self, run: Run, tmp_path: Path) -> None:
        """A sign cannot be said in metadata, though the squares would not need one."""
        table = np.arange(8, dtype=np.float32).reshape(4, 2)
        state = {"mu": {"a": table, "b": -table}, "nu": {"a": table, "b": table}}
        save({"params": {"a": table, "b": -table}, "opt_state": state}, tmp_path / "source", sync=False)
        tie = ("--src", "params.a", "--dst", "params.b", "--transform", "neg")
        report = succeed(run("tie", tmp_path / "source", *tie, "-o", tmp_path / "tied", "--json")).json

        assert {it["mode"] for it in (*report["ties"], *report["state"])} == {"omit"}
        assert {it["regime"] for it in report["state"]} == {"replicas"}

    def test_second_names_follow_what_is_merged(self, run: Run, tmp_path: Path) -> None:
        """Slots that an earlier tie made second names share the new bytes, too, after a merge and after a reset."""
        rng = np.random.default_rng(5)
        table, moment = rng.standard_normal((4, 2)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
        params = dict.fromkeys("abc", table)
        save(
            {"params": params, "opt_state": {"mu": {"a": moment, "b": moment, "c": table}}}, tmp_path / "0", sync=False
        )
        succeed(run("tie", tmp_path / "0", "--src", "params.a", "--dst", "params.b", "-o", tmp_path / "1"))
        for state, expected in {"carry": add(moment, table), "reset": np.zeros_like(table)}.items():
            tie = ("--src", "params.a", "--dst", "params.c", "--state", state)
            succeed(run("tie", tmp_path / "1", *tie, "-o", tmp_path / state))
            found = read_all(tmp_path / state)
            for name in "abc":
                assert np.array_equal(found[f"opt_state.mu.{name}"], expected)
            ties = succeed(run("inspect", tmp_path / state, "--json")).json["ties"]
            assert {tie["alias"] for tie in ties if tie["shares_bytes"]} == {
                f"{place}.{name}" for place in ("params", "opt_state.mu") for name in "bc"
            }
            assert run("verify", tmp_path / state).code == 0


class TestVerify:
    """Slots are no leaves that a gradient flows through."""

    def test_parameters_pass_and_slots_are_not_applicable(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        """With a loss, and with training, as without."""
        pytest.importorskip("jax", reason="jax comes with the extra `verify`")
        table = rng.standard_normal((6, 6)).astype(np.float32)
        model = {"a": table, "b": np.ascontiguousarray(table.T)}
        write(tmp_path / "m.safetensors", {**model, **Adam(rng).train(model)})
        tie = ("--src", "a", "--dst", "b", "--transform", "transpose")
        succeed(run("tie", tmp_path / "m.safetensors", *tie, "-o", tmp_path / "t.safetensors"))
        loss = ("--loss", "tests.e2e.verify_losses:of_identity", "--steps", "3", "--json")
        report = run("verify", tmp_path / "t.safetensors", "--original", tmp_path / "m.safetensors", *loss).json

        verdicts = {tie["alias"]: tie["verdict"] for tie in report["ties"]}
        assert verdicts.pop("b") == "PASS"
        assert set(verdicts.values()) == {"NOT APPLICABLE"}

    def test_slots_that_were_changed_since(
        self, run: Run, write: Write, tmp_path: Path, rng: np.random.Generator, params: dict[str, Array]
    ) -> None:
        """Are stale, as leaves are."""
        optimizer = Adam(rng)
        write(tmp_path / "m.safetensors", {**params, **optimizer.train(params, {HEAD: EMBED})})
        tied = tmp_path / "t.safetensors"
        succeed(run("tie", tmp_path / "m.safetensors", *TIE, "-o", tied))
        raw = bytearray(tied.read_bytes())
        place = raw.find(load_file(tied)[optimizer.first(EMBED)].tobytes())
        raw[place] ^= 1
        tied.write_bytes(raw)
        outcome = run("verify", tied)

        assert outcome.code == 1
        assert f"stale: `{optimizer.first(EMBED)}` was changed after it was tied" in outcome.stdout
