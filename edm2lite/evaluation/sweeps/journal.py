"""The journal of a sweep: an Optuna study for each stage, in one file that all workers append to. Imports no torch.

A worker claims a point by adding a running trial, one line that names the point and the worker. The order of lines is the same
for everybody: of two workers with the same point the first line holds, and the second one is taken back. So no lock is held
while images are made, and nobody needs to be told who is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from edm2lite.config import Nimg
from edm2lite.config.sweeps import RangeConfig, SweepConfig, SweepPoint
from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.sweeps.plan import Held, Stage, Task
from edm2lite.evaluation.sweeps.strategies import quiet
from edm2lite.evaluation.sweeps.workers import Worker
from edm2lite.evaluation.tables.result import Result

FILE = "journal.log"
_WORKER, _RESULT, _WHY = "worker", "result", "why"  # attributes of trials


class Journal:
    """The journal of a sweep's folder.

    Args:
        cfg: The sweep.
        lower_is_better: Of the metric that decides.
        worker: Who looks and claims.

    Raises:
        UserError: If the journal is damaged.
    """

    def __init__(self, cfg: SweepConfig, lower_is_better: bool, worker: Worker):
        self.cfg, self.worker, self.sign = cfg, worker, 1 if lower_is_better else -1
        self.path = Path(cfg.outdir).resolve() / FILE  # absolute, for Optuna's locks look at it from elsewhere
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = JournalFileOpenLock(str(self.path))
        _mend(self.path, self._lock)
        self._studies: dict[str, optuna.Study] = {}
        with self._readable():
            self.storage = JournalStorage(JournalFileBackend(str(self.path), lock_obj=self._lock))

    def trials(self, stage: Stage) -> list[FrozenTrial]:
        """Everything that was ever claimed in a stage."""
        with self._readable():
            study = self._found(stage)
            return [] if study is None else study.get_trials(deepcopy=False)

    def begun(self) -> bool:
        """Whether there is any score."""
        with self._readable():
            studies = self.storage.get_all_studies()
            return any(self.storage.get_n_trials(study._study_id, state=TrialState.COMPLETE) for study in studies)

    def look(self, stage: Stage) -> Held:
        """What is known of a stage; what dead workers left running is given up."""
        ranks: dict[SweepPoint, float] = {}
        running = []
        for trial in self.trials(stage):
            if trial.state == TrialState.COMPLETE:
                ranks.setdefault(point_of(trial), self.sign * trial.values[0])
            elif trial.state == TrialState.RUNNING and not self._given_up(stage, trial):
                running.append(point_of(trial))
        return Held(ranks, [point for point in dict.fromkeys(running) if point not in ranks])

    def results(self, stage: Stage) -> dict[SweepPoint, Result]:
        """The scores of a stage."""
        done = [trial for trial in self.trials(stage) if trial.state == TrialState.COMPLETE]
        return {point_of(trial): _result(trial.user_attrs[_RESULT]) for trial in reversed(done)}

    def claim(self, task: Task) -> int | None:
        """Take a point: the number of the trial; None: somebody else has it."""
        study = self._study(task.stage)
        values = _params(task.point)
        distributions = {name: self._distribution(name, value) for name, value in values.items()}
        attributes = {_WORKER: self.worker.name}
        study.add_trial(
            create_trial(state=TrialState.RUNNING, params=values, distributions=distributions, user_attrs=attributes)
        )
        same = [trial for trial in self.trials(task.stage) if point_of(trial) == task.point]
        mine = max(t.number for t in same if t.user_attrs[_WORKER] == self.worker.name)
        for trial in same:
            held = trial.state == TrialState.COMPLETE or (
                trial.state == TrialState.RUNNING and trial.number < mine and not self._given_up(task.stage, trial)
            )
            if held:
                self.give_up(task.stage, mine, f"trial {trial.number} has it")
                return None
        return mine

    def tell(self, stage: Stage, number: int, result: Result, value: float) -> None:
        """Note the score of a claimed point."""
        study = self._study(stage)
        self.storage.set_trial_user_attr(self._id(stage, number), _RESULT, asdict(result))
        study.tell(number, value)

    def give_up(self, stage: Stage, number: int, why: str) -> None:
        """End a claim without a score, so that somebody takes the point again."""
        try:
            self.storage.set_trial_user_attr(self._id(stage, number), _WHY, why)
            self._study(stage).tell(number, state=TrialState.FAIL)
        except (RuntimeError, ValueError):  # somebody else was faster
            pass

    def _given_up(self, stage: Stage, trial: FrozenTrial) -> bool:
        """Whether a running trial's worker is dead; its claim is then ended."""
        name = trial.user_attrs[_WORKER]
        dead = self.worker.is_dead(name)
        if dead:
            self.give_up(stage, trial.number, "its worker is gone")
        return dead

    def _distribution(self, name: str, value: Any) -> BaseDistribution:
        axis = getattr(self.cfg, "weights" if name == "weight" else name)
        if isinstance(axis, RangeConfig) and value in axis.values:
            return FloatDistribution(axis.low, axis.values[-1], step=axis.step)
        choices = axis.values if isinstance(axis, RangeConfig) else tuple(axis)
        return CategoricalDistribution(tuple(_number(v) for v in choices) if value in choices else (value,))

    def _study(self, stage: Stage) -> optuna.Study:
        """The study of a stage, made if need be."""
        direction = StudyDirection.MINIMIZE if self.sign > 0 else StudyDirection.MAXIMIZE
        if self._found(stage) is None:
            with quiet():
                self._studies[stage.name] = optuna.create_study(
                    storage=self.storage, study_name=stage.name, direction=direction, load_if_exists=True
                )
        return self._studies[stage.name]

    def _found(self, stage: Stage) -> optuna.Study | None:
        """The study of a stage; None: nothing was claimed there yet. Looking does not write."""
        if stage.name not in self._studies:
            if stage.name not in optuna.get_all_study_names(self.storage):
                return None
            self._studies[stage.name] = optuna.load_study(study_name=stage.name, storage=self.storage)
        return self._studies[stage.name]

    def _id(self, stage: Stage, number: int) -> int:
        study = self.storage.get_study_id_from_name(stage.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as e:
            raise UserError(
                f"{self.path} is damaged ({e}); delete it and run the same command: scores are kept in results/"
            ) from e


def point_of(trial: FrozenTrial) -> SweepPoint:
    """The point of a trial."""
    nimg = trial.params["guide_nimg"]
    return SweepPoint(**trial.params | {"guide_nimg": None if nimg is None else Nimg(nimg)})


def _params(point: SweepPoint) -> dict[str, float | int | None]:
    return {name: _number(value) for name, value in asdict(point).items()}


def _number(value: Any) -> float | int | None:
    """Plain numbers, for JSON."""
    return int(value) if isinstance(value, int) else value


def _result(data: dict[str, Any]) -> Result:
    scores = {
        name: tuple(Score(**score | {"leave_one_out": tuple(score["leave_one_out"])}) for score in found)
        for name, found in data["scores"].items()
    }
    return Result(**data | {"scores": scores})


def without_details(result: Result) -> Result:
    """The same without parts of scores, such as every class's, of which a journal of thousands of points would grow big."""
    scores = {name: tuple(replace(s, details={}) for s in found) for name, found in result.scores.items()}
    return replace(result, scores=scores)


def _mend(path: Path, lock: JournalFileOpenLock) -> None:
    """Cut off a last line that was not finished when its writer or its disk failed; nobody writes while the lock is held."""
    if not path.exists() or path.stat().st_size == 0:
        return
    lock.acquire()
    try:
        with open(path, "r+b") as f:
            data = f.read()
            if not data.endswith(b"\n"):
                f.truncate(data.rfind(b"\n") + 1)
    finally:
        lock.release()
