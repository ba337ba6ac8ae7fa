"""Reading for the linter: every byte once for all rules, bounded, and told of when it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lint.building import Leaf, llama_config, write_file, write_json
from tests.lint.converting import write_item
from tests.unit.checkpoints.orbax import items
from tests.unit.checkpoints.orbax.items import SameBytes
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Piece
from tiecli.checkpoints.survey.walking import find_units
from tiecli.errors import CheckpointError
from tiecli.keypaths import KeyPath
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.engine import Outcome, run_rules
from tiecli.linting.registry import find_rule
from tiecli.linting.statistics import BLOCK_NBYTES, take_statistics
from tiecli.linting.subject import Subject

DATA = ("TIE002", "TIE003", "TIE004", "TIE016", "TIE017", "DUP001", "NUM001", "NUM002", "NUM003", "NUM005")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROWS, WIDTH = 4096, 64
NBYTES = ROWS * WIDTH * 4
SAMPLES = 8 << 10
"""More than any rule looks at of a large leaf before it suspects something."""


class CountingReader:
    """Counts the bytes that are read of each leaf."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.read: Counter[str] = Counter()
        self.longest = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        self.count(path, len(buffer))
        self.reader.read_into(path, offset, buffer)

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        self.count(path, sum(length for _, length in pieces))
        raw: bytes = self.reader.read_pieces(path, pieces)
        return raw

    def count(self, path: KeyPath, nbytes: int) -> None:
        self.read[path.spelling] += nbytes
        self.longest = max(self.longest, nbytes)


def draw(seed: int, *shape: int) -> Any:
    """Draws a leaf of float32."""
    return np.random.default_rng(seed).standard_normal(shape or (ROWS, WIDTH)).astype(np.float32)


def drift(leaf: Any) -> Any:
    """Changes one bit."""
    moved = leaf.copy()
    moved.view(np.uint32)[7, 7] ^= 1
    return moved


def lint(
    place: Path, leaves: Mapping[str, Leaf], *, tied: bool, codes: Sequence[str] = DATA
) -> tuple[Outcome, CountingReader]:
    """Runs rules on a Llama of these leaves, with a reader that counts."""
    write_file(place / "model.safetensors", leaves)
    write_json(place / "config.json", llama_config(tie_word_embeddings=tied))
    (unit,) = find_units(place)
    with open_reader(place) as opened:
        subject = Subject(unit)
        counting = CountingReader(opened)
        vars(subject)["reader"] = counting
        outcome = run_rules(subject, map(find_rule, codes), data=True)
    assert not outcome.failures
    return outcome, counting


def codes_of(outcome: Outcome) -> list[str]:
    """Lists the rules that found something."""
    return [rule.code for rule, _ in outcome.found]


@pytest.mark.parametrize(("tied", "head", "found"), [
    (False, draw(2), []),
    (False, draw(1), ["TIE004"]),
    (True, draw(1), ["TIE002"]),
    (True, draw(2), ["TIE003"]),
    (True, drift(draw(1)), ["TIE003"]),
])  # fmt: skip
def test_every_byte_is_read_once_for_all_rules(tmp_path: Path, tied: bool, head: Any, found: list[str]) -> None:
    """What is compared is measured on its way; beside that, samples are all that is read again."""
    small = {"model.norm.weight": draw(3, WIDTH), "model.layers.0.w": draw(4, 9, 9), "model.layers.1.w": draw(5, 9, 9)}
    outcome, counting = lint(tmp_path, {EMBEDDING: draw(1), HEAD: head, **small}, tied=tied)

    assert codes_of(outcome) == found
    for name in (EMBEDDING, HEAD):
        assert NBYTES <= counting.read[name] <= NBYTES + SAMPLES
    for name, leaf in small.items():
        assert counting.read[name] == leaf.nbytes
    assert counting.longest <= max(BLOCK_NBYTES, 4 << 20)


def test_a_clean_checkpoint_is_only_sampled_for_ties(tmp_path: Path) -> None:
    """Without rules about values, of large leaves nothing is read but samples."""
    codes = [code for code in DATA if not code.startswith("NUM")]
    leaves = {EMBEDDING: draw(1), HEAD: draw(2), "turned": draw(3, WIDTH, ROWS)}
    outcome, counting = lint(tmp_path, leaves, tied=False, codes=codes)

    assert codes_of(outcome) == []
    assert max(counting.read.values()) <= SAMPLES


def test_a_pair_that_was_compared_is_not_read_again(tmp_path: Path) -> None:
    """The search, TIE002 and TIE003 share what one comparison found, and it is what a fresh one finds."""
    write_file(tmp_path / "model.safetensors", {"a": draw(1), "b": drift(draw(1))})
    (unit,) = find_units(tmp_path)
    with open_reader(tmp_path) as opened:
        subject = Subject(unit, (DeclaredPair("a", "b"),))
        counting = CountingReader(opened)
        vars(subject)["reader"] = counting
        first = subject.searcher.compare(("a",), "b", "same")
        again = subject.searcher.compare(("a",), "b", "same")

        assert first is again
        assert first is not None
        assert (first.differing, first.max_ulp) == (1, 1)
        assert counting.read["b"] <= NBYTES + SAMPLES
        assert subject.searcher.compare(("a",), "missing", "same") is None
        assert subject.searcher.compare(("a",), "b", "transpose") is None
        assert subject.searcher.compare(("a",), "b", "no transform") is None


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    """Also those that the search has measured already."""
    leaves = {"a": draw(1), "b": draw(1), "c": draw(2, 30, 30)}
    write_file(tmp_path / "model.safetensors", leaves)
    (unit,) = find_units(tmp_path)
    told: list[int] = []
    subject = Subject(unit, progress=told.append)
    outcome = run_rules(subject, map(find_rule, DATA), data=True)
    subject.close()

    assert codes_of(outcome) == ["DUP001"]
    assert sum(told) == sum(leaf.nbytes for leaf in leaves.values())


def damaged_item(directory: Path) -> Path:
    """Writes an Orbax item of two leaves, one with a NaN, the other with a chunk that does not decode."""
    nan = draw(1, 40, 40)
    nan[0, 0] = np.nan
    item = write_item(directory, {"broken": draw(2, 300, 300), "nan": nan}, compress=True)
    with open_reader(item) as reader:
        (places,) = (reader.stored_form(path).places for path in reader.specs() if path.spelling == "broken")
        offset, length = places[0][2:]
    (file,) = (file for file in item.rglob("d/*") if file.stat().st_ino == places[0][1])
    raw = bytearray(file.read_bytes())
    raw[offset : offset + length // 2] = bytes(length // 2)
    file.write_bytes(raw)
    return item


def test_a_leaf_that_does_not_decode_keeps_no_other_from_being_checked(tmp_path: Path) -> None:
    """What the other leaves hold is found, and the rule is said to have failed."""
    (unit,) = find_units(damaged_item(tmp_path))
    subject = Subject(unit)
    outcome = run_rules(subject, [find_rule("NUM001"), find_rule("NUM003")], data=True)
    subject.close()

    assert [finding.leaves for _, finding in outcome.found] == [("nan",)]
    assert [failure.code for failure in outcome.failures] == ["NUM001", "NUM003"]
    assert "broken" in outcome.failures[0].message


def test_statistics_name_what_could_not_be_read(tmp_path: Path) -> None:
    """The leaf is not among those measured, and asking for all of them raises."""
    with open_reader(damaged_item(tmp_path)) as reader:
        statistics = take_statistics(reader)

    assert [*statistics.leaves] == ["nan"]
    with pytest.raises(CheckpointError, match="broken"):
        statistics.check_all_read()


def test_second_names_of_stored_bytes_are_measured_once(tmp_path: Path) -> None:
    """An Orbax leaf that is stored under two names is read under one of them."""
    leaves: dict[tuple[str | int, ...], Any] = {
        ("a",): draw(1, 40, 40),
        ("b",): SameBytes(("a",)),
        ("c",): draw(2, 40, 40),
    }
    with open_reader(items.write_item(tmp_path / "item", leaves)) as reader:
        statistics = take_statistics(reader)

    assert [*statistics.leaves] == ["a", "c"]
