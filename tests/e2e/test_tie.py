"""`tiecli tie` and `tiecli untie`, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FIXTURES = Path(__file__).parents[2] / "fixtures"
Run = Callable[..., Any]
Write = Callable[..., Path]


def read_header(path: Path) -> dict[str, Any]:
    """Reads a header with nothing of ours."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return dict(json.loads(raw[8 : 8 + length]))


def test_tie_drops_the_alias_and_untie_gives_the_file_back(run: Run, model: Path, tmp_path: Path) -> None:
    """The pair of commands is the identity on bytes."""
    tied, back = tmp_path / "tied.safetensors", tmp_path / "back.safetensors"

    outcome = run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", tied)
    assert outcome.code == 0, outcome.stderr
    header = read_header(tied)
    assert HEAD not in header
    assert header["__metadata__"][HEAD] == EMBED
    assert header["__metadata__"]["format"] == "pt"
    assert tied.stat().st_size < model.stat().st_size

    outcome = run("untie", tied, "-o", back)
    assert outcome.code == 0, outcome.stderr
    assert back.read_bytes() == model.read_bytes()


def test_without_output_it_only_shows_what_would_happen(run: Run, model: Path, tmp_path: Path) -> None:
    """A first try costs nothing and names the options that write."""
    outcome = run("tie", model, "--src", EMBED, "--dst", HEAD)

    assert outcome.code == 0
    assert "bit-identical" in outcome.stdout
    assert "Nothing written: add -o OUT or --in-place." in outcome.stderr
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("mode", ["-o", "--in-place"])
def test_several_ties_at_once(run: Run, model: Path, tmp_path: Path, mode: str) -> None:
    """Identical and transposed pairs go in one run, and come back in one."""
    original = model.read_bytes()
    target = tmp_path / "tied.safetensors" if mode == "-o" else model
    where = ["-o", target] if mode == "-o" else ["--in-place"]
    outcome = run(
        "tie", model, "--src", EMBED, "--dst", HEAD, "--src", EMBED, "--dst", "decoder.kernel",
        "--transform", "same", "--transform", "transpose", *where,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert set(read_header(target)) & {HEAD, "decoder.kernel"} == set()
    assert "decoder.kernel" in outcome.stderr  # stock loaders will miss it

    where = ["-o", tmp_path / "back.safetensors"] if mode == "-o" else ["--in-place"]
    outcome = run("untie", target, *where)
    assert outcome.code == 0, outcome.stderr
    back = tmp_path / "back.safetensors" if mode == "-o" else model
    assert back.read_bytes() == original


def test_drifted_pair_is_refused_with_its_differences(run: Run, model: Path, tmp_path: Path) -> None:
    """One ulp is enough, and the message says where and how much."""
    outcome = run("tie", model, "--src", EMBED, "--dst", "head2.weight", "-o", tmp_path / "out.safetensors")

    assert outcome.code == 2
    assert "`head2.weight` is not `model.embed_tokens.weight`: 1 of 640 elements differ" in outcome.stderr
    assert "(1 ulp), first at [3, 5]" in outcome.stderr
    assert "--keep src" in outcome.stderr
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("keep", ["src", "dst"])
def test_keep_gives_up_the_other_side(run: Run, model: Path, tmp_path: Path, keep: str) -> None:
    """The surviving values are those of the side that was named."""
    out, back = tmp_path / "out.safetensors", tmp_path / "back.safetensors"
    survivor = {"src": EMBED, "dst": "head2.weight"}[keep]
    assert run("tie", model, "--src", EMBED, "--dst", "head2.weight", "--keep", keep, "-o", out).code == 0
    untied = run("untie", out, "-o", back)
    assert untied.code == 0
    # The leaf that stayed is what it was then; only the other one is not.
    assert "as it was tied" in untied.stdout
    assert "given up by --keep" in untied.stderr

    from safetensors.numpy import load_file

    before, after = load_file(model), load_file(back)
    for name in (EMBED, "head2.weight"):
        np.testing.assert_array_equal(after[name], before[survivor])


def test_ambiguous_pair_needs_a_stated_transform(run: Run, model: Path, tmp_path: Path) -> None:
    """A symmetric leaf is refused until somebody says which transform is meant."""
    out = tmp_path / "out.safetensors"
    outcome = run("tie", model, "--src", "mix.weight", "--dst", "gate.weight", "-o", out)
    assert outcome.code == 2
    assert "more than one transform: same, transpose" in outcome.stderr

    outcome = run("tie", model, "--src", "mix.weight", "--dst", "gate.weight", "--transform", "same", "-o", out)
    assert outcome.code == 0
    assert "`gate.weight` also fits transpose" in outcome.stderr


def test_unknown_leaf_gets_near_names(run: Run, model: Path) -> None:
    """A typing error costs one look at the message."""
    outcome = run("tie", model, "--src", "model.embed_token.weight", "--dst", HEAD)

    assert outcome.code == 2
    assert "model.embed_tokens.weight" in outcome.stderr


def test_wrong_shape_is_refused_before_any_byte_is_read(run: Run, model: Path) -> None:
    """The message gives both specs and a transform that fits."""
    outcome = run("tie", model, "--src", EMBED, "--dst", "decoder.kernel")

    assert outcome.code == 2
    assert "F32 40×16" in outcome.stderr
    assert "F32 16×40" in outcome.stderr
    assert "--transform 'transpose'" in outcome.stderr


def test_tying_twice_keeps_the_first_original(run: Run, model: Path, tmp_path: Path) -> None:
    """Two ties in two runs still untie to the first file, and singly to the states between."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", one).code == 0
    command = ["tie", one, "--src", EMBED, "--dst", "decoder.kernel", "--transform", "transpose", "-o", two]
    assert run(*command).code == 0

    assert run("untie", two, "-o", tmp_path / "back.safetensors").code == 0
    assert (tmp_path / "back.safetensors").read_bytes() == model.read_bytes()
    assert run("untie", two, "--dst", "decoder.kernel", "-o", tmp_path / "half.safetensors").code == 0
    assert (tmp_path / "half.safetensors").read_bytes() == one.read_bytes()


def test_canonical_leaf_can_itself_become_an_alias(run: Run, model: Path, tmp_path: Path) -> None:
    """A chain made in two runs is rooted anew and still comes back whole."""
    one, two, back = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "back"))
    assert run("tie", model, "--src", HEAD, "--dst", EMBED, "-o", one).code == 0
    command = ["tie", one, "--src", "decoder.kernel", "--dst", HEAD, "--transform", "transpose", "-o", two]
    assert run(*command).code == 0

    assert run("untie", two, "-o", back).code == 0
    assert back.read_bytes() == model.read_bytes()


def test_alias_that_is_tied_already_is_refused(run: Run, model: Path, tmp_path: Path) -> None:
    """A leaf follows from one source only."""
    tied = tmp_path / "tied.safetensors"
    assert run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", tied).code == 0
    outcome = run("tie", tied, "--src", "head2.weight", "--dst", HEAD)

    assert outcome.code == 2
    assert "tied already" in outcome.stderr


def test_existing_target_is_never_replaced(run: Run, model: Path, tmp_path: Path) -> None:
    """Whatever stands at the target stays."""
    target = tmp_path / "precious"
    target.write_text("precious")
    outcome = run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", target)

    assert outcome.code == 2
    assert "precious" in outcome.stderr
    assert target.read_text() == "precious"


def test_target_that_is_the_source_is_refused(run: Run, model: Path) -> None:
    """Writing over the source takes an explicit option."""
    outcome = run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", model)

    assert outcome.code == 2
    assert "--in-place" in outcome.stderr


def test_json_carries_the_promised_fields(run: Run, model: Path, tmp_path: Path) -> None:
    """Programs read what people read."""
    tied = tmp_path / "tied.safetensors"
    outcome = run("tie", model, "--src", EMBED, "--dst", HEAD, "-o", tied, "--json")

    document = outcome.json
    assert document["schema"] == "tiecli.tie/1"
    assert document["output"] == str(tied)
    assert document["bytes_before"] - document["bytes_after"] == 40 * 16 * 4
    assert [(tie["alias"], tie["canonical"], tie["transform"]) for tie in document["ties"]] == [(HEAD, EMBED, "same")]


def test_errors_in_json_mode_are_json(run: Run, model: Path) -> None:
    """A program never has to parse a sentence."""
    for arguments in (["--src", "nowhere", "--dst", HEAD], ["--src", EMBED], ["--no-such-option"]):
        outcome = run("tie", model, *arguments, "--json")
        assert outcome.code == 2
        assert set(outcome.json["error"]) == {"code", "message", "hints"}
        assert outcome.stderr == ""


def test_plan_file_from_find_ties_everything_it_names(run: Run, model: Path, tmp_path: Path) -> None:
    """`find --plan` and `tie --plan` fit together."""
    plan, tied = tmp_path / "ties.json", tmp_path / "tied.safetensors"
    assert run("find", model, "--plan", plan).code == 0
    outcome = run("tie", model, "--plan", plan, "-o", tied)

    assert outcome.code == 0, outcome.stderr
    assert not {HEAD, "decoder.kernel"} & set(read_header(tied))


def test_auto_ties_what_is_beyond_doubt(run: Run, model: Path, tmp_path: Path) -> None:
    """Identical and transposed pairs go; drifted, ambiguous and constant leaves stay."""
    tied = tmp_path / "tied.safetensors"
    outcome = run("tie", model, "--auto", "-o", tied)

    assert outcome.code == 0, outcome.stderr
    header = read_header(tied)
    assert not {HEAD, "decoder.kernel"} & set(header)
    assert {"head2.weight", "gate.weight", "mix.weight", "norm.weight"} <= set(header)


def test_several_sources_tie_by_concat(run: Run, write: Write, tmp_path: Path, rng: np.random.Generator) -> None:
    """A fused leaf follows from its parts, layer by layer."""
    leaves: dict[str, np.ndarray] = {}
    for layer in range(2):
        parts = {key: rng.normal(size=(4, 8)).astype(np.float32) for key in "qkv"}
        leaves |= {f"h.{layer}.{key}": part for key, part in parts.items()}
        leaves[f"h.{layer}.qkv"] = np.concatenate(list(parts.values()))
    source = write(tmp_path / "fused.safetensors", leaves)
    tied, back = tmp_path / "tied.safetensors", tmp_path / "back.safetensors"

    outcome = run(
        "tie",
        source,
        "--src",
        "(h.{i}.q, h.{i}.k, h.{i}.v)",
        "--dst",
        "h.{i}.qkv",
        "--transform",
        "concat(0)",
        "-o",
        tied,
    )
    assert outcome.code == 0, outcome.stderr
    assert "h.1.qkv" not in read_header(tied)
    assert run("untie", tied, "-o", back).code == 0
    assert back.read_bytes() == source.read_bytes()


def test_subtree_is_tied_whole_or_not_at_all(run: Run, write: Write, tmp_path: Path, rng: np.random.Generator) -> None:
    """Two equal subtrees become one; a leaf without a counterpart is named."""
    tower = {name: rng.normal(size=(4, 4)).astype(np.float32) for name in ("a.w", "a.b", "c.w")}
    leaves = {f"encoder.{name}": leaf for name, leaf in tower.items()}
    leaves |= {f"decoder.{name}": leaf for name, leaf in tower.items()}
    source = write(tmp_path / "towers.safetensors", leaves)
    tied = tmp_path / "tied.safetensors"
    assert run("tie", source, "--src", "encoder", "--dst", "decoder", "-o", tied).code == 0
    assert [name for name in read_header(tied) if name.startswith("decoder")] == []

    leaves["decoder.extra"] = leaves["decoder.a.w"]
    odd = write(tmp_path / "odd.safetensors", leaves)
    outcome = run("tie", odd, "--src", "encoder", "--dst", "decoder")
    assert outcome.code == 2
    assert "decoder.extra" in outcome.stderr


def test_config_that_unties_is_never_left_behind(run: Run, tmp_path: Path) -> None:
    """A file whose config unties the head is not tied in place without it; elsewhere, it is warned of."""
    directory = tmp_path / "model"
    shutil.copytree(FIXTURES / "gpt2-untied", directory)
    config = directory / "config.json"
    config.write_text(config.read_text().replace("true", "false"))
    command = ["tie", directory / "model.safetensors", "--src", "transformer.wte.weight", "--dst", "lm_head.weight"]

    outcome = run(*command, "--in-place")
    assert outcome.code == 2
    assert "`config.json` beside" in outcome.stderr

    outcome = run(*command, "-o", tmp_path / "tied.safetensors")
    assert outcome.code == 0
    assert "must say that the weights are tied" in outcome.stderr

    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    outcome = run("tie", directory, *command[2:], "--in-place")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(config.read_text())["tie_word_embeddings"] is True
    assert run("untie", directory, "--in-place").code == 0
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.fixture
def declared(write: Write, tmp_path: Path, rng: np.random.Generator) -> Path:
    """A file from `save_model`: one tie in its metadata, and two equal leaves that nobody declared."""
    embed, other = (rng.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    leaves = {"embed": embed, "x": other, "y": other}
    return write(tmp_path / "declared.safetensors", leaves, {"format": "pt", "head": "embed"})


def test_untie_of_all_stops_at_the_original(run: Run, declared: Path, tmp_path: Path) -> None:
    """What was declared before tiecli came stays declared, so that the original comes back."""
    tied, back = tmp_path / "tied.safetensors", tmp_path / "back.safetensors"
    assert run("tie", declared, "--src", "x", "--dst", "y", "-o", tied).code == 0
    assert run("untie", tied, "-o", back).code == 0
    assert back.read_bytes() == declared.read_bytes()


@pytest.mark.parametrize(("select", "stored"), [("head", "head"), ("y", "y"), ("*", "both")])
def test_untie_by_name_takes_declared_ties_too(
    run: Run, declared: Path, tmp_path: Path, select: str, stored: str
) -> None:
    """Named, an alias is stored whoever declared it; the header is then not the original's."""
    tied, out = tmp_path / "tied.safetensors", tmp_path / "out.safetensors"
    assert run("tie", declared, "--src", "x", "--dst", "y", "-o", tied).code == 0
    outcome = run("untie", tied, "--dst", select, "-o", out, "--json")

    assert outcome.code == 0, outcome
    assert outcome.json["restored"] is (True if select == "y" else False if select == "*" else None)
    header = read_header(out)
    assert ("head" in header, "y" in header) == (stored != "y", stored != "head")
    assert ("head" in header["__metadata__"]) is (stored == "y")


def test_a_leaf_may_be_called_like_a_framework(run: Run, write: Write, tmp_path: Path) -> None:
    """`format: pt` in the metadata is no tie of `format` to a leaf called `pt`."""
    path = write(tmp_path / "odd.safetensors", {"pt": np.ones((2, 2), np.float32)}, {"format": "pt"})

    assert run("inspect", path, "--json").json["ties"] == []


def test_canonical_leaf_that_changed_since_is_said(run: Run, model: Path, tmp_path: Path) -> None:
    """A tied checkpoint that was trained further unties to its present values, and says so."""
    tied, back = tmp_path / "tied.safetensors", tmp_path / "back.safetensors"
    command = ["tie", model, "--src", EMBED, "--dst", "decoder.kernel", "--transform", "transpose", "-o", tied]
    assert run(*command).code == 0
    raw = bytearray(tied.read_bytes())
    header = read_header(tied)
    start = 8 + int.from_bytes(raw[:8], "little") + header[EMBED]["data_offsets"][0]
    raw[start : start + 4] = np.float32(7).tobytes()
    tied.write_bytes(raw)

    outcome = run("untie", tied, "-o", back, "--json")
    assert outcome.code == 0
    assert outcome.json["ties"][0]["same_as_tied"] is False
    assert "changed since" in outcome.json["notices"][0]
    with safe_open(back, "numpy") as opened:
        np.testing.assert_array_equal(opened.get_tensor("decoder.kernel"), opened.get_tensor(EMBED).T)
        assert opened.get_tensor("decoder.kernel")[0, 0] == 7


def test_target_is_refused_before_anything_is_compared(run: Run, model: Path, tmp_path: Path) -> None:
    """A long proof is not done for a target that exists: of two errors, the cheap one comes first."""
    (tmp_path / "taken").touch()
    outcome = run("tie", model, "--src", EMBED, "--dst", "head2.weight", "-o", tmp_path / "taken", "--json")

    assert outcome.json["error"]["code"] == "TargetExists"


def test_alias_that_comes_back_with_other_bits_is_not_published(run: Run, model: Path, tmp_path: Path) -> None:
    """The digest from the day of the tie has the last word, as long as the canonical leaf is what it was."""
    tied = tmp_path / "tied.safetensors"
    command = ["tie", model, "--src", EMBED, "--dst", "decoder.kernel", "--transform", "transpose", "-o", tied]
    assert run(*command).code == 0
    manifest = json.loads(read_header(tied)["__metadata__"]["tiecli"])
    digest = manifest["ties"][0]["alias_digest"].encode()
    tied.write_bytes(tied.read_bytes().replace(digest, b"xxh3_128:" + b"0" * 32))

    outcome = run("untie", tied, "-o", tmp_path / "back.safetensors", "--json")
    assert outcome.code == 2
    assert outcome.json["error"]["code"] == "DriftedPair"
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "tied.safetensors"]
