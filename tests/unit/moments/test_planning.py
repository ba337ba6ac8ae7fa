"""Planning: which regime, which rule, which refusal; over states as optimizers lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tiecli.checkpoints.memory import ArrayReader
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.moments import StatePlan
from tiecli.moments.planning import plan_state
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.casts import numpy_dtype

Arrays = Mapping[str, NDArray[Any]]
CODES = {"float64": "F64", "float32": "F32", "uint8": "U8", "int32": "I32"}
RNG = np.random.default_rng(3)
A, B, C = (np.float32(RNG.standard_normal((4, 3))) for _ in range(3))
PARAMS = {"params.a": np.ones((4, 3), np.float32), "params.b": np.ones((4, 3), np.float32)}


EYE = np.eye(4, dtype=np.float32)
CODED = np.arange(12, dtype=np.uint8).reshape(4, 3)
TORCH, OPTAX = "optimizer.state.{leaf}.{slot}", "opt_state[0].{slot}.{leaf}"


def keep(slot: str, layout: str = TORCH, **arrays: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Gives what an optimizer keeps of one name."""
    return {layout.format(leaf=leaf, slot=slot): array for leaf, array in arrays.items()}


def plan(
    leaves: Arrays,
    *ties: str,
    policy: str = "carry",
    parameters: Arrays | None = None,
) -> StatePlan:
    """Plans ties such as `params.b = params.a | transpose`; the first way is `params.b = params.a`."""
    reader = ArrayReader(read(leaves), specs(leaves))
    parsed = [parse(text) for text in ties or ("params.b = params.a",)]
    return plan_state(reader, parsed, policy, None if parameters is None else specs(parameters))  # type: ignore[arg-type]


def read(leaves: Arrays) -> dict[KeyPath, NDArray[Any]]:
    """Gives arrays by their paths."""
    return {KeyPath.parse(name): leaf for name, leaf in leaves.items()}


def specs(leaves: Arrays) -> dict[KeyPath, LeafSpec]:
    """Gives their specs."""
    return {path: LeafSpec(leaf.shape, DTYPES[CODES[leaf.dtype.name]]) for path, leaf in read(leaves).items()}


def parse(text: str) -> Tie:
    """Reads a tie; several canonical leaves are joined by commas."""
    alias, _, rest = text.partition(" = ")
    canonical, _, transform = rest.partition(" | ")
    paths = tuple(KeyPath.parse(name.strip()) for name in canonical.strip("()").split(","))
    return Tie(KeyPath.parse(alias), paths, Transform.parse(transform or "same"))


def value(planned: StatePlan, name: str, dtype: str = "float32") -> NDArray[Any]:
    """Gives the new values of a leaf, flat."""
    blocks = planned.rewritten[KeyPath.parse(name)]()
    return np.frombuffer(b"".join(map(bytes, blocks)), numpy_dtype(DTYPES[CODES[dtype]]))


def say(planned: StatePlan) -> dict[str, tuple[str, bool, str]]:
    """Gives regime, exactness and tie of each slot, by the alias's."""
    return {
        slot.alias.spelling: (slot.regime, slot.rule.exact, f"{slot.canonical} | {slot.tie.transform}")
        for slot in planned.slots
    }


LAYOUTS = {
    "optax": "opt_state[0].{slot}.{leaf}",
    "torch": "optimizer.state.{leaf}.{slot}",
    "beside": "params.{leaf}.{slot}",
    "megatron": "optimizer.state.{slot}.{leaf}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("slots", "regime", "exact"),
    [
        ({"a": (A, A * A), "b": (A, A * A)}, "replicas", [True, True]),
        ({"a": (A, A * A), "b": (B, B * B)}, "independent", [True, False]),
        ({"a": (A, A * A), "b": (0 * A, 0 * A)}, "dead", [True, True]),
        ({"a": (0 * A, 0 * A), "b": (0 * A, 0 * A)}, "empty", [True, True]),
        ({"a": (0 * A, 0 * A), "b": (B, B * B)}, "independent", [True, False]),
        ({"a": (A, A * A), "b": (A, B * B)}, "independent", [True, False]),
    ],
)
def test_regimes(layout: str, slots: dict[str, tuple[Any, Any]], regime: str, exact: list[bool]) -> None:
    """Told by the state, wherever the names of slots stand; sums are exact, sums of squares are not."""
    names = {"exp_avg": 0, "exp_avg_sq": 1}
    leaves = {
        LAYOUTS[layout].format(slot=slot, leaf=leaf): values[place]
        for leaf, values in slots.items()
        for slot, place in names.items()
    }
    planned = plan({**PARAMS, **leaves})
    first, second = (LAYOUTS[layout].format(slot=slot, leaf="{}") for slot in names)

    assert say(planned) == {
        name.format("b"): (regime, exact[place], f"{name.format('a')} | same")
        for place, name in enumerate((first, second))
    }
    if regime == "independent":
        (m, v), (n, w) = slots["a"], slots["b"]
        assert np.array_equal(value(planned, first.format("a")), (np.float64(m) + n).astype(np.float32).ravel())
        assert np.array_equal(value(planned, second.format("a")), (np.float64(v) + w).astype(np.float32).ravel())
    else:
        assert not planned.rewritten


def test_scales_and_signs() -> None:
    """Gradients by the factor and its sign, squares by its square, absolute values by its size."""
    leaves = {
        f"optimizer.state.{leaf}.{slot}": array
        for leaf, arrays in {"a": (A, A * A, abs(A)), "b": (B, B * B, abs(B))}.items()
        for slot, array in zip(("exp_avg", "exp_avg_sq", "exp_inf"), arrays, strict=True)
    }
    planned = plan({**PARAMS, **leaves}, "params.b = params.a | scale(-0.5)")

    assert [one[2].partition(" | ")[2] for one in say(planned).values()] == [
        "scale(-0x1p-1)",
        "scale(0x1p-2)",
        "scale(0x1p-1)",
    ]
    for slot, own, other, factor in (
        ("exp_avg", A, B, -0.5),
        ("exp_avg_sq", A * A, B * B, 0.25),
        ("exp_inf", abs(A), abs(B), 0.5),
    ):
        expected = (np.float64(own) + factor * np.float64(other)).astype(np.float32)
        assert np.array_equal(value(planned, f"optimizer.state.a.{slot}"), expected.ravel())


def test_two_aliases_of_one_leaf() -> None:
    """Both trained apart: both are added. One a copy of the leaf: that is none to add. Copies of each other: one."""
    params = {**PARAMS, "params.c": PARAMS["params.a"]}
    ties = ("params.b = params.a", "params.c = params.a")

    def merged(b: NDArray[Any], c: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
        planned = plan({**params, "opt_state.mu.a": A, "opt_state.mu.b": b, "opt_state.mu.c": c}, *ties)
        return [one[0] for one in say(planned).values()], value(planned, "opt_state.mu.a").reshape(A.shape)

    total = lambda *parts: sum(map(np.float64, parts)).astype(np.float32)  # noqa: E731
    for b, c, regimes, expected in (
        (B, C, ["independent", "independent"], total(A, B, C)),
        (A, C, ["replicas", "independent"], total(A, C)),
        (B, B, ["independent", "replicas"], total(A, B)),
    ):
        found, values = merged(b, c)
        assert found == regimes
        assert np.array_equal(values, expected)


def test_joined_leaves_take_their_parts() -> None:
    """A fused `qkv` gives each of `q`, `k`, `v` what is its own."""
    params = {
        **{f"params.{it}": np.ones((2, 3), np.float32) for it in "qkv"},
        "params.qkv": np.ones((6, 3), np.float32),
    }
    fused = np.float32(RNG.standard_normal((6, 3)))
    state = {**{f"opt_state.mu.{it}": A[:2] for it in "qkv"}, "opt_state.mu.qkv": fused}
    planned = plan({**params, **state}, "params.qkv = (params.q,params.k,params.v) | concat(0)")

    for place, name in enumerate("qkv"):
        expected = A[:2] + fused[2 * place : 2 * place + 2]
        assert np.allclose(value(planned, f"opt_state.mu.{name}").reshape(2, 3), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "turned", "swapped"),
    [
        (("opt_state.v_row.{}", "opt_state.v_col.{}"), (4, 3), False),
        (("opt_state.v_row.{}", "opt_state.v_col.{}"), (3, 3), True),
        (("optimizer.state.{}.exp_avg_sq_row", "optimizer.state.{}.exp_avg_sq_col"), (4, 3), True),
        (("optimizer.state.{}.row_var", "optimizer.state.{}.col_var"), (4, 3), True),
    ],
    ids=["optax", "optax-square", "fairseq", "torch"],
)
def test_rows_and_columns_of_a_turned_matrix(names: tuple[str, str], turned: tuple[int, int], swapped: bool) -> None:
    """Rows stay rows where the shorter side goes by that name, and become columns elsewhere."""
    rows, columns = turned
    shorter, longer = RNG.random(min(turned)).astype(np.float32), RNG.random(max(turned)).astype(np.float32)
    own = (shorter, longer) if "v_row" in names[0] else (longer, shorter)
    if "row_var" in names[0]:
        own = (longer.reshape(-1, 1), shorter.reshape(1, -1))
    theirs = own[::-1] if swapped else own
    if "row_var" in names[0]:
        theirs = (theirs[0].T, theirs[1].T)
    params = {"params.a": np.ones(turned, np.float32), "params.b": np.ones((columns, rows), np.float32)}
    state = {
        name.format(leaf): values[at] for leaf, values in (("a", own), ("b", theirs)) for at, name in enumerate(names)
    }
    planned = plan({**params, **state}, "params.b = params.a | transpose")

    assert {one[0] for one in say(planned).values()} == {"replicas"}
    assert (names[1].format("a") in say(planned)[names[0].format("b")][2]) == swapped
    with pytest.raises(StateConflictError, match=r"no valid rule for `(v_row|exp_avg_sq_row|row_var)`"):
        plan({**params, **state, names[0].format("b"): theirs[0] + 1}, "params.b = params.a | transpose")


def test_a_dead_leaf_of_adafactor_is_dead() -> None:
    """Though what it adds to every square is not zero."""
    state = {"opt_state.v.a": A * A, "opt_state.v.b": np.full_like(A, 1e-30)}

    assert [one[0] for one in say(plan({**PARAMS, **state})).values()] == ["dead"]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (keep("exp_avg", b=A), "`exp_avg` is kept for `params.b` and not for `params.a`"),
        (
            {**keep("exp_avg", a=A, b=A), **keep("exp_avg_sq", a=A * A, c=A * A)},
            "`exp_avg_sq` is kept for `params.a` and not for `params.b`",
        ),
        (
            {**keep("exp_avg", a=A, b=B), **keep("step", a=np.float32(1), b=np.float32(2))},
            "`optimizer.state.b.step` and `optimizer.state.a.step` differ",
        ),
        (keep("nu", OPTAX, a=A * A, b=B), None),
        (keep("nu", OPTAX, a=np.float32(1), b=np.float32(2)), "no valid rule for `nu`"),
        (
            {**keep("mu", OPTAX, a=A, b=B), **keep("nu", OPTAX, a=A * A, b=B * B)},
            "no valid rule for `nu` of leaves that were trained apart, and less the square of their average",
        ),
        (
            {**keep("grad_avg", a=A, b=B), **keep("square_avg", a=A * A, b=B * B)},
            "no valid rule for `square_avg` of leaves that were trained apart, and less",
        ),
        (keep("ema", OPTAX, a=A, b=B), "no valid rule for `ema`"),
        (keep("acc_delta", a=A, b=B), "no valid rule for `acc_delta`"),
        (keep("state1", a=CODED, b=CODED + np.uint8(1)), "U8 holds codes, which have no sum"),
        (
            {**keep("mu", OPTAX, a=A, b=B), **keep("statistics", "opt_state.stats.{leaf}.{slot}[0]", a=EYE, b=EYE)},
            "kept for `params.b`, as Shampoo does: there is no known rule",
        ),
        (keep("GG_0", a=EYE, b=2 * EYE), "as SOAP does"),
        ({**keep("m", a=A, b=B), **keep("vmean", a=EYE[0], b=EYE[0])}, "as Adam-mini does"),
        (keep("prev_updates", OPTAX, a=A, b=B), "there is no known rule"),
        (keep("prev_updates", OPTAX, b=B), "and not for `params.a`"),
    ],
)
def test_what_has_no_valid_rule_is_refused(state: Arrays, says: str | None) -> None:
    """By its name where that is known; squares that are negative once their values are asked for."""
    leaves = {**PARAMS, "params.c": PARAMS["params.a"], **state}
    if says is None:
        with pytest.raises(StateConflictError, match="holds negative values"):
            value(plan(leaves), "opt_state[0].nu.a")
        return
    with pytest.raises(StateConflictError, match=says):
        plan(leaves)


@pytest.mark.parametrize(
    "state",
    [
        keep("statistics", "opt_state.stats.{leaf}.{slot}[0]", a=EYE, b=EYE),
        keep("GG", a=EYE, b=EYE),
        keep("prev_updates", OPTAX, a=A, b=A),
        keep("state1", a=CODED, b=CODED),
        keep("nu", OPTAX, a=np.float32(0.5), b=np.float32(0.5)),
    ],
    ids=["shampoo", "soap", "rprop", "bitsandbytes", "novograd"],
)
def test_whatever_copies_have_in_common_is_kept_once(state: Arrays) -> None:
    """Whether or not anybody knows what it means."""
    planned = plan({**PARAMS, **state})

    assert [one[:2] for one in say(planned).values()] in ([("replicas", True)], [("counts", True)])
    assert not planned.rewritten


def test_unknown_leaves_of_copies_follow_as_gradients_do() -> None:
    """If that is what they do."""
    params = {"params.a": np.ones((4, 3), np.float32), "params.b": np.ones((3, 4), np.float32)}
    state = {"opt_state.previous.a": A, "opt_state.previous.b": -np.ascontiguousarray(A.T)}

    (slot,) = plan({**params, **state}, "params.b = params.a | transpose | neg").slots
    assert (slot.slot, slot.kind, str(slot.tie.transform)) == ("previous", "other", "transpose | neg")


def test_one_leaf_may_be_part_of_anothers_name() -> None:
    """The longest path that stands in a leaf's is the one it is kept for."""
    params = {f"params.{it}": np.ones((4, 3), np.float32) for it in ("head.w", "decoder.head.w", "embed.w")}
    state = {f"opt_state.odd.{it}.x": array for it, array in (("head.w", A), ("decoder.head.w", B), ("embed.w", A))}

    (slot,) = plan({**params, **state}, "params.head.w = params.embed.w").slots
    assert slot.alias.spelling == "opt_state.odd.head.w.x"


def test_an_alias_that_nothing_is_kept_for_is_named() -> None:
    """As torch keeps nothing for what never had a gradient, and optax nothing for what a mask leaves out."""
    planned = plan({**PARAMS, "optimizer.state.a.exp_avg": A, "optimizer.state.a.step": np.float32(7)})

    assert planned.slots == ()
    assert [path.spelling for path in planned.bare] == ["params.b"]


@pytest.mark.parametrize(
    ("state", "exact"),
    [
        ({"opt_state[0].trace": (A, B)}, True),
        ({"opt_state[0].nu": (A * A, B * B), "opt_state[1].trace": (A, B)}, False),
        ({"opt_state.exp_avg": (A, B), "opt_state.estim_lr": None}, False),
        ({"opt_state.exp_avg": (A, B), "opt_state.count": None}, True),
    ],
    ids=["sgd", "rmsprop", "prodigy", "plain"],
)
def test_sums_that_are_not_of_gradients_are_not_exact(state: dict[str, Any], exact: bool) -> None:
    """What was divided before it was gathered, or scaled by what all leaves taught."""
    leaves = dict(PARAMS)
    for name, arrays in state.items():
        if arrays is None:
            leaves[name] = np.zeros((), np.int32) if name.endswith("count") else np.float32(1)
        else:
            leaves |= {f"{name}.{leaf}": array for leaf, array in zip("ab", arrays, strict=True)}
    slots = {slot.slot: slot.rule for slot in plan(leaves).slots}

    assert (slots.get("trace") or slots["exp_avg"]).exact == exact


def test_adam_is_told_from_centred_rmsprop_by_its_count() -> None:
    """Both have `mu` and `nu`; a count elsewhere is that of a schedule."""
    state = {**keep("mu", OPTAX, a=A, b=B), **keep("nu", OPTAX, a=A * A, b=B * B)}
    count = np.array(7, np.int32)

    assert len(plan({**PARAMS, **state, "opt_state[0].count": count}).slots) == 2
    with pytest.raises(StateConflictError, match="no valid rule for `nu`"):
        plan({**PARAMS, **state, "opt_state[1].count": count})


@pytest.mark.parametrize("names", [("nu", "nu_max"), ("exp_avg_sq", "max_exp_avg_sq")])
def test_the_largest_squares_are_said_to_be_that(names: tuple[str, str]) -> None:
    """Their sum is no largest of sums, and not exact either."""
    leaves = {f"opt_state[0].{slot}.{leaf}": it * it for slot in names for leaf, it in (("a", A), ("b", B))}
    said = {slot.slot: slot.rule for slot in plan({**PARAMS, **leaves}).slots}

    assert said[names[0]].text.startswith("squares summed")
    assert said[names[1]].text.startswith("largest squares summed")
    assert not any(rule.exact for rule in said.values())


def test_state_of_parameters_that_are_elsewhere() -> None:
    """All of it is state then, so that no key need say so."""
    state = {f"[0].mu.{leaf}": array for leaf, array in (("a", A), ("b", B))}
    planned = plan(state, parameters=PARAMS)

    assert say(planned) == {"[0].mu.b": ("independent", True, "[0].mu.a | same")}
    assert plan({**PARAMS, **{f"aside.mu.{leaf}": A for leaf in "ab"}}).slots == ()


TRAINED: Arrays = {
    **{f"opt_state[0].{slot}.{leaf}": A for slot in ("mu", "nu") for leaf in "abc"},
    "opt_state[0].count": np.array(7, np.int32),
    "opt_state[1].count": np.array(7, np.int32),
    "opt_state[1].hyperparams.learning_rate": np.float32(0.1),
    "params_ema.a": A,
    "params_ema.b": A,
    "params.c": A,
}


def test_a_reset_is_of_all_moments_and_their_counts() -> None:
    """Averages of parameters, learning rates and the counts of their schedules stay."""
    planned = plan({**PARAMS, **TRAINED}, policy="reset")

    assert planned.zeroed == ("mu", "nu", "count")
    reset = ("opt_state[0].mu.a", "opt_state[0].mu.c", "opt_state[0].nu.a", "opt_state[0].nu.c", "opt_state[0].count")
    assert {path.spelling for path in planned.rewritten} == {*reset}
    assert not value(planned, "opt_state[0].mu.c").any()
    assert say(planned)["params_ema.b"][0] == "parameters"


@pytest.mark.parametrize(
    "state",
    [
        {**keep("exp_avg", a=A, b=A), **keep("step", a=np.float32(3), b=np.float32(3))},
        {**keep("m", "optimizer.state.param_states.{leaf}.{slot}", a=A, b=A), "optimizer.state.step": np.float32(3)},
    ],
    ids=["torch", "t5x"],
)
def test_a_reset_is_of_counts_wherever_they_are(state: Arrays) -> None:
    """torch has one for each leaf; t5x has one for all."""
    assert "step" in {path.keys[-1] for path in plan({**PARAMS, **state}, policy="reset").rewritten}


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (keep("preconditioners", "opt_state.stats.{leaf}.{slot}[0]", a=EYE, c=EYE), "preconditioners"),
        ({"opt_state[0].estim_lr": np.float32(1)}, "estim_lr"),
        (keep("momentum", OPTAX, a=CODED, b=CODED, c=CODED), "which code stands for zero"),
    ],
)
def test_what_does_not_begin_at_zero_is_not_reset(state: Arrays, says: str) -> None:
    """Of whatever leaf it is."""
    with pytest.raises(StateConflictError, match=says):
        plan({**PARAMS, **TRAINED, **state}, policy="reset")


def test_nothing_is_reset_where_nothing_is_kept_for_the_alias() -> None:
    """A reset is for the sake of a tie."""
    assert not plan({**PARAMS, "opt_state.mu.a": A}, policy="reset").rewritten
