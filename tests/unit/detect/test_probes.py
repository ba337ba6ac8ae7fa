"""Probes: where leaves are sampled, and that samples are what is stored there."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest

from tests.unit.detect.leaves_on_disk import at, store
from tiecli.detect.probes import (
    SAMPLES,
    SMALL_NBYTES,
    Samples,
    layer_indices,
    make_probe,
    prefix_indices,
    sample_places,
    whole_indices,
)
from tiecli.detect.subjects import Subject, axis_orders
from tiecli.errors import SourceChangedError, UnreadableFileError
from tiecli.leaves import DTYPES, LeafSpec

CORES = [(7,), (63,), (64,), (50_000,), (768, 50_257), (300, 300), (2, 40_000), (12, 64, 768), (3, 3, 64, 128)]


@pytest.mark.parametrize("core", CORES)
def test_samples_lie_inside_the_leaf(core: tuple[int, ...]) -> None:
    """There are as many samples as asked for, or all elements of a small leaf."""
    places = sample_places(core, SAMPLES)

    assert places.shape == (min(prod(core), SAMPLES), len(core))
    assert (places >= 0).all()
    assert (places < core).all()
    assert len({tuple(place) for place in places.tolist()}) > len(places) * 0.9


@pytest.mark.parametrize("shape", [(50_257, 768), (768, 50_257), (300, 1, 300), (64, 12, 768), (40, 40, 40)])
def test_equal_leaves_have_equal_samples_however_turned(shape: tuple[int, ...]) -> None:
    """One row of samples for each order: the same elements of the core, wherever they are stored."""
    places = sample_places(tuple(sorted(length for length in shape if length != 1)), SAMPLES)
    for order, row in zip(axis_orders(shape), whole_indices(shape), strict=True):
        index = np.stack(np.unravel_index(row, shape), axis=1)

        assert np.array_equal(index[:, order], places)


def test_both_ways_to_turn_a_square_need_the_same_elements() -> None:
    """The samples of a square are their own mirror image, so that they are read once."""
    same, turned = whole_indices((300, 300))

    assert set(same.tolist()) == set(turned.tolist())
    assert same.tolist() != turned.tolist()


def test_layers_are_sampled_like_leaves() -> None:
    """The samples of layer `i` are those of a leaf of the layer's shape, further on."""
    layers = layer_indices((5, 30, 40))

    assert layers.shape == (5, 1, SAMPLES)
    assert np.array_equal(layers[3], whole_indices((30, 40)) + 3 * 30 * 40)


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_prefix_samples_do_not_depend_on_the_length(rows: int) -> None:
    """A long and a short leaf, one of them turned, are sampled in the same rows and columns."""
    short, long = prefix_indices((16, 40), 0, rows), prefix_indices((99, 40), 0, rows)
    turned = prefix_indices((40, 99), 1, rows)
    columns, row = np.divmod(turned, 99)

    assert np.array_equal(short, long)
    assert np.array_equal(row * 40 + columns, long)
    assert row.max() == rows - 1


@pytest.mark.parametrize("shape", [(100, 50), (700, 300), (90_000,), (60, 40, 50)])
def test_samples_are_what_is_stored(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Read whole or in pieces, samples are the elements at their places, in order."""
    leaf = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spec = LeafSpec(shape, DTYPES["F32"])
    indices = whole_indices(shape)
    with store(tmp_path / "x.safetensors", {"other": np.zeros(3, np.uint8), "w": leaf}) as reader:
        samples = Samples(reader, lambda _: None)
        probe = make_probe(spec, {("whole",): indices, ("again",): indices[:, ::-1]})
        samples.read([(probe, [Subject(at("w"), spec, 0)])])

        assert np.array_equal(samples.section(at("w"), ("whole",)), leaf.view(np.uint32).reshape(-1)[indices])
        assert np.array_equal(samples.section(at("w"), ("again",)), leaf.view(np.uint32).reshape(-1)[indices[:, ::-1]])
        assert (samples.read_whole == {at("w")}) == (leaf.nbytes <= SMALL_NBYTES)
        assert (samples.bytes_read == leaf.nbytes) == (leaf.nbytes <= SMALL_NBYTES)


def test_a_file_cut_short_is_noticed(tmp_path: Path) -> None:
    """Samples that vanish between the header and the read are an error of ours."""
    spec = LeafSpec((100, 50), DTYPES["F32"])
    with store(tmp_path / "x.safetensors", {"w": np.ones((100, 50), np.float32)}) as reader:
        with (tmp_path / "x.safetensors").open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(SourceChangedError, match="changed while it was read"):
            Samples(reader, lambda _: None).read(
                [(make_probe(spec, {("whole",): whole_indices((100, 50))}), [Subject(at("w"), spec, 0)])]
            )


def test_a_refused_read_is_worded_by_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system objects to, the reader's own error says it."""
    spec = LeafSpec((4,), DTYPES["F32"])

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with store(tmp_path / "x.safetensors", {"w": np.ones(4, np.float32)}) as reader:
        monkeypatch.setattr("os.pread", refuse)
        monkeypatch.setattr("os.preadv", refuse)
        with pytest.raises(UnreadableFileError, match="input/output error"):
            Samples(reader, lambda _: None).read(
                [(make_probe(spec, {("whole",): whole_indices((4,))}), [Subject(at("w"), spec, 0)])]
            )
