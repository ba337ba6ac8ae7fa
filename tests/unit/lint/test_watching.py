"""Watching: a leaf counts as measured once all of it was seen in order, however it was read before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.detect.leaves_on_disk import at, store
from tiecli.linting.statistics import take_statistics
from tiecli.linting.watching import Watch

Runs = list[tuple[int, int]]


def read(watch: Watch, *runs: tuple[int, int]) -> None:
    """Reads runs of bytes through the watched reader."""
    for start, stop in runs:
        watch.reader.read_into(at("x"), start, memoryview(bytearray(stop - start)))


@pytest.mark.parametrize(("runs", "measured"), [
    ([(0, 400)], True),
    ([(0, 100), (100, 104), (104, 400)], True),
    ([(0, 100), (0, 100), (100, 400)], True),
    ([(0, 200), (0, 100), (100, 400), (200, 400)], True),
    ([(0, 400), (0, 8)], True),
    ([(0, 100), (200, 400)], False),
    ([(100, 400), (0, 100)], False),
    ([(0, 98), (98, 400)], False),
    ([], False),
])  # fmt: skip
def test_a_leaf_is_measured_by_runs_that_follow_one_another(tmp_path: Path, runs: Runs, measured: bool) -> None:
    """What was measured on the way is what a pass of its own finds."""
    values = np.arange(100, dtype=np.float32)
    values[[3, 70]] = np.nan
    values[90:] = 0
    with store(tmp_path / "x.safetensors", {"x": values}) as reader:
        watch = Watch(reader)
        read(watch, *runs)
        found = watch.list_measured()

        assert [path.spelling for path in found] == (["x"] if measured else [])
        assert take_statistics(reader, known=found) == take_statistics(reader)
        assert take_statistics(reader).leaves["x"] == (2, 0, False, 40, None)


def test_a_leaf_that_is_read_as_one_piece_is_measured(tmp_path: Path) -> None:
    """Small leaves are, when they are sampled; an empty one never is."""
    with store(tmp_path / "x.safetensors", {"x": np.ones(8, np.float32), "empty": np.ones(0, np.float32)}) as reader:
        watch = Watch(reader)
        watch.reader.read_pieces(at("x"), [(0, 32)])
        watch.reader.read_pieces(at("empty"), [(0, 0)])

        assert [path.spelling for path in watch.list_measured()] == ["x"]
        assert watch.reader.specs() is reader.specs()
