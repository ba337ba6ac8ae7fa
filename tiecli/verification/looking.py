"""Looking: what losses give at a point, and what that says of each tie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tiecli.ties import Tie
from tiecli.verification.gauges import Gauges, measure_reach, worst_measure
from tiecli.verification.groups import TieGroup
from tiecli.verification.precision import FLOAT64_TOLERANCE, epsilon_of, tolerance
from tiecli.verification.programs import Program, Programs
from tiecli.verification.verdicts import GradientMeasure, Judgement, LossCheck
from tiecli.verification.wholes import Leaves, Point, perturbed_point, stored_point

Kind = Literal["loss", "reference"]
Found = dict[str, tuple[Judgement, GradientMeasure]]
"""What was found of each tie, by the alias's name."""


@dataclass(frozen=True)
class Look:
    """What the losses give at one point.

    Attributes:
        point: Where.
        untied: The loss of the untied tree, and its gradients.
        tied: The same through the ties, rounded as on disk.
        exact: The same without that rounding.
        reference: The reference loss and its gradients.
        gauged: What was measured of each tie, by kind and alias.
    """

    point: Point
    untied: tuple[float, Leaves]
    tied: tuple[float, Leaves]
    exact: tuple[float, Leaves]
    reference: tuple[float, Leaves] | None
    gauged: dict[str, Gauges]


def check_point(programs: Programs, number: int) -> Iterator[LossCheck]:
    """Checks all ties at one point; where some fail, each group by itself, so that only the guilty do.

    Args:
        programs: The losses.
        number: 0 for the stored point, from 1 for perturbed ones.

    Raises:
        LossError: A loss raises, gives no finite real number, or cannot be differentiated.
    """
    look = _look(programs, number)
    yield _as_check(programs.untied, look.point, "loss", look.tied, look.untied, _judge(programs, look, number, "loss"))
    if programs.reference is not None and look.reference is not None:
        found = _judge(programs, look, number, "reference")
        yield _as_check(programs.reference, look.point, "reference", look.exact, look.reference, found)


def _look(programs: Programs, number: int, group: TieGroup | None = None) -> Look:
    import jax

    whole, key = programs.whole, jax.random.key(number)
    groups = None if group is None else [group]
    point = perturbed_point(whole, number, groups) if number else stored_point(whole, groups)
    untied = programs.evaluate_untied(point, key)
    tied = exact = programs.evaluate_tied(point, key, whole.rounding)
    reference = None
    if programs.reference is not None:
        if whole.rounding:
            # A model that ties by itself does so in the arithmetic it runs in, here float64.
            exact = programs.evaluate_tied(point, key, jax.tree.map(jax.numpy.zeros_like, whole.rounding))
        reference = programs.evaluate_reference(point, key)
    gauged = programs.gauge(untied[1], tied[1], exact[1], reference and reference[1])
    return Look(point, untied, tied, exact, reference, gauged)


def _judge(programs: Programs, look: Look, number: int, kind: Kind) -> Found:
    whole = programs.whole
    found: Found = {}
    failed: list[TieGroup] = []
    for group in whole.groups:
        judged = _judge_group(programs, look, group, kind)
        found |= judged
        if any(judgement.verdict == "FAIL" for judgement, _ in judged.values()):
            failed.append(group)
    if failed:
        _check_pure(programs, look, number)
    for group in failed if len(whole.groups) > 1 else ():
        # One wrong tie changes the loss, and with it every gradient.
        found |= _judge_group(programs, _look(programs, number, group), group, kind)
    return found


def _check_pure(programs: Programs, look: Look, number: int) -> None:
    """Blames a loss that is another one each time, before it puts the blame on ties."""
    import jax

    key = jax.random.key(number)
    programs.untied.check_pure(look.point.varying, look.point.others, key, look.untied[0])
    if programs.reference is not None and look.reference is not None:
        programs.reference.check_pure(look.point.canonicals, programs.whole.others, key, look.reference[0])


def _judge_group(programs: Programs, look: Look, group: TieGroup, kind: Kind) -> Found:
    """Judges the ties of one group by the gradients at its canonical leaves."""
    limit = tolerance(epsilon_of(_narrowest(programs, kind)), len(group.ties) + 1)
    complaint = _compare_losses(programs, look, limit) if kind == "reference" else None
    judged: Found = {}
    for tie in group.ties:
        measure = worst_measure(look.gauged[kind][str(tie.alias)], limit)
        judgement = complaint or _judge_measure(programs, tie, measure, look.point.name, kind)
        judged[tie.alias.spelling] = judgement, measure
    return judged


def _narrowest(programs: Programs, kind: Kind) -> Any:
    """The narrowest float in what is compared."""
    involved = [programs.untied, programs.tied]
    if kind == "reference" and programs.reference is not None:
        involved.append(programs.reference)
    return max((program.narrowest for program in involved), key=epsilon_of)


def _judge_measure(programs: Programs, tie: Tie, measure: GradientMeasure, point: str, kind: Kind) -> Judgement:
    if not measure.holds:
        other = "the sum that it must be" if kind == "loss" else "that of the reference"
        reason = f"the gradient at `{tie.canonical}` is {measure.error:.1e} off {other}, at the {point} point"
        return Judgement("FAIL", f"{reason}; {measure.bound:.1e} would be rounding")
    for name, norm in ((tie.alias.spelling, measure.dst_norm), (tie.canonical, measure.src_norm)):
        # Were this gradient lost, nobody would see it.
        if norm <= measure.bound:
            least = FLOAT64_TOLERANCE * max(measure.src_norm, measure.dst_norm)
            reason = "the loss ignores `{}`" if norm <= least else "the gradient at `{}` drowns in rounding"
            return Judgement("VACUOUS", reason.format(name))
    narrowest = _narrowest(programs, kind)
    if (limit := tolerance(epsilon_of(narrowest), 1)) > FLOAT64_TOLERANCE:
        return Judgement("PASS", f"the loss computes in {narrowest.name} in places, so this holds to {limit:.0e}")
    return Judgement("PASS")


def _compare_losses(programs: Programs, look: Look, limit: float) -> Judgement | None:
    """Says that the reference gives another loss, if it does."""
    assert look.reference is not None
    assert programs.reference is not None
    (ours, gradients), (theirs, _) = look.exact, look.reference
    scale = abs(ours) + abs(theirs) + measure_reach(look.point.canonicals, gradients)
    if abs(ours - theirs) <= limit * scale:
        return None
    reason = (
        f"`{programs.reference.name}` is {theirs:.8g} at the {look.point.name} point, but {ours:.8g} through the tie"
    )
    return Judgement("FAIL", reason)


def _as_check(
    program: Program, point: Point, kind: Kind, tied: tuple[float, Leaves], other: tuple[float, Leaves], found: Found
) -> LossCheck:
    return LossCheck(
        program.name,
        kind,
        point.name,
        tied[0],
        other[0],
        tuple((alias, judgement) for alias, (judgement, _) in found.items()),
        tuple((alias, measure) for alias, (_, measure) in found.items()),
    )
