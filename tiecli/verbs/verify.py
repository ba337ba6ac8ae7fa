"""Verifying: whether a tied checkpoint computes, and trains, as it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Progress, Selection, Tracker, track_nothing
from tiecli.declared import list_open_ties
from tiecli.errors import ManifestError, NothingToVerifyError, UsageError
from tiecli.keypaths import KeyPath
from tiecli.manifest import Manifest, TieRecord
from tiecli.ties import TieSet
from tiecli.transforms import Transform
from tiecli.verification.adjoints import check_adjoint
from tiecli.verification.devices import Device, choose_device
from tiecli.verification.groups import group_ties
from tiecli.verification.judging import Case, conclude, judge_bytes, judge_slot
from tiecli.verification.losses import check_losses, conclude_losses
from tiecli.verification.probe import Sources, probe_group
from tiecli.verification.processes import Processes, join_processes
from tiecli.verification.runs import Optimizer
from tiecli.verification.training import check_training
from tiecli.verification.values import check_others
from tiecli.verification.verdicts import (
    PASSING,
    Judgement,
    LossCheck,
    OtherLeaves,
    TieVerdict,
    Trajectory,
    Verdict,
    VerifyReport,
    worst_of,
)


@dataclass(frozen=True, slots=True)
class Computing:
    """Where gradients are computed, and by whom.

    Attributes:
        device: `cpu`, `gpu` or `tpu`; None for what jax would take.
        mesh: How many local devices, such as `4` or `2x4`; None for all of them.
        coordinator: `host:port` of the first of several processes; None for one alone.
        num_processes: How many there are.
        process_id: Which one this is, from 0.
    """

    device: str | None = None
    mesh: str | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


@dataclass(frozen=True, slots=True)
class Exercise:
    """What of the user's own the ties are put to the test with.

    Attributes:
        loss: `module:function`, a scalar loss of the full tree and a PRNG key.
        reference_loss: The same of the tied tree, which ties by itself.
        steps: For how many steps to train.
        optimizer: With what.

    Raises:
        UsageError: There is no such optimizer, or the steps are fewer than none.
    """

    loss: str | None = None
    reference_loss: str | None = None
    steps: int = 0
    optimizer: Optimizer = "sgd"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"training takes {self.steps} steps, expected 0 or more")
        if self.optimizer not in get_args(Optimizer):
            raise UsageError(f"`{self.optimizer}` is no optimizer: expected {', '.join(get_args(Optimizer))}")


def verify(
    checkpoint: str | Path,
    original: str | Path | None = None,
    *,
    exercise: Exercise = Exercise(),
    computing: Computing = Computing(),
    allow: Collection[Verdict] = (),
    pictures: bool = False,
    step: int | None = None,
    item: str | None = None,
    track: Tracker = track_nothing,
) -> VerifyReport:
    """Puts the claims of a tied checkpoint to the test.

    Args:
        checkpoint: The tied checkpoint.
        original: What it was before; without it, the digests that the manifest recorded serve.
        exercise: Losses of the user's own, and steps of training.
        computing: Where gradients are computed.
        allow: Verdicts that are acceptable.
        pictures: Also gather where gradients differ, for a page.
        step: Of a root of steps, which one; None for the latest. Of the original too, if it is one.
        item: Of a step, which item; None for the only one.
        track: Shows progress.

    Raises:
        NothingToVerifyError: The checkpoint has no tie.
        UsageError: A loss cannot be used, a device is not there, jax is not installed.
        CheckpointError: One of the checkpoints cannot be trusted or read.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(checkpoint, Selection(step, item)))
        before = stack.enter_context(_open_original(original, Selection(step, item))) if original else None
        try:
            manifest = reader.manifest()
        except ManifestError as error:
            rejection = Judgement("REJECT", error.message)
            return VerifyReport(reader.root, before.root if before else None, "", rejection, ())
        ties = _list_ties(reader, manifest)
        processes = stack.enter_context(
            join_processes(computing.coordinator, computing.num_processes, computing.process_id)
        )
        device = choose_device(computing.device, computing.mesh)
        run = _Run(reader, before, manifest, ties, device, processes)
        return run.report(exercise, allow, track, pictures=pictures)


def _open_original(path: str | Path, selection: Selection) -> CheckpointReader:
    """Opens the original; a selection is meant for it too, unless it is a single step, item or file."""
    try:
        return open_reader(path, selection)
    except UsageError:
        if selection == Selection():
            raise
        from tiecli.checkpoints.orbax.reader import OrbaxReader

        reader = open_reader(path)
        # Of a root of steps, another step than the one that is meant is another checkpoint.
        if isinstance(reader, OrbaxReader) and reader.location.level == "root":
            reader.close()
            raise
        return reader


def _list_ties(reader: CheckpointReader, manifest: Manifest | None) -> TieSet:
    ties = manifest.ties if manifest is not None else list_open_ties(reader)
    if not ties.ties:
        raise NothingToVerifyError(
            f"`{reader.root}` states no tie: no manifest, no tie in its metadata, none that its config declares",
            "`tiecli find` looks for leaves that could be tied.",
        )
    return ties


@dataclass(frozen=True, slots=True)
class _Run:
    """One verification."""

    reader: CheckpointReader
    original: CheckpointReader | None
    manifest: Manifest | None
    ties: TieSet
    device: Device
    processes: Processes

    def report(self, exercise: Exercise, allow: Collection[Verdict], track: Tracker, *, pictures: bool) -> VerifyReport:
        """Runs every test, the cheap ones first."""
        specs = self.original.specs() if self.original else self.reader.specs()
        with track("comparing", sum(spec.nbytes for spec in specs.values())) as progress:
            verdicts = self._judge_bytes(progress)
            changed = {*self.ties.by_alias, *self._list_merged()}
            others = check_others(self.reader, self.original, changed, progress, self.processes)
        sound = TieSet(tuple(tie for tie in self.ties if verdicts[tie.alias].judgement.verdict != "REJECT"))
        probed = TieSet(tuple(tie for tie in sound if not self._is_slot(tie.alias)))
        nbytes = sum(verdicts[tie.alias].spec.nbytes for tie in probed)
        with track("probing", nbytes) as progress:
            verdicts = self._probe(verdicts, probed, progress, pictures=pictures)
        losses, trajectory = self._exercise(exercise, sound)
        ties = tuple(
            verdicts[tie.alias] if self._is_slot(tie.alias) else _with_losses(verdicts[tie.alias], losses, allow)
            for tie in self.ties
        )
        return VerifyReport(
            self.reader.root,
            self.original.root if self.original else None,
            self.device.describe(),
            _conclude(ties, others, trajectory, allow),
            ties,
            others,
            losses,
            trajectory,
            tuple(allow),
        )

    @property
    def _records(self) -> Mapping[KeyPath, TieRecord]:
        return self.manifest.by_alias if self.manifest else {}

    def _is_slot(self, alias: KeyPath) -> bool:
        """Whether a tie is of what an optimizer keeps."""
        return alias in self._records and bool(self._records[alias].slot)

    def _list_merged(self) -> frozenset[KeyPath]:
        """Lists the leaves that got new values when they were tied."""
        records = self._records.values()
        return frozenset(path for record in records if record.slot == "merged" for path in record.tie.canonicals)

    def _judge_bytes(self, progress: Progress) -> Mapping[KeyPath, TieVerdict]:
        def judge(alias: KeyPath) -> TieVerdict:
            """Judges one tie."""
            case = Case(self.reader, self.ties.by_alias[alias], self._records.get(alias), self.original)
            return judge_slot(case, progress) if self._is_slot(alias) else judge_bytes(case, progress)

        aliases = [tie.alias for tie in self.ties]
        return dict(zip(aliases, self.processes.map(aliases, judge), strict=True))

    def _probe(
        self, verdicts: Mapping[KeyPath, TieVerdict], sound: TieSet, progress: Progress, *, pictures: bool
    ) -> Mapping[KeyPath, TieVerdict]:
        """Adds what gradients say."""
        found = dict(verdicts)
        sources = Sources(self.reader, self.original)
        for group in group_ties(sound):
            probed = probe_group(group, sources, self.device, progress, pictures=pictures, processes=self.processes)
            for tie in group.ties:
                before, result = found[tie.alias], probed[tie.alias]
                judgements = [before.judgement, result.judgement]
                adjoint = self._check_adjoint(tie.canonicals, tie.transform)
                if adjoint.verdict == "FAIL":
                    judgements.append(adjoint)
                found[tie.alias] = replace(
                    before,
                    judgement=worst_of(judgements),
                    probe=result.measure,
                    notes=(*before.notes, *result.notes),
                    picture=result.picture,
                )
        return found

    def _check_adjoint(self, canonicals: tuple[KeyPath, ...], transform: Transform) -> Judgement:
        return check_adjoint(transform, [self.reader.specs()[path] for path in canonicals])

    def _exercise(self, exercise: Exercise, sound: TieSet) -> tuple[tuple[LossCheck, ...], Trajectory | None]:
        losses: tuple[LossCheck, ...] = ()
        # A rejected alias cannot be put back, and a loss of the full tree would miss it.
        if (exercise.loss, exercise.reference_loss) != (None, None) and len(sound.ties) == len(self.ties.ties):
            losses = self.processes.once(
                lambda: check_losses(
                    exercise.loss, exercise.reference_loss, self.reader, self.original, sound, self.device
                )
            )
        if not exercise.steps:
            return losses, None
        return losses, self.processes.once(
            lambda: check_training(exercise.steps, exercise.optimizer, exercise.loss, self.reader, sound, self.device)
        )


def _with_losses(verdict: TieVerdict, losses: tuple[LossCheck, ...], allow: Collection[Verdict]) -> TieVerdict:
    """Adds what losses say: a reference settles what bytes leave open, in either direction."""
    reference = conclude_losses(losses, verdict.alias, "reference")
    told = worst_of(found for found in (conclude_losses(losses, verdict.alias, "loss"), reference) if found is not None)
    before = verdict.judgement
    if told.verdict == "PASS" and told.reason:
        verdict = replace(verdict, notes=(*verdict.notes, told.reason))
        told = Judgement("PASS")
    if before.verdict == "AMBIGUOUS" and reference is not None and reference.verdict == "PASS":
        return replace(verdict, judgement=told, notes=(*verdict.notes, "settled by the reference loss"))
    # What was declared acceptable must not hide what was not.
    hidden = before.verdict in allow and told.verdict not in PASSING
    return replace(verdict, judgement=told if hidden else worst_of((before, told)))


def _conclude(
    ties: tuple[TieVerdict, ...], others: OtherLeaves, trajectory: Trajectory | None, allow: Collection[Verdict]
) -> Judgement:
    whole = conclude(ties, others, allow)
    if trajectory is None or trajectory.holds:
        return whole
    apart = f"tied training and training with summed gradients part after {trajectory.steps} steps"
    return worst_of((whole, Judgement("FAIL", apart)))
