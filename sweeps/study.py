"""One cell's search: an Optuna study in a journal, which proposes configs and remembers what came of them.

Every proposal depends only on the study's seed, the proposal's number and the results so far, never on a
sampler's hidden state, so that a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from sweeps.plan import Cell
from trainables.config import TrialConfig
from trainables.results import Status

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

TRIAL_ID = "trial_id"  # the user attribute that ties an Optuna trial to ours
TRIES = 24  # proposals asked for again before the rest of a finite space is listed


def journal(run: Path, cell: str) -> Path:
    return run / f"study-{cell}.journal"


class CellStudy:
    """The study of one cell; its trials are the cell's budget."""

    def __init__(self, run: Path, cell: Cell) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.cell = cell
        self.distributions = {leaf: domain.distribution() for leaf, domain in cell.space.items()}
        self.study = optuna.create_study(
            study_name=cell.name,
            storage=JournalStorage(JournalFileBackend(str(journal(run, cell.name)))),
            direction="maximize",
            load_if_exists=True,
        )
        if not self.study.get_trials(deepcopy=False) and (prior := cell.prior()):
            self.study.enqueue_trial({leaf: cell.space[leaf].encode(value) for leaf, value in prior.items()})

    def proposed(self) -> dict[str, FrozenTrial]:
        """The Optuna trials that became trials of ours, by our id."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.user_attrs[TRIAL_ID]: trial for trial in trials if TRIAL_ID in trial.user_attrs}

    def unfinished(self) -> list[str]:
        """Ids of trials that were proposed and not yet told."""
        return [id for id, trial in self.proposed().items() if trial.state == TrialState.RUNNING]

    def ask(self) -> TrialConfig | None:
        """The next config; ``None`` once the budget is spent or nothing new is left to try."""
        known = self.proposed()
        if len(known) >= self.cell.trials:
            return None
        for attempt in range(TRIES):
            config = self._propose(len(known), attempt, known)
            if config is not None:
                return config
        for params in self._rest(known):
            self.study.enqueue_trial(params)
            return self._propose(len(known), TRIES, known)
        return None

    def _propose(self, number: int, attempt: int, known: dict[str, FrozenTrial]) -> TrialConfig | None:
        self.study.sampler = self._sampler(number, attempt)
        trial = self.study.ask(fixed_distributions=self.distributions)
        config = self.cell.config(self._values(trial.params))
        if config.trial_id() in known:
            self.study.tell(trial, state=TrialState.FAIL)  # a config runs once; samplers leave failures out
            return None
        trial.set_user_attr(TRIAL_ID, config.trial_id())
        return config

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        return {leaf: self.cell.space[leaf].decode(value) for leaf, value in params.items()}

    def _sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        search = self.cell.search
        if search.sampler == "qmc":
            # Its place in the sequence is kept in the study; the seed says which sequence.
            return optuna.samplers.QMCSampler(seed=search.seed, scramble=True)
        seed = zlib.crc32(f"{search.seed} {self.cell.name} {number} {attempt}".encode())
        if search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, constant_liar=True)

    def _rest(self, known: dict[str, FrozenTrial]) -> Iterator[dict[str, Any]]:
        """Every point of a finite space that has not been tried, in a fixed order."""
        if self.cell.size() is None:
            return
        axes = [[(leaf, value) for value in points(d)] for leaf, d in self.distributions.items()]
        for point in itertools.product(*axes):
            if self.cell.config(self._values(dict(point))).trial_id() not in known:
                yield dict(point)

    def report(self, trial_id: str, step: int, objective: float) -> None:
        """Notes a trial's validation result at ``step``; one that a resumed trial repeats is left as it was."""
        trial = self.proposed()[trial_id]
        if trial.state == TrialState.RUNNING and step not in trial.intermediate_values:
            self.study._storage.set_trial_intermediate_value(trial._trial_id, step, objective)

    def tell(self, trial_id: str, status: Status, objective: float | None) -> None:
        """Tells Optuna how a trial ended: done with its objective, stopped early, or failed."""
        trial = self.proposed()[trial_id]
        if trial.state != TrialState.RUNNING:
            return
        if status == "done" and objective is not None:
            self.study.tell(trial.number, objective)
        elif status == "stopped" and trial.intermediate_values:
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.study.tell(trial.number, state=TrialState.FAIL)


def points(distribution: optuna.distributions.BaseDistribution) -> list[Any]:
    """All values of a finite distribution. ``ValueError`` for a continuous one."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        return [distribution.low + index * distribution.step for index in range(count)]
    raise ValueError(f"{distribution} has no end of values")
