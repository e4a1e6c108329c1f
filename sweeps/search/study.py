"""One cell's search: an Optuna study in a journal, which proposes configs and keeps their results.

Every proposal depends only on the study's seed, the proposal's number and the results so far, never on a sampler's
hidden state, so that a search that was interrupted continues as if it had not been.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.planning.plan import Cell
from sweeps.search.draws import all_values, in_order
from sweeps.search.journal import journal_path, repair_journal
from sweeps.search.samplers import Origin, propose
from trainables.results import Record, Status
from trainables.storage.damaged_files import reading
from trainables.storage.names import checked_part
from trainables.trial.config import TrialConfig

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

TRIAL_ID = "trial_id"  # the user attribute of an Optuna trial that holds our id
ORIGIN = "origin"  # another: where its settings come from
STARTS = "starts"  # the user attribute of a study: the settings of its first trials, from an earlier run
DIMENSIONS = "dimensions"  # another: the settings of all cells, in the order of a quasi-random sequence
MEMORY = "memory"  # the Optuna constraint that is violated by a trial which does not fit in memory
MAX_ATTEMPTS = 24  # to sample a new proposal before the rest of a finite space is enumerated


class CellStudy:
    """The study of one cell. Each of its trials counts against the cell's budget, and no other trial does."""

    def __init__(self, run: Path, cell: Cell) -> None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.journal = journal_path(run, cell.name)
        self.cell = cell  # its configs can be built once the trial that it continues from is known
        self.exhausted = False  # nothing new is left to try
        self._storage_ids: dict[str, int] = {}  # our trial id -> the id in Optuna's storage
        self.distributions = {leaf: domain.distribution() for leaf, domain in cell.space.items()}
        # Before Optuna opens the journal: it would wait for the lock that a killed driver left behind.
        repair_journal(self.journal)
        self.study = optuna.create_study(
            study_name=cell.name,
            storage=JournalStorage(JournalFileBackend(str(self.journal))),
            direction="maximize",
            load_if_exists=True,
        )
        self.count = len(self.study.get_trials(deepcopy=False))  # trials proposed so far
        self.dimensions = self._kept_dimensions()
        self._keep_starts()

    def _kept_dimensions(self) -> tuple[str, ...]:
        kept = self.study.user_attrs.get(DIMENSIONS, [])  # an earlier version kept none: it went by its own
        with reading(self.journal):
            if not isinstance(kept, list) or not all(isinstance(leaf, str) for leaf in kept):
                raise ValueError(f"its {DIMENSIONS} are {kept!r:.200} and no list of settings")
        return in_order(self.distributions, kept) if kept else ()

    def _keep_starts(self) -> None:
        """Notes in the journal which settings an earlier run gives it to begin with: a resumed search keeps these."""
        if self.cell.starts and self.count == 0 and STARTS not in self.study.user_attrs:
            starts = [
                {leaf: self.cell.space[leaf].encode(value) for leaf, value in start.items()}
                for start in self.cell.starts
            ]
            self.study.set_user_attr(STARTS, starts)
        self.starts: list[dict[str, Any]] = self.study.user_attrs.get(STARTS, [])

    def keep_dimensions(self, dimensions: Sequence[str]) -> None:
        """Notes in the journal of a search that hasn't begun which setting has which dimension of its sequence."""
        if self.count == 0 and not self.dimensions:
            self.study.set_user_attr(DIMENSIONS, list(dimensions))
            self.dimensions = tuple(dimensions)

    def start_from(self, tree: dict[str, Any]) -> None:
        """Sets the cell's settings with the trial it continues from filled in; its configs can be built from now on."""
        self.cell = replace(self.cell, tree=tree)

    def cancel(self) -> None:
        """Ends the search before it begins: there is no trial to continue from."""
        self.cell = replace(self.cell, trials=0)

    def proposed(self) -> dict[str, FrozenTrial]:
        """The study's trials by our id. Raises ``DamagedFile`` for an id that leads out of the run's folder."""
        trials = self.study.get_trials(deepcopy=False)
        with reading(self.journal):
            return {checked_part(trial.user_attrs[TRIAL_ID]): trial for trial in trials}

    def _trial(self, trial_id: str) -> FrozenTrial:
        """One trial, without looking through all of them."""
        if trial_id not in self._storage_ids:
            self._storage_ids = {ours: trial._trial_id for ours, trial in self.proposed().items()}
        return self.study._storage.get_trial(self._storage_ids[trial_id])

    def config_of(self, trial_id: str) -> TrialConfig:
        """The config of a trial that was proposed."""
        return self._config(self._trial(trial_id).params)

    def unfinished(self) -> list[TrialConfig]:
        """Trials that were proposed and that the study doesn't know to have ended."""
        return [self._config(t.params) for t in self.proposed().values() if not t.state.is_finished()]

    def finished_without(self, has_record: Callable[[str], bool]) -> list[TrialConfig]:
        """Trials that the study knows to have ended, but for whose id ``has_record`` is false."""
        finished = (item for item in self.proposed().items() if item[1].state.is_finished())
        return [self._config(trial.params) for trial_id, trial in finished if not has_record(trial_id)]

    def ask(self) -> TrialConfig | None:
        """The next config; ``None`` once the budget is spent or nothing new is left to try."""
        if self.count >= self.cell.trials:
            return None
        existing = self.proposed()
        # By value, too: an earlier version stored the 0.30000000000000004 of a sampler, with an id of its own.
        tried = [self._encoded(trial.params) for trial in existing.values()]
        for sampled, origin in self._candidates(len(existing)):
            params = self._encoded(sampled)
            config = self._config(params)
            if config.trial_id() not in existing and params not in tried:
                self._add(config, params, origin)
                return config
        self.exhausted = True
        return None

    def has_more(self) -> bool:
        """Whether the budget is not spent and there may be something new to try."""
        return not self.exhausted and self.count < self.cell.trials

    def ended(self) -> bool:
        """Whether nothing more will be proposed, and every proposed trial is known to have ended."""
        return not self.has_more() and all(t.state != TrialState.RUNNING for t in self.proposed().values())

    def _add(self, config: TrialConfig, params: dict[str, Any], origin: Origin) -> None:
        # Added in one piece: a driver that is killed leaves no trial without its id.
        self.count += 1
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self.distributions,
                user_attrs={TRIAL_ID: config.trial_id(), ORIGIN: origin},
            )
        )

    def _encoded(self, params: dict[str, Any]) -> dict[str, Any]:
        """A sampler's values as the study keeps them."""
        space = self.cell.space
        return {leaf: space[leaf].encode(space[leaf].decode(value)) for leaf, value in params.items()}

    def _config(self, params: dict[str, Any]) -> TrialConfig:
        return self.cell.config({leaf: self.cell.space[leaf].decode(value) for leaf, value in params.items()})

    def _candidates(self, number: int) -> Iterator[tuple[dict[str, Any], Origin]]:
        """Proposals, to be tried until one is new: the sampler's, then the rest of a finite space.

        The first ones have the settings that an earlier run found, or that are known to be good.
        """
        if number < len(self.starts):
            yield self.starts[number], "earlier"
        elif number == 0 and (prior := self.cell.prior()):
            known_good = {leaf: self.cell.space[leaf].encode(value) for leaf, value in prior.items()}
            # Searched leaves that the prior doesn't cover take the sampler's values.
            yield self._sampled(0)[0] | known_good, "start"
        for attempt in range(MAX_ATTEMPTS):
            yield self._sampled(attempt)
        for point in self._all_points():
            yield point, "rest"

    def _sampled(self, attempt: int) -> tuple[dict[str, Any], Origin]:
        trials = self.study.get_trials(deepcopy=False)
        return propose(
            self.cell.search, self.cell.name, trials, self.distributions, attempt, self.dimensions or None
        )

    def _all_points(self) -> Iterator[dict[str, Any]]:
        """Every point of a finite space, in a fixed order."""
        if self.cell.size() is not None:
            axes = [[(leaf, value) for value in all_values(d)] for leaf, d in self.distributions.items()]
            yield from (dict(point) for point in itertools.product(*axes))

    def report(self, trial_id: str, step: int, objective: float) -> None:
        """Stores a trial's validation result at ``step``; a result that a resumed trial repeats is ignored."""
        trial = self._trial(trial_id)
        if trial.state == TrialState.RUNNING and step not in trial.intermediate_values:
            self.study._storage.set_trial_intermediate_value(trial._trial_id, step, objective)

    def tell(
        self,
        trial_id: str,
        status: Status,
        objective: float | None,
        excess: float | None = None,
        by_hand: bool = False,
    ) -> None:
        """Tells Optuna how a trial ended: done with its objective, stopped early, infeasible, or failed.

        One that was stopped ``by_hand`` counts as stopped at the last rung that it was compared at, if there is any.

        A trial that ran out of memory has no bad score, and is not ignored either: it violates a constraint, by
        ``excess`` (a share of the available memory) where that is known, so that TPE keeps away from such configs
        (c-TPE: Watanabe & Hutter, 2023, arXiv:2211.14411).
        """
        trial = self._trial(trial_id)
        if trial.state != TrialState.RUNNING:
            return
        if status == "done" and objective is not None:
            self.study.tell(trial.number, objective)
        # Optuna values a pruned trial by its last intermediate value, so one without any counts as failed.
        elif status == "stopped" and (trial.intermediate_values or by_hand):
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif status == "out_of_memory":
            # The constraint comes first: Optuna refuses to change a trial that has been told. Without a
            # predicted excess the violation is that of a trial that needs twice the memory.
            optuna.trial.Trial(self.study, trial._trial_id).set_constraint(MEMORY, excess or 1.0)
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.study.tell(trial.number, state=TrialState.FAIL)


def share_dimensions(studies: Collection[CellStudy]) -> None:
    """Gives a setting the same dimension in the quasi-random sequences of all cells: none draws luckier values of it.

    Searches that have begun keep theirs, and later ones go by these.
    """
    first = max((study.dimensions for study in studies), key=len, default=())
    order = in_order((leaf for study in studies for leaf in study.distributions), first)
    for study in studies:
        study.keep_dimensions(order)


def tell_study(study: CellStudy, record: Record) -> None:
    """Tells a study how a trial ended, and by which share of the memory it was predicted to exceed it."""
    compared = record.status == "stopped" and not record.stopped_by_hand
    if compared and record.steps is not None and record.objective is not None:
        # One that ended by its own curve has stopped at no rung.
        study.report(record.trial_id, record.steps, record.objective)
    excess = None
    if record.predicted_peak_bytes and record.room_bytes:
        excess = record.predicted_peak_bytes / record.room_bytes - 1
    study.tell(record.trial_id, record.status, record.objective, excess, record.stopped_by_hand)
