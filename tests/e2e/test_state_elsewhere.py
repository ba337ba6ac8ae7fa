"""State that lies apart from its leaves: other items, other files, wrong ones; what is said of resets and of rates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.e2e.conftest import Outcome, Run
from tiecli.pytrees import list_leaves, load

Array = NDArray[Any]
ITEMS = Path(__file__).parents[2] / "fixtures" / "orbax" / "items"
TURNED = ("--src", "embed.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")
TIE = ("--src", "embed", "--dst", "head")


def refuse(outcome: Outcome, *says: str) -> None:
    """Expects a refusal with its reason and a hint, and no traceback."""
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.startswith("error: ")
    assert "hint: " in outcome.stderr
    for text in says:
        assert text in outcome.stderr


def succeed(outcome: Outcome) -> Outcome:
    """Expects success."""
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.fixture
def table(rng: np.random.Generator) -> Array:
    """The values of a leaf."""
    return rng.standard_normal((6, 4)).astype(np.float32)


@pytest.fixture
def state(rng: np.random.Generator) -> dict[str, Array]:
    """What Adam keeps for two leaves that were trained apart, in torch's names and without a prefix."""
    kept: dict[str, Array] = {}
    for leaf in ("embed", "head"):
        moment = rng.standard_normal((6, 4)).astype(np.float32)
        kept |= {f"{leaf}.exp_avg": moment, f"{leaf}.exp_avg_sq": moment**2, f"{leaf}.step": np.full(1, 7, np.float32)}
    return kept


def put(path: Path, leaves: Mapping[str, Array]) -> Path:
    """Writes a file."""
    save_file({**leaves}, path)
    return path


def prefix(state: Mapping[str, Array]) -> dict[str, Array]:
    """Gives state as it stands beside the leaves."""
    return {f"optimizer.state.{name}": leaf for name, leaf in state.items()}


class TestWrongParameters:
    """Whatever `--params` is, if it is not where the leaves are."""

    @pytest.fixture
    def optimizer(self, tmp_path: Path, state: dict[str, Array]) -> Path:
        """A file of state."""
        return put(tmp_path / "optimizer.safetensors", state)

    def test_nothing_there(self, run: Run, tmp_path: Path, optimizer: Path) -> None:
        """A path that does not exist, a directory without a checkpoint, a file that is none."""
        (tmp_path / "empty").mkdir()
        (tmp_path / "notes.txt").write_text("no checkpoint")
        (tmp_path / "cut.safetensors").write_bytes(optimizer.read_bytes()[:50])
        for name, says in {"no": "no such file", "empty": "`", "notes.txt": "`", "cut.safetensors": "`"}.items():
            for ties in ((), TIE):
                refuse(run("tie", optimizer, "--params", tmp_path / name, *ties), says, str(tmp_path))

    def test_another_model(self, run: Run, tmp_path: Path, optimizer: Path, table: Array) -> None:
        """One without such leaves, one whose leaves are of another shape, and the state itself."""
        other = put(tmp_path / "other.safetensors", {"wte": table, "lm_head": table})
        larger = put(tmp_path / "larger.safetensors", dict.fromkeys(("embed", "head"), np.repeat(table, 2, 0)))

        refuse(run("tie", optimizer, "--params", other, *TIE), f"matches none of the 2 leaves of `{other}`")
        tie = ("--src", "wte", "--dst", "lm_head")
        refuse(run("tie", optimizer, "--params", other, *tie), f"`{optimizer}` holds no optimizer state of `lm_head`")
        refuse(run("tie", optimizer, "--params", larger, *TIE), "that one is F32 12×4, so the state is another model's")
        refuse(run("tie", optimizer, "--params", optimizer, *TIE), f"`{optimizer}` holds no optimizer state of")

    def test_a_step_with_several_items(self, run: Run, tmp_path: Path) -> None:
        """The hint is about this option, and not about `--item`, which is there already."""
        for wrong in (ITEMS, ITEMS / "2"):
            outcome = run("tie", ITEMS, "--item", "opt_state", "--params", wrong, *TURNED, "-o", tmp_path / "out")
            refuse(outcome, "has several items", "give --params the directory of one item")
        refuse(run("tie", ITEMS, "--item", "opt_state", "--params", ITEMS / "2" / "cfg", *TURNED))
        assert not (tmp_path / "out").exists()

    def test_parameters_and_state_exchanged(self, run: Run, tmp_path: Path, optimizer: Path, table: Array) -> None:
        """The model is no state of anything."""
        model = put(tmp_path / "model.safetensors", {"embed": table, "head": table})
        refuse(run("tie", model, "--params", optimizer, *TIE), f"`{model}` holds no optimizer state of")

    def test_a_second_time(self, run: Run, tmp_path: Path, optimizer: Path, table: Array) -> None:
        """Nothing is summed twice: the state of the alias is gone."""
        model, tied = put(tmp_path / "model.safetensors", {"embed": table, "head": table}), tmp_path / "t.safetensors"
        succeed(run("tie", model, *TIE, "-o", tied))
        succeed(run("tie", optimizer, "--params", tied, "--in-place"))
        before = optimizer.read_bytes()
        refuse(run("tie", optimizer, "--params", tied, "--in-place"), "holds no optimizer state of `head`")
        assert optimizer.read_bytes() == before


class TestRoundTrips:
    """What is kept of two equal states comes back bit for bit, wherever it lies."""

    def test_an_item_of_a_step(self, run: Run, tmp_path: Path) -> None:
        """State and parameters are two items, each with a manifest of its own."""
        step = shutil.copytree(ITEMS / "2", tmp_path / "2")
        before = {place: leaf.tobytes() for place, leaf in list_leaves(load(step / "opt_state")).items()}
        succeed(run("tie", step / "params", *TURNED, "--mode", "omit", "--in-place"))
        succeed(run("tie", step / "opt_state", "--params", step / "params", "--in-place"))
        document = json.loads((step / "opt_state" / "_METADATA").read_text())
        ties = document["custom_metadata"]["tiecli"]["ties"]
        outcome = succeed(run("untie", step / "opt_state", "--in-place"))

        assert [(tie["slot"], tie["exact"]) for tie in ties] == [("kept", True)] * 2
        assert "as it was, bit for bit" in outcome.stdout
        after = {place: leaf.tobytes() for place, leaf in list_leaves(load(step / "opt_state")).items()}
        assert after == before

    @pytest.mark.parametrize("target", ["new", "in place"])
    def test_a_file(self, run: Run, tmp_path: Path, table: Array, state: dict[str, Array], target: str) -> None:
        """The same, byte for byte; the record says which slots are what they were."""
        copies = {name: state[name.replace("head", "embed")] for name in state}
        optimizer = put(tmp_path / "optimizer.safetensors", copies)
        model = put(tmp_path / "model.safetensors", {"embed": table, "head": table})
        before = optimizer.read_bytes()
        tied = optimizer if target == "in place" else tmp_path / "tied.safetensors"
        output = ["--in-place"] if target == "in place" else ["-o", tied]
        succeed(run("tie", optimizer, "--params", model, *TIE, *output))
        assert load_file(tied).keys() == {name for name in state if "head" not in name}
        succeed(run("untie", tied, "-o", tmp_path / "back.safetensors"))

        assert (tmp_path / "back.safetensors").read_bytes() == before

    def test_a_slot_whose_leaf_is_called_like_a_slot(self, run: Run, tmp_path: Path, table: Array) -> None:
        """An attention's `v` is a leaf; what is reported is the moment."""
        params = dict.fromkeys(("params.attn.v", "params.other.v"), table)
        moments = dict.fromkeys(("opt_state.0.mu.attn.v", "opt_state.0.mu.other.v"), table)
        model = put(tmp_path / "model.safetensors", {**params, **moments})
        tie = ("--src", "params.attn.v", "--dst", "params.other.v", "-o", tmp_path / "tied.safetensors")
        said = [succeed(run("tie", model, *tie, "--json")).json]
        said += [succeed(run("untie", tmp_path / "tied.safetensors", "--json")).json]

        assert [[slot["slot"] for slot in report["state"]] for report in said] == [["mu"], ["mu"]]


class TestNeighbours:
    """What lies beside and has to follow is named."""

    @pytest.mark.parametrize("name", ["optimizer.pt", "optim_state.bin"])
    def test_pickles_are_named_and_not_read(self, run: Run, tmp_path: Path, table: Array, name: str) -> None:
        """By `tie` and by `untie`; they go along as they are. Scheduler and random state are none."""
        source = tmp_path / "source"
        source.mkdir()
        put(source / "model.safetensors", {"embed": table, "head": table})
        for other in (name, "scheduler.pt", "rng_state.pth"):
            (source / other).write_bytes(b"cos\nsystem\n")
        tied = succeed(run("tie", source, *TIE, "-o", tmp_path / "tied"))
        parted = succeed(run("untie", tmp_path / "tied", "-o", tmp_path / "back"))

        for outcome, at in ((tied, source), (parted, tmp_path / "tied")):
            assert f"`{at / name}` is a pickle, which is not read, and stays as it is" in outcome.stderr
            assert outcome.stderr.count("is a pickle") == 1
        assert (tmp_path / "back" / name).read_bytes() == b"cos\nsystem\n"

    def test_state_by_number_is_named(self, run: Run, tmp_path: Path, table: Array, state: dict[str, Array]) -> None:
        """As torch numbers its parameters: whose it is nobody can tell, so it stays."""
        numbered = {
            "optimizer.state." + name.replace("embed", "0").replace("head", "1"): it for name, it in state.items()
        }
        model = put(tmp_path / "model.safetensors", {"embed": table, "head": table, **numbered})
        outcome = succeed(run("tie", model, *TIE, "-o", tmp_path / "tied.safetensors"))

        assert "there is optimizer state here, and none of it goes by the name of `head`" in outcome.stderr
        assert load_file(tmp_path / "tied.safetensors").keys() == {"embed", *numbered}
        named = put(tmp_path / "named.safetensors", {"embed": table, "head": table, **prefix(state)})
        assert "by the name of" not in succeed(run("tie", named, *TIE)).stderr

    def test_untie_names_the_state_that_was_tied_too(
        self, run: Run, tmp_path: Path, table: Array, state: dict[str, Array]
    ) -> None:
        """In a file beside; that of other leaves is not named."""
        model = put(tmp_path / "model.safetensors", {"embed": table, "head": table})
        optimizer = put(tmp_path / "optimizer.safetensors", state)
        succeed(run("tie", model, *TIE, "--in-place"))
        succeed(run("tie", optimizer, "--params", model, "--in-place"))
        put(tmp_path / "optimizer2.safetensors", {"other.exp_avg": table})
        outcome = succeed(run("untie", model))

        assert f"`{optimizer}` keeps optimizer state of these leaves, and stays as it is" in outcome.stderr
        assert "optimizer2" not in outcome.stderr


class TestRefusals:
    """Optimizers without a valid rule go by their names, and a reset is offered where it is one."""

    @pytest.mark.parametrize(
        ("slots", "says", "resets"),
        [
            ({"exp_avg_sq_row": (6,), "exp_avg_sq_col": (4,)}, "no valid rule for `exp_avg_sq_col`", True),
            ({"row_var": (6, 1), "col_var": (1, 4)}, "no valid rule for `col_var`", True),
            ({"exp_avg": (6, 4), "preconditioner": (6, 6)}, "kept for `head`, as Shampoo does", False),
            ({"exp_avg": (6, 4), "GG": (4, 4)}, "kept for `head`, as SOAP does", False),
            ({"exp_avg": (6, 4), "vmean": (1,)}, "`optimizer.state.head.vmean` and", True),
            ({"square_avg": (6, 4), "acc_delta": (6, 4)}, "no valid rule for `acc_delta`", True),
            ({"square_avg": (6, 4), "grad_avg": (6, 4)}, "no valid rule for `square_avg`", True),
        ],
        ids=["adafactor", "adafactor of torch", "shampoo", "soap", "adam-mini", "adadelta", "centred rmsprop"],
    )
    @pytest.mark.parametrize("apart", [True, False], ids=["apart", "replicas"])
    def test_by_name(
        self,
        run: Run,
        tmp_path: Path,
        table: Array,
        rng: np.random.Generator,
        slots: dict[str, tuple[int, ...]],
        says: str,
        resets: bool,
        apart: bool,
    ) -> None:
        """Of leaves that were trained apart; of replicas one of the two is kept, whatever it means."""
        kept = {slot: rng.random(shape).astype(np.float32) for slot, shape in slots.items()}
        leaves: dict[str, Array] = {"embed": table, "head": table}
        for slot, values in kept.items():
            leaves[f"optimizer.state.embed.{slot}"] = values
            leaves[f"optimizer.state.head.{slot}"] = values + np.float32(apart)
        model, tied = put(tmp_path / "model.safetensors", leaves), tmp_path / "tied.safetensors"
        outcome = run("tie", model, *TIE, "-o", tied)
        if not apart:
            assert {slot["regime"] for slot in succeed(run("tie", model, *TIE, "--json")).json["state"]} <= {
                "replicas",
                "counts",
            }
            return
        refuse(outcome, says)
        assert ("--state reset" in outcome.stderr) == resets
        assert not tied.exists()


class TestWhatIsSaid:
    """What no rewriting can carry, for people and for programs."""

    def tie(self, run: Run, tmp_path: Path, leaves: dict[str, Array], *options: str) -> list[str]:
        """Ties two leaves, and gives the notices."""
        (tmp_path / "tied.safetensors").unlink(missing_ok=True)
        model = put(tmp_path / "model.safetensors", leaves)
        report = succeed(run("tie", model, *TIE, *options, "-o", tmp_path / "tied.safetensors", "--json")).json
        return list(report["notices"])

    def keep(self, values: Array, other: Array) -> dict[str, Array]:
        """Gives what SGD keeps."""
        return {f"optimizer.state.{leaf}.momentum_buffer": it for leaf, it in (("embed", values), ("head", other))}

    def test_of_a_factor(self, run: Run, tmp_path: Path, table: Array) -> None:
        """The rate that the alias has from now on; after `untie`, the rate that it needs."""
        leaves = {"embed": table, "head": table * np.float32(-0.25), **self.keep(table, table)}
        said = self.tie(run, tmp_path, leaves, "--transform", "scale(-0.25)")
        report = succeed(run("untie", tmp_path / "tied.safetensors", "--json")).json

        assert any(
            it.startswith("`head`: a factor of 0.25 stands between") and "alias 0.0625 times" in it for it in said
        )
        takes = "`head`: a factor of 0.25 is folded in now, so to move as before takes 0.0625 times the learning rate"
        assert any(it.startswith(takes) for it in report["notices"])
        # A copy by a factor is right for SGD alone, and which optimizer it is nobody can tell for sure.
        assert [slot["exact"] for slot in report["state"]] == [False]

    def test_of_decay_and_clipping(self, run: Run, tmp_path: Path, table: Array) -> None:
        """Differently of leaves that were trained apart and of replicas; nothing where there is no state."""
        pair = {"embed": table, "head": table}
        apart = self.tie(run, tmp_path, {**pair, **self.keep(table, table + 1)})
        replicas = self.tie(run, tmp_path, {**pair, **self.keep(table, table)})
        parted = succeed(run("untie", tmp_path / "tied.safetensors", "--json")).json["notices"]
        without = self.tie(run, tmp_path, pair)

        assert any("in the sums once for each leaf" in it for it in apart)
        assert any("counted the leaf once for each copy" in it for it in replicas)
        assert any("count it once for each" in it for it in parted)
        assert not any("clip" in it for it in without)

    def test_of_a_reset(self, run: Run, tmp_path: Path, table: Array) -> None:
        """Every slot and count by its name, and what stays."""
        counts = {f"optimizer.state.{leaf}.step": np.full(1, 9, np.float32) for leaf in ("embed", "head")}
        leaves = {"embed": table, "head": table, **self.keep(table, table + 1), **counts}
        (said,) = (it for it in self.tie(run, tmp_path, leaves, "--state", "reset") if "zero" in it)

        assert "of all parameters and with its counts: `momentum_buffer`, `step`;" in said
        assert "learning rates, their schedules and averages of parameters stay" in said
