"""Saving: a live tree becomes a tied checkpoint, which reads back as the tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tiecli
from tiecli.errors import (
    ConversionError,
    DriftedPairError,
    LeafNotFoundError,
    TargetExistsError,
    TransformMismatchError,
    TreeError,
    UsageError,
)
from tiecli.pytrees import Tree, contract, expand, list_leaves, load, read_ties, save, tie_names
from tiecli.ties import TieSet

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")
FORMS = ["file.safetensors", "shards", "orbax"]
NONE = TieSet(())
NAMES = {"head": "wte | transpose", "layers[1]": "layers[0]", "qk": "(q, k) | concat(0)", "half": "wte | cast(bf16)"}


def make_tree() -> Tree:
    rng = np.random.default_rng(0)
    table, weight, q, k = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 4), (4, 4), (2, 4), (3, 4)))
    layers = [{"w": weight, "b": weight[0]}, {"w": weight.copy(), "b": weight[0].copy()}]
    return {"wte": table, "layers": layers, "q": q, "k": k} | {
        "head": table.T,
        "qk": np.concatenate([q, k]),
        "half": table.astype(ml_dtypes.bfloat16),
    }


def write(tree: Tree, path: Path, ties: TieSet = NONE, **options: Any) -> Path:
    save(tree, path, ties, shard_nbytes=100 if path.name == "shards" else None, sync=False, **options)
    return path


def same(left: Tree, right: Tree) -> bool:
    """Whether two trees have the same leaves in the same places, bit for bit."""
    places = list_leaves(left), list_leaves(right)
    return places[0].keys() == places[1].keys() and all(
        np.asarray(leaf).dtype == np.asarray(places[1][path]).dtype
        and np.asarray(leaf).tobytes() == np.asarray(places[1][path]).tobytes()
        for path, leaf in places[0].items()
    )


@pytest.mark.parametrize("live", [False, True], ids=["numpy", "jax"])
@pytest.mark.parametrize("is_contracted", [False, True], ids=["expanded", "contracted"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_reads_back(form: str, is_contracted: bool, live: bool, tmp_path: Path) -> None:
    """Contracted or expanded, the checkpoint is the same: each tied leaf once, its ties in the manifest."""
    tree = jax.tree.map(jax.numpy.asarray, make_tree()) if live else make_tree()
    ties = tie_names(tree, NAMES)

    path = write(contract(tree, ties) if is_contracted else tree, tmp_path / form, ties)

    assert same(load(path), tree)
    assert same(load(path, expanded=False), contract(tree, ties))
    assert set(read_ties(path)) == set(ties)
    before = sum(np.asarray(leaf).nbytes for leaf in list_leaves(contract(tree, ties)).values())
    with tiecli.open_reader(path) as reader:
        shared = {path for path in reader.specs() if path in ties.by_alias}
        assert sum(spec.nbytes for path, spec in reader.specs().items() if path not in shared) == before
        # Orbax names the bytes of a whole leaf twice, turned or not; what is made of others is left out.
        expected = {"head", "layers[1].w", "layers[1].b"} if form == "orbax" else set()
        assert {str(path) for path in shared} == expected


@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_passes_verify(form: str, tmp_path: Path) -> None:
    """Bytes and gradients, against the tree saved without ties."""
    tree = make_tree()
    tied = write(tree, tmp_path / form, tie_names(tree, NAMES))
    (tmp_path / "untied").mkdir()

    report = tiecli.verify(tied, original=write(tree, tmp_path / "untied" / form))

    assert report.passed
    assert {tie.judgement.verdict for tie in report.ties} == {"PASS"}


def test_untie_gives_the_tree_without_ties(tmp_path: Path) -> None:
    """The manifest that is written is one like any other."""
    tree = make_tree()
    tied = write(tree, tmp_path / "x.safetensors", tie_names(tree, NAMES))

    tiecli.untie(tied, tiecli.Target(tmp_path / "y.safetensors"))

    assert len(read_ties(tmp_path / "y.safetensors")) == 0
    assert same(load(tmp_path / "y.safetensors"), tree)


@pytest.mark.parametrize("form", FORMS)
def test_values_that_differ(form: str, tmp_path: Path) -> None:
    """Refused, and nothing is written; one side is given up where that is asked for."""
    tree = make_tree()
    ties = tie_names(tree, {"head": "wte | transpose"})
    tree["head"] = tree["head"] + 1

    with pytest.raises(DriftedPairError, match=r"`head` is not `wte \| transpose`: 24 of 24 elements differ"):
        write(tree, tmp_path / form, ties)
    assert not (tmp_path / form).exists()

    path = write(tree, tmp_path / form, ties, keep="src")
    assert same(load(path), tree | {"head": tree["wte"].T})
    with tiecli.open_reader(path) as reader:
        manifest = reader.manifest()
    assert manifest is not None
    assert [record.exact for record in manifest.records] == [False]


def test_modes_of_orbax(tmp_path: Path) -> None:
    """`omit` leaves every alias out; `alias` is refused where bytes cannot be shared."""
    tree = make_tree()
    turned, cast = tie_names(tree, {"head": "wte | transpose"}), tie_names(tree, {"half": "wte | cast(bf16)"})

    for mode, names in (("omit", set[str]()), ("alias", {"head"}), (None, {"head"})):
        path = write(tree, tmp_path / f"orbax-{mode}", turned, mode=mode)
        with tiecli.open_reader(path) as reader:
            assert {str(path) for path in reader.specs()} & {"head"} == names
        assert same(load(path), tree)
    for ties, name in ((cast, "orbax"), (turned, "x.safetensors")):
        with pytest.raises(UsageError, match="cannot share stored bytes"):
            write(tree, tmp_path / name, ties, mode="alias")
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("form", FORMS)
def test_empty_leaves_share_nothing(form: str, tmp_path: Path) -> None:
    """There are no bytes to have two names: such an alias is left out, and stored again when it is untied."""
    tree = {"a": np.zeros((0, 3)), "b": np.zeros((0, 3)), "w": np.ones(1)}
    ties = tie_names(tree, {"b": "a"})

    write(tree, tmp_path / form, ties)
    (tmp_path / "by-verb").mkdir()
    untied = write(tree, tmp_path / "by-verb" / form)
    tiecli.tie(untied, [tiecli.TieRequest("a", "b")], tiecli.Target(tmp_path / f"tied-{form}"))

    for path in (tmp_path / form, tmp_path / f"tied-{form}"):
        assert [str(tie) for tie in read_ties(path)] == ["b = a"]
        assert same(load(path), tree)
        tiecli.untie(path, tiecli.Target(tmp_path / f"untied-{path.name}"))
        assert same(load(tmp_path / f"untied-{path.name}"), tree)


DTYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    *(np.int8, np.uint16, np.int32, np.uint64, np.bool_, np.complex64),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_every_dtype(dtype: Any, form: str, tmp_path: Path) -> None:
    """Elements of any kind, scalars and empty leaves among them, byte for byte."""
    leaf = np.random.default_rng(0).integers(0, 2, (3, 4)).astype(dtype)
    tree = {"a": leaf, "b": leaf.T, "scalar": leaf[0, 0], "strided": leaf[:, ::2], "empty": leaf[:0]}
    path = write(tree, tmp_path / form, tie_names(tree, {"b": "a | transpose"}))

    assert same(load(path), tree)


def test_the_order_of_bytes_is_the_machines(tmp_path: Path) -> None:
    """Big-endian arrays are stored as every reader expects them."""
    values = np.array([1.5, -2.0, 3.25])
    path = write({"a": values.astype(">f8"), "b": values}, tmp_path / "x.safetensors")

    assert load(path)["a"].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (1.5, "`x` is a float, which is no array"),
        (jax.nn.relu, "which is no array of numpy or JAX"),
        ("text", "`x` is a str"),
        (jax.random.key(0), "`x` is an array of dtype key<fry>, which no checkpoint holds"),
        (np.ones(1, np.complex128), "`x` is an array of dtype complex128"),
        (np.ones(2, ml_dtypes.int4), "`x` is an array of dtype int4"),
        (np.ones(2, ml_dtypes.float4_e2m1fn), "`x` is F4 2, of which no array has packed elements"),
        (jax.ShapeDtypeStruct((2,), "float32"), "`x` has no values here: it is a shape"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_no_checkpoint_holds(form: str, leaf: Any, message: str, tmp_path: Path) -> None:
    """The leaf is named, and nothing is written."""
    with pytest.raises(TreeError, match=message):
        write({"w": np.ones(1), "x": leaf}, tmp_path / form)
    assert not (tmp_path / form).exists()


@pytest.mark.parametrize(
    ("names", "drop", "error", "message"),
    [
        ({"head": "wte | transpose"}, "wte", LeafNotFoundError, "the tree has no leaf `wte`"),
        ({"head": "wte"}, "", TransformMismatchError, "`head = wte` gives F32 6×4, but `head` is F32 4×6"),
    ],
)
def test_ties_that_do_not_fit(
    names: dict[str, str], drop: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """As `contract` refuses them."""
    tree = make_tree()
    ties = tie_names(tree, names)
    tree.pop(drop, None)
    with pytest.raises(error, match=message):
        write(tree, tmp_path / "x.safetensors", ties)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_replaced(form: str, tmp_path: Path) -> None:
    """What is there stays as it is."""
    write({"w": np.zeros(1)}, tmp_path / form)
    with pytest.raises(TargetExistsError):
        write({"w": np.ones(1)}, tmp_path / form)
    assert load(tmp_path / form)["w"].tolist() == [0]


def test_names_that_the_format_cannot_hold(tmp_path: Path) -> None:
    """The one that safetensors keeps for itself, and those that Orbax would store as one."""
    with pytest.raises(ConversionError, match="safetensors calls its metadata"):
        write({"__metadata__": np.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ConversionError, match="would both be stored as"):
        write({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, tmp_path / "orbax")


def test_names_with_commas_and_brackets_may_be_tied(tmp_path: Path) -> None:
    """Ties are of leaves, not of what they are spelled as: no name is read as a pattern."""
    tree = {"a,b": np.ones((1, 2)), "{c}": np.zeros((1, 2)), "x*": np.array([[1.0, 1], [0, 0]])}
    ties = TieSet(
        (tiecli.Tie(tiecli.KeyPath(("x*",)), (tiecli.KeyPath(("a,b",)), tiecli.KeyPath(("{c}",))),
                    tiecli.Transform.parse("concat(0)")),)
    )  # fmt: skip
    for form in FORMS:
        assert same(load(write(tree, tmp_path / form, ties)), tree)


def test_containers_of_every_kind(tmp_path: Path) -> None:
    """Tuples, modules and states are saved by place, and read back into their like."""
    optax = pytest.importorskip("optax", reason="optax comes with the extra `verify`")
    params = {"wte": jax.numpy.ones((3, 2)), "out": (jax.numpy.zeros(2), None)}
    tree = (params, optax.adam(0.1).init(params))
    for form in FORMS:
        back = load(write(tree, tmp_path / form), like=tree)
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        assert same(back, tree)


def test_an_expanded_tree_is_made_where_the_tree_was(tmp_path: Path) -> None:
    """A tree of shapes and a checkpoint make a contracted tree that trains on, and is saved again."""
    tree = make_tree()
    ties = tie_names(tree, {"head": "wte | transpose"})
    first = write(tree, tmp_path / "a.safetensors", ties)

    contracted = jax.tree.map(jax.numpy.asarray, load(first, expanded=False))
    stepped = jax.tree.map(lambda leaf: leaf + 1, contracted)
    second = write(stepped, tmp_path / "b.safetensors", read_ties(first))

    assert same(load(second), expand(stepped, ties))
