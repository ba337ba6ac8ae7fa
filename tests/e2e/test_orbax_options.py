"""The options that are about Orbax, and what they mean for a safetensors checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.checkpoints.orbax.items import write_item

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
PAIR = ["--src", EMBED, "--dst", HEAD]
ORBAX = Path(__file__).parents[2] / "fixtures/orbax/pytree"
TURNED = ["--src", "params.token_embedder.embedding", "--dst", "params.decoder.logits_dense.kernel"]
TURNED += ["--transform", "transpose"]
Run = Callable[..., Any]


@pytest.mark.parametrize("option", [["--step", "0"], ["--item", "params"]])
@pytest.mark.parametrize("command", [["inspect"], ["find"], ["tie", *PAIR], ["untie"], ["tie", "--auto"]])
def test_a_part_is_refused_where_there_are_none(run: Run, model: Path, command: list[str], option: list[str]) -> None:
    """Silence would leave it open which part was read."""
    verb, *rest = command

    outcome = run(verb, model, *rest, *option)

    assert outcome.code == 2
    assert "is a safetensors checkpoint, which has no steps and no items" in outcome.stderr


def test_a_step_is_no_negative_number(run: Run, model: Path) -> None:
    """The parser of the options says so."""
    outcome = run("inspect", model, "--step", "-1")

    assert outcome.code == 2
    assert "--step" in outcome.stderr


def test_sharing_bytes_is_refused_for_safetensors(run: Run, model: Path, tmp_path: Path) -> None:
    """No two names of a safetensors file may have the same bytes; leaving the alias out is what `tie` does."""
    refused = run("tie", model, *PAIR, "--mode", "alias", "-o", tmp_path / "out.safetensors")

    assert refused.code == 2
    assert "--mode alias is for Orbax" in refused.stderr
    assert not (tmp_path / "out.safetensors").exists()
    assert run("tie", model, *PAIR, "--mode", "omit", "-o", tmp_path / "out.safetensors").code == 0


@pytest.mark.parametrize("options", [["--link"], ["--link", "--kept-files", "hardlink"]])
def test_link_is_short_for_hard_links(run: Run, model: Path, tmp_path: Path, options: list[str]) -> None:
    """Files that stay as they are become links; `untie` takes the option too."""
    source, tied, back = tmp_path / "source", tmp_path / "tied", tmp_path / "back"
    source.mkdir()
    shutil.copy(model, source)
    (source / "tokenizer.json").write_text("{}")

    assert run("tie", source, *PAIR, *options, "-o", tied).code == 0
    assert run("untie", tied, *options, "-o", back).code == 0
    assert (tied / "tokenizer.json").samefile(source / "tokenizer.json")
    assert (back / "tokenizer.json").samefile(source / "tokenizer.json")


def test_a_none_that_stays_is_told(run: Run, tmp_path: Path) -> None:
    """Orbax puts it into a target that still has the leaf, and so does not refuse it."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    item = write_item(tmp_path / "item", {("w",): weight, ("list", 0): weight, ("copy",): weight})

    told = run("tie", item, "--src", "w", "--dst", "list[0]", "--mode", "omit").stderr
    both = run("tie", item, "--src", "w", "--dst", "list[0]", "--src", "w", "--dst", "copy", "--mode", "omit").stderr

    assert "a None stays in the place of `list[0]`" in told
    assert "refused by Orbax" not in told
    assert "a target without `copy`; one that still has it is refused by Orbax" in " ".join(both.split())


def test_links_across_file_systems_are_refused_with_the_way_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names the option that was given, and nothing is left behind."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    outcome = run("tie", ORBAX, *TURNED, "--link", "-o", tmp_path / "out")

    assert outcome.code == 2
    assert "Leave out --link" in outcome.stderr
    assert not any(tmp_path.iterdir())


def test_the_hint_about_permissions_has_the_whole_path(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a command to be typed where one stands, and files of an item are called by their names alone."""
    opened = os.open

    def deny(path: Any, *rest: Any, **options: Any) -> int:
        if Path(path).name == "_METADATA":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", deny)
    outcome = run("inspect", ORBAX)

    assert outcome.code == 2
    assert f"`ls -l {ORBAX / '_METADATA'}`" in outcome.stderr


@pytest.mark.parametrize("verb", ["tie", "untie"])
@pytest.mark.parametrize("how", ["copy", "reflink"])
def test_link_and_another_way_to_keep_files(run: Run, model: Path, verb: str, how: str) -> None:
    """Two answers to one question are refused, also for a dry run."""
    outcome = run(verb, model, *(PAIR if verb == "tie" else []), "--link", "--kept-files", how)

    assert outcome.code == 2
    assert f"--link and --kept-files {how} exclude each other" in outcome.stderr
