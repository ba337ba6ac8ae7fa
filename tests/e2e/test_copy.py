"""`tiecli copy`: values move, ties do not come about, and what is left over is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tiecli.cli.entry import main
from tiecli.pytrees import list_leaves, load

FIXTURES = Path(__file__).parents[2] / "fixtures"
GPT2, UNTIED, DRIFTED = (FIXTURES / name for name in ("gpt2", "gpt2-untied", "gpt2-drifted"))
FLAX = FIXTURES / "flax-transposed"
EMBED, HEAD = "transformer.wte.weight", "lm_head.weight"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs a command; gives its exit code and what it printed."""
    code = main(["copy", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def leaves(path: Path) -> dict[str, NDArray[np.generic]]:
    """Reads every leaf, aliases included."""
    return {place.spelling: array for place, array in list_leaves(load(path)).items()}


def test_leaves_that_both_have_are_copied_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of another shape stay, and are named; nothing is tied, and that is said."""
    code, out, err = run(capsys, UNTIED, DRIFTED, "-o", tmp_path / "out")
    copied, given, before = leaves(tmp_path / "out"), leaves(UNTIED), leaves(DRIFTED)

    assert code == 0
    assert "! lm_head.weight stays: F32 2000×16 there, F32 128×16 here" in out
    assert "no tie is recorded" in err
    for name, array in copied.items():
        expected = before if name in (EMBED, HEAD) else given
        assert array.tobytes() == expected[name].tobytes()


def test_strict_refuses_what_is_left_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written then."""
    code, _, err = run(capsys, UNTIED, DRIFTED, "--strict", "-o", tmp_path / "out")

    assert code == 2
    assert "--strict: `lm_head.weight`, `transformer.wte.weight` of another shape or dtype" in err
    assert not (tmp_path / "out").exists()


def test_within_one_checkpoint_under_a_transform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head gets the embedding's values, turned; `find` sees them equal, `inspect` sees no tie."""
    arrays = {"enc": np.arange(6, dtype=np.float32).reshape(2, 3), "dec": np.zeros((3, 2), np.float32)}
    save_file(arrays, tmp_path / "a.safetensors")
    source = tmp_path / "a.safetensors"
    code, out, _ = run(capsys, source, source, "--map", "dec=enc | transpose", "-o", tmp_path / "b.safetensors")

    assert code == 0
    assert "dec := enc | transpose" in out
    assert load_file(tmp_path / "b.safetensors")["dec"].tolist() == arrays["enc"].T.tolist()
    assert load_file(tmp_path / "b.safetensors")["enc"].tolist() == arrays["enc"].tolist()
    assert main(["inspect", str(tmp_path / "b.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ties"] == []


def test_patterns_copy_one_expert_to_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in upcycling: every expert of a layer begins as that layer's own feed-forward weight."""
    dense = {f"layers.{i}.mlp.w": np.full((2, 2), i + 1, np.float32) for i in range(2)}
    experts = {f"layers.{i}.experts.{j}.w": np.zeros((2, 2), np.float32) for i in range(2) for j in range(3)}
    save_file(dense, tmp_path / "dense.safetensors")
    save_file(experts, tmp_path / "moe.safetensors")
    code, _, _ = run(
        capsys, tmp_path / "dense.safetensors", tmp_path / "moe.safetensors",
        "--map", "layers.{i}.experts.{j}.w = layers.{i}.mlp.w", "--in-place",
    )  # fmt: skip

    assert code == 0
    found = load_file(tmp_path / "moe.safetensors")
    assert {name: array[0, 0] for name, array in found.items()} == {
        name: int(name.split(".")[1]) + 1 for name in experts
    }


def test_several_leaves_are_joined_into_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Projections of each layer into its fused one, which keeps its place."""
    split = {
        f"h.{i}.{name}": np.full((2, 3), 10 * i + at, np.float32) for i in range(2) for at, name in enumerate("qkv")
    }
    save_file(split, tmp_path / "split.safetensors")
    save_file({f"h.{i}.qkv": np.zeros((6, 3), np.float32) for i in range(2)}, tmp_path / "fused.safetensors")
    code, _, _ = run(
        capsys, tmp_path / "split.safetensors", tmp_path / "fused.safetensors",
        "--map", "h.{i}.qkv = (h.{i}.q, h.{i}.k, h.{i}.v) | concat(0)", "-o", tmp_path / "out.safetensors",
    )  # fmt: skip

    assert code == 0
    found = load_file(tmp_path / "out.safetensors")
    assert {name: array[::2, 0].tolist() for name, array in found.items()} == {
        "h.0.qkv": [0, 1, 2],
        "h.1.qkv": [10, 11, 12],
    }


def test_what_is_left_over_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, extra and mismatched leaves, each by its name, for people and for programs; `--strict` refuses each."""
    one, two = np.ones(2, np.float32), np.ones(3, np.float32)
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file({"both": one, "extra": one, "odd": one}, source)
    save_file({"both": one * 2, "missing": one, "odd": two}, target)
    code, out, _ = run(capsys, source, target)
    _, text, _ = run(capsys, source, target, "--json")
    document = json.loads(text)

    assert code == 0
    assert "not in the source, stays: missing" in out
    assert "only in the source, not copied: extra" in out
    assert (document["missing"], document["extra"], document["tied"]) == (["missing"], ["extra"], False)
    assert [it["leaf"] for it in document["mismatched"]] == ["odd"]
    for given, taken, says in (("extra", "both", "`extra` copied nowhere"), ("both", "missing", "`missing` without a")):
        save_file(dict.fromkeys(("both", given), one), source)
        save_file(dict.fromkeys(("both", taken), one), target)
        code, _, err = run(capsys, source, target, "--strict", "-o", tmp_path / "out.safetensors")
        assert code == 2
        assert says in err


def test_across_formats_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From Orbax into safetensors, and back into Orbax; names differ in how positions are spelled only."""
    orbax = FIXTURES / "orbax" / "pytree"
    assert main(["convert", str(orbax), "-o", str(tmp_path / "x.safetensors")]) == 0
    arrays = {name: np.zeros_like(array) for name, array in load_file(tmp_path / "x.safetensors").items()}
    save_file(arrays, tmp_path / "zeros.safetensors")
    code, _, _ = run(capsys, orbax, tmp_path / "zeros.safetensors", "--strict", "-o", tmp_path / "full.safetensors")
    assert code == 0
    for name, array in load_file(tmp_path / "full.safetensors").items():
        assert array.tobytes() == load_file(tmp_path / "x.safetensors")[name].tobytes()

    code, _, _ = run(capsys, tmp_path / "zeros.safetensors", orbax, "--strict", "-o", tmp_path / "zeros")
    assert code == 0
    assert not any(array.any() for array in leaves(tmp_path / "zeros").values())


def test_ties_of_the_destination_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A canonical leaf with new values takes its alias along, and the manifest is of the new ones."""
    tie = ["tie", str(UNTIED), "--src", EMBED, "--dst", HEAD, "-o", str(tmp_path / "tied")]
    assert main(tie) == 0
    table = {EMBED: np.ones((2000, 16), np.float32)}
    save_file(table, tmp_path / "table.safetensors")
    code, out, _ = run(capsys, tmp_path / "table.safetensors", tmp_path / "tied", "-o", tmp_path / "new")

    assert code == 0
    assert f"{HEAD}: tied to what gets new values, and so gets them too" in out
    assert leaves(tmp_path / "new")[HEAD].tobytes() == table[EMBED].tobytes()
    assert main(["verify", str(tmp_path / "new"), "--allow", "ambiguous"]) == 0
    code, _, err = run(capsys, UNTIED, tmp_path / "tied", "--map", f"{HEAD}={HEAD}", "-o", tmp_path / "no")
    assert code == 2
    assert f"`{HEAD}` has no values of its own" in err


def test_an_alias_of_the_source_is_followed_to_its_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a tied checkpoint leaves out can be copied from all the same."""
    tie = ["tie", str(UNTIED), "--src", EMBED, "--dst", HEAD, "-o", str(tmp_path / "tied")]
    assert main(tie) == 0
    code, out, _ = run(capsys, tmp_path / "tied", UNTIED, "--map", f"{EMBED}={HEAD}", "-o", tmp_path / "out")

    assert code == 0
    assert f"{EMBED} := {HEAD}" in out
    assert leaves(tmp_path / "out")[EMBED].tobytes() == leaves(UNTIED)[HEAD].tobytes()


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        (["nothing"], "`nothing` is no map"),
        (["=x"], "`=x` is no map"),
        ([f"{HEAD}=nowhere"], "`nowhere` (src) matches none"),
        ([f"{HEAD}={EMBED} | turn"], "turn"),
        ([f"{HEAD}={EMBED}", f"{HEAD}=transformer.wpe.weight | [:1]"], "would get the values of"),
        ([f"{HEAD}=transformer.wpe.weight"], "is F32"),
    ],
)
def test_bad_maps_are_refused(maps: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason, and nothing is written."""
    options = [word for text in maps for word in ("--map", text)]
    code, _, err = run(capsys, UNTIED, UNTIED, *options, "-o", tmp_path / "out")

    assert code == 2
    assert says in err
    assert not (tmp_path / "out").exists()


def test_nothing_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    """Is no success."""
    code, _, err = run(capsys, GPT2, FLAX)

    assert code == 2
    assert "no leaf in common by name" in err
