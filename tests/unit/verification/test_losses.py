"""Losses: the identity on a model of the user's own, and the one test that settles an ambiguous transform."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from tiecli.checkpoints import open_reader
from tiecli.errors import LossError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward
from tiecli.verification.losses import check_losses, conclude_losses
from tiecli.verification.verdicts import LossCheck

pytest.importorskip("jax", reason="jax is not installed")

Array = np.ndarray[Any, Any]
Check = Callable[..., tuple[LossCheck, ...]]
RNG = np.random.default_rng(0)

# An autoencoder: not linear, wider than one, so that its gradients tell one leaf from another.
MODEL = """
import jax
import jax.numpy as jnp

def loss(tree, key):
    x = jnp.sin(jnp.arange(20.0)).reshape(5, 4)[:, : tree["enc"].shape[1]]
    hidden = jnp.tanh(x @ tree["enc"].T)
    return jnp.mean((hidden @ tree["dec"].T - x) ** 2) + jnp.sum(jnp.sin(tree["enc"]))
"""
TIED = """
def tied(tree, key):
    return loss({"enc": tree["enc"], "dec": tree["enc"].T}, key)

def tied_wrongly(tree, key):
    return loss({"enc": tree["enc"], "dec": tree["enc"]}, key)
"""


def tie(text: str) -> Tie:
    left, _, right = text.partition(" = ")
    sources, _, transform = right.partition(" | ")
    paths = tuple(KeyPath.from_name(source) for source in sources.split(","))
    return Tie(KeyPath.from_name(left), paths, Transform.parse(transform or "same"))


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Check:
    """Writes leaves and a module of losses, and checks ties by them."""
    from safetensors.numpy import save_file

    module = f"losses_of_{abs(hash(request.node.nodeid))}"
    monkeypatch.chdir(tmp_path)

    def check_ties(
        code: str,
        leaves: Mapping[str, Array],
        *ties: str,
        original: Mapping[str, Array] | None = None,
        loss: str = "loss",
        reference: str | None = None,
    ) -> tuple[LossCheck, ...]:
        Path(f"{module}.py").write_text(dedent(code))
        save_file(dict(leaves), "tied.safetensors")
        if original is not None:
            save_file(dict(original), "original.safetensors")
        names = f"{module}:{loss}", reference and f"{module}:{reference}"
        tie_set = TieSet(tuple(map(tie, ties)))
        with open_reader(Path("tied.safetensors")) as reader:
            if original is None:
                return check_losses(*names, reader, None, tie_set)
            with open_reader(Path("original.safetensors")) as before:
                return check_losses(*names, reader, before, tie_set)

    return check_ties


def verdicts(checks: tuple[LossCheck, ...], kind: str = "loss") -> list[str]:
    """What each point says of the only tie."""
    return [check.judgements[0][1].verdict for check in checks if check.kind == kind]


def square(n: int = 4) -> Array:
    return RNG.normal(size=(n, n)).astype(np.float32)


def symmetric(n: int = 4) -> Array:
    found = square(n)
    return found + found.T


def test_a_right_tie_passes_at_every_point(check: Check) -> None:
    """The stored point and two near it, each with its losses and what was measured."""
    enc = RNG.normal(size=(3, 4)).astype(np.float32)

    checks = check(MODEL, {"enc": enc}, "dec = enc | transpose", original={"enc": enc, "dec": enc.T.copy()})

    assert [found.point for found in checks] == ["stored", "perturbed 1", "perturbed 2"]
    assert verdicts(checks) == ["PASS"] * 3
    assert checks[0].judgements[0][1].reason == ""
    for found in checks:
        measure = dict(found.measures)["dec"]
        assert measure.error < measure.bound / 100
        assert measure.bound < 1e-11
        assert min(measure.src_norm, measure.dst_norm) > 0.01
        assert found.loss_tied == pytest.approx(found.loss_other, rel=1e-14)


def test_the_untied_side_is_that_of_the_original(check: Check) -> None:
    """One element of the original off by one ulp is seen; without an original there is nothing to see."""
    enc = RNG.normal(size=(3, 4)).astype(np.float32)
    dec = enc.T.copy()
    dec[1, 2] = np.nextafter(dec[1, 2], np.float32(9))

    against = check(MODEL, {"enc": enc}, "dec = enc | transpose", original={"enc": enc, "dec": dec})

    assert verdicts(against) == ["FAIL", "PASS", "PASS"]
    assert "the gradient at `enc` is" in against[0].judgements[0][1].reason
    assert "at the stored point" in against[0].judgements[0][1].reason
    assert verdicts(check(MODEL, {"enc": enc}, "dec = enc | transpose")) == ["PASS"] * 3


def test_a_reference_settles_what_symmetry_leaves_open(check: Check) -> None:
    """Where bytes fit two transforms, only a model that ties by itself tells which is meant."""
    enc = symmetric()
    against = {"enc": enc, "dec": enc}

    right = check(MODEL + TIED, {"enc": enc}, "dec = enc | transpose", original=against, reference="tied")
    wrong = check(MODEL + TIED, {"enc": enc}, "dec = enc", original=against, reference="tied")
    other = check(MODEL + TIED, {"enc": enc}, "dec = enc", original=against, reference="tied_wrongly")

    assert verdicts(right) == verdicts(wrong) == verdicts(other) == ["PASS"] * 3
    assert verdicts(right, "reference") == verdicts(other, "reference") == ["PASS"] * 3
    assert "PASS" not in verdicts(wrong, "reference")
    judged = [conclude_losses(checks, "dec", "reference") for checks in (right, wrong, other)]
    assert [judgement and judgement.verdict for judgement in judged] == ["PASS", "FAIL", "PASS"]


def test_the_identity_hides_a_wrong_transform_at_the_stored_point(check: Check) -> None:
    """With a symmetric leaf and the identity for input, loss and gradient agree; nearby they do not."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            # The sum of the squares of x W and x V, x being the identity: so is its gradient symmetric.
            return jnp.sum(tree["w"] ** 2) + jnp.sum(jnp.sin(tree["v"]) * jnp.sin(tree["w"].T))

        def tied(tree, key):
            return loss({"w": tree["w"], "v": tree["w"].T}, key)
        """
    checks = check(code, {"w": symmetric()}, "v = w", reference="tied")

    assert verdicts(checks, "reference") == ["PASS", "FAIL", "FAIL"]
    reason = checks[3].judgements[0][1].reason
    assert "at the perturbed 1 point, but" in reason


@pytest.mark.parametrize("leaf", [np.zeros((3, 3), np.float32), np.full((3, 3), 2.0, np.float32)])
def test_zeros_and_constants_are_moved_too(check: Check, leaf: Array) -> None:
    """A perturbation that only scaled them would leave them as ambiguous as they were."""
    checks = check(MODEL + TIED, {"enc": leaf}, "dec = enc", reference="tied")

    assert verdicts(checks, "reference")[1:] == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("expression", "ignored"),
    [
        ("jnp.sum(jnp.sin(jax.lax.stop_gradient(tree['dec']) @ tree['enc']))", "dec"),
        ("jnp.sum(jnp.sin(tree['enc']))", "dec"),
        ("jnp.sum(jnp.sin(tree['dec']))", "enc"),
        ("3.0", "dec"),
    ],
)
def test_a_loss_that_ignores_a_leaf_shows_nothing(check: Check, expression: str, ignored: str) -> None:
    """Behind `stop_gradient`, or not used at all."""
    code = f"import jax\nimport jax.numpy as jnp\ndef loss(tree, key):\n    return {expression}\n"

    checks = check(code, {"enc": square()}, "dec = enc | transpose")

    assert verdicts(checks) == ["VACUOUS"] * 3
    assert checks[0].judgements[0][1].reason == f"the loss ignores `{ignored}`"
    found = conclude_losses(checks, "dec", "loss")
    assert found is not None
    assert found.verdict == "VACUOUS"
    assert conclude_losses(checks, "dec", "reference") is None


def test_a_leaf_that_matters_nearby_only(check: Check) -> None:
    """Vacuous at the stored point, where a product with zero hides it, but not where it was moved."""
    code = "def loss(tree, key):\n    return (tree['a'] * tree['b']).sum()\n"

    checks = check(code, {"a": np.zeros(3, np.float32)}, "b = a")

    assert verdicts(checks) == ["VACUOUS", "PASS", "PASS"]
    found = conclude_losses(checks, "b", "loss")
    assert found is not None
    assert found.verdict == "PASS"


def test_cancelling_gradients_are_no_failure(check: Check) -> None:
    """What is left of two gradients that cancel is judged by their size, not by its own."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return jnp.sum(jnp.sin(tree["a"]) - jnp.sin(tree["b"] * (1 + 1e-15)))
        """
    checks = check(code, {"a": square()}, "b = a")

    assert verdicts(checks) == ["PASS"] * 3
    assert checks[0].measures[0][1].src_norm > 0.1


@pytest.mark.parametrize("scale", [1e4, 1e-6, 1e-30])
def test_the_size_of_gradients_does_not_matter(check: Check, scale: float) -> None:
    """The bound goes with them."""
    code = (
        f"import jax.numpy as jnp\ndef loss(tree, key):\n    return {scale} * jnp.sum(jnp.sin(tree['a']) * tree['b'])\n"
    )

    checks = check(code, {"a": square()}, "b = a | transpose")

    assert verdicts(checks) == ["PASS"] * 3
    assert checks[0].measures[0][1].bound < 1e-11 * scale


def test_only_the_guilty_tie_fails(check: Check) -> None:
    """A wrong tie changes the loss, and every gradient with it; the right one still passes."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return jnp.sin(jnp.sum(tree["a"] @ tree["b"])) * jnp.sum(jnp.cos(tree["c"] @ tree["d"] + tree["a"]))

        def tied(tree, key):
            return loss(tree | {"b": tree["a"].T, "d": tree["c"].T}, key)
        """
    leaves = {"a": symmetric(), "c": symmetric()}

    checks = check(code, leaves, "b = a", "d = c | transpose", reference="tied")
    drifted = check(
        code, leaves, "b = a", "d = c", original=leaves | {"b": leaves["a"] * np.float32(1.001), "d": leaves["c"]}
    )

    found = [conclude_losses(checks, alias, "reference") for alias in "bd"]
    assert [judgement and judgement.verdict for judgement in found] == ["FAIL", "PASS"]
    assert [judgement.verdict for _, judgement in drifted[0].judgements] == ["FAIL", "PASS"]


def test_chains_groups_and_several_sources(check: Check) -> None:
    """In a chain each leaf's own gradient counts; a joined leaf gives each source its part."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return sum(jnp.sum(jnp.sin((number + 1.5) * leaf)) for number, leaf in enumerate(tree.values()))
        """
    checks = check(code, {"q": square(3), "k": square(3)}, "b = q | neg", "c = b | transpose", "qk = q,k | concat(0)")

    assert {alias: judgement.verdict for alias, judgement in checks[0].judgements} == dict.fromkeys(
        ["b", "c", "qk"], "PASS"
    )
    assert verdicts(checks) == ["PASS"] * 3


def test_many_ties_to_one_leaf(check: Check) -> None:
    """A 96-way tie sums 97 gradients."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return jnp.sum(jnp.sin(jnp.stack(list(tree.values())) * jnp.arange(1, 98.0)[:, None]))
        """
    checks = check(code, {"w": square(3)[0]}, *(f"layer{number} = w" for number in range(96)))

    assert [len(found.judgements) for found in checks] == [96] * 3
    assert {judgement.verdict for found in checks for _, judgement in found.judgements} == {"PASS"}


@pytest.mark.parametrize(
    ("transform", "in_float64"),
    [
        ("cast(bf16)", "tree['enc']"),
        ("scale(0.1)", "0.1 * tree['enc']"),
        ("cast(bf16) | scale(0.3) | cast(f32)", "0.3 * tree['enc']"),
    ],
)
def test_rounding_on_disk_is_no_error(check: Check, transform: str, in_float64: str) -> None:
    """In float64 a cast does nothing; what it rounded away is a constant, so the original still agrees."""
    enc = square()
    original = {"enc": enc, "dec": forward(Transform.parse(transform), [enc])}
    code = MODEL + f"def tied(tree, key):\n    return loss(tree | {{'dec': {in_float64}}}, key)\n"

    checks = check(code, {"enc": enc}, f"dec = enc | {transform}", original=original, reference="tied")

    assert verdicts(checks) == verdicts(checks, "reference") == ["PASS"] * 3


def test_complex_leaves(check: Check) -> None:
    """Under a conjugate transpose the adjoint conjugates; bare transposition is told apart by a reference."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return jnp.sum(jnp.sin((tree["a"] @ tree["b"]).real)) + jnp.sum(jnp.cos(tree["b"].imag))

        def tied(tree, key):
            return loss({"a": tree["a"], "b": tree["a"].T.conj()}, key)
        """
    leaf = (square() + 1j * square()).astype(np.complex64)

    right = check(code, {"a": leaf}, "b = a | transpose | conj", reference="tied")
    wrong = check(code, {"a": leaf}, "b = a | transpose", reference="tied")

    assert verdicts(right) == verdicts(right, "reference") == ["PASS"] * 3
    assert verdicts(wrong, "reference") == ["FAIL"] * 3


def test_integers_and_untied_leaves_are_in_the_tree(check: Check) -> None:
    """They are not differentiated; a tie of integers is left to the bytes."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            assert tree["ids"].dtype == jnp.int64 and tree["more"].dtype == jnp.int64
            assert tree["bias"].dtype == tree["w"].dtype == tree["scale"].dtype == jnp.float64
            picked = jnp.sum(jnp.sin(tree["w"][tree["ids"]]) * tree["v"][tree["more"]])
            return picked + tree["bias"].sum() * tree["scale"][1]
        """
    leaves = {"w": square(), "ids": np.arange(3), "bias": square().astype(np.float16)}

    checks = check(code, leaves, "v = w", "more = ids", "scale = ids | cast(f32)")

    assert verdicts(checks) == ["PASS"] * 3
    assert [alias for alias, _ in checks[0].judgements] == ["v"]


def test_a_loss_in_narrow_floats_is_judged_by_them(check: Check) -> None:
    """What computes in bfloat16 agrees to no more; the verdict says so."""
    code = """
        import jax.numpy as jnp

        def loss(tree, key):
            return jnp.sum(jnp.sin(tree["a"].astype(jnp.float32) @ tree["b"].astype(jnp.float32)))
        """
    checks = check(code, {"a": square()}, "b = a | transpose")

    assert verdicts(checks) == ["PASS"] * 3
    assert "computes in float32 in places, so this holds to 2e-06" in checks[0].judgements[0][1].reason


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return tree['nothing']", r"raised KeyError: 'nothing' \(losses_of_\d+\.py, line 4\)"),
        ("return tree['a']", r"gives an array of shape \(4, 4\), expected one real number"),
        ("return tree", "gives a dict, expected one real number"),
        ("return None", "gives a NoneType, expected one real number"),
        ("return jnp.sum(tree['a'] > 0)", "gives int64, which has no gradient; expected a float"),
        ("return jnp.sum(tree['a'] + 1j)", "gives complex128, which has no gradient"),
        ("return jnp.log(-jnp.sum(tree['a'] ** 2))", "is nan at the stored point, expected a finite number"),
        ("return jnp.sum(tree['a'] ** 2) / 0", "is inf at the stored point"),
        ("return jnp.sum(jnp.sqrt(0 * tree['a']))", "has no finite gradient at `a`, at the stored point"),
        ("return float(jnp.sum(tree['a']))", "raised ConcretizationTypeError: "),
        (
            "return jax.lax.while_loop(lambda c: c < 9, lambda c: c * 2, jnp.sum(tree['a'] ** 2))",
            "cannot be differentiated: ",
        ),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
        ("return jnp.sum(tree['a']) * np.random.rand() * tree['b'].sum()", "gives another loss each time it is traced"),
    ],
)
def test_losses_that_cannot_be_used(check: Check, body: str, message: str) -> None:
    """Each is refused in one line that names it."""
    with pytest.raises(LossError, match=message) as caught:
        check(
            f"import jax, jax.numpy as jnp, numpy as np\n\ndef loss(tree, key):\n    {body}\n", {"a": square()}, "b = a"
        )
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", "`loss` names no function, expected `module:function`"),
        ("a:b:c", "names no function"),
        ("../a:b", "names no function"),
        ("no_such_module:loss", "there is no module `no_such_module`"),
        ("json.nothing:loss", r"there is no module `json\.nothing`"),
        ("json:nothing", "`json` has no function `nothing`"),
        ("json:__name__", "`json:__name__` is a str, which cannot be called"),
        ("broken:loss", "`broken` cannot be imported: ZeroDivisionError: division by zero"),
        ("exits:loss", "`exits` cannot be imported: SystemExit: 1"),
        ("misspelt:loss", "`misspelt` cannot be imported: SyntaxError: "),
        ("needs:loss", "`needs` cannot be imported: ModuleNotFoundError: No module named 'what_it_needs'"),
    ],
)
def test_names_that_name_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    """Whatever is wrong with a module is one line."""
    from safetensors.numpy import save_file

    modules = {"broken": "1 / 0", "exits": "raise SystemExit(1)", "misspelt": "def", "needs": "import what_it_needs"}
    for module, code in modules.items():
        (tmp_path / f"{module}.py").write_text(code)
    save_file({"a": square()}, tmp_path / "x.safetensors")
    monkeypatch.chdir(tmp_path)

    with open_reader(Path("x.safetensors")) as reader, pytest.raises(LossError, match=message) as caught:
        check_losses(name, None, reader, None, TieSet((tie("b = a"),)))
    assert "\n" not in caught.value.message


def test_a_reference_needs_a_loss_to_be_compared_with(check: Check) -> None:
    """Alone it says nothing of the full tree."""
    with pytest.raises(LossError, match="there is none of the full tree to compare it with"):
        check_losses(None, "module:tied", None, None, TieSet(()))  # type: ignore[arg-type]  # refused before it is read


def test_leaves_that_make_no_tree(check: Check) -> None:
    """A file may hold a leaf inside another by name."""
    with pytest.raises(TreeError, match=r"both a leaf `a` and a leaf `a\.b`"):
        check(MODEL, {"a": square(), "a.b": square()}, "c = a")


def test_what_a_loss_prints_is_no_result(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stderr, and the path for modules is as it was before."""
    before = list(sys.path)
    check(
        "print('imported')\ndef loss(tree, key):\n    return (tree['a'] * tree['b']).sum()\n", {"a": square()}, "b = a"
    )

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "imported" in captured.err
    assert sys.path == before


SHARDED = """
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tiecli.checkpoints import open_reader
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import TRANSPOSE
from tiecli.verification.devices import choose_device
from tiecli.verification.losses import check_losses
from tiecli.verification.wholes import load_whole

save_file({"enc": np.sin(np.arange(24.0)).reshape(6, 4), "odd": np.ones((3, 5))}, "x.safetensors")
ties = TieSet((Tie(KeyPath(("dec",)), (KeyPath(("enc",)),), TRANSPOSE),))
with open_reader(Path("x.safetensors")) as reader:
    device = choose_device("cpu")
    whole = load_whole(reader, None, ties, device)
    for leaf in (*whole.with_aliases(whole.canonicals).values(), whole.others["odd"]):
        print(leaf.sharding.shard_shape(leaf.shape))
    for check in check_losses("model:loss", "model:tied", reader, None, ties, device):
        print(check.judgements[0][1].verdict)
"""


def test_several_devices_share_a_model(tmp_path: Path) -> None:
    """Leaves are dealt out along an axis that the devices divide; both sides are computed in one layout."""
    (tmp_path / "model.py").write_text(MODEL + TIED)
    (tmp_path / "main.py").write_text(SHARDED)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}

    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.split("\n")[:-1] == ["(3, 4)", "(4, 3)", "(3, 5)", *["PASS"] * 6], done.stderr
