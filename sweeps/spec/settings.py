"""Settings of a spec beside those of its trials: the search, finalists, resources, the tracking and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from sweeps.spec.byte_sizes import parse_memory
from sweeps.spec.tracker_addresses import mlflow_fault
from sweeps.spec.wandb_names import name_fault
from trainables.config import limits
from trainables.config.base import Frozen
from trainables.config.ending import EarlyExitReason, EndingRules
from trainables.results import Comparison

STARTUP = 5  # trials of a cell before those whose settings depend on results
STEERED_BY_RESULTS = ("tpe", "gp", "cmaes")
GP_TRIALS = 8  # of a cell, from which on `sampler: auto` is a Gaussian process (tests/benchmarks/samplers.py)
# What a search did where its spec left the setting out, in runs that began before this version of the conventions.
SEARCH_VERSION = 3
EARLIER_SEARCH: Mapping[str, Any] = {
    "sampler": "tpe",
    "score_stopped": True,
    "early_exit": [],
    "order": "depth",
    "rungs_by": "validation",
}
COMPARISON = ("order", "rungs_by")  # settings that say how trials are compared on their way
# Trials are first compared after half of their steps (the tables in sweeps/README.md), in earlier runs after a tenth of
# them in breadth, and after a quarter in depth.
FIRST_RUNG, EARLIER_FIRST_RUNGS = 2, {"breadth": 10, "depth": 4}
LAST_RUNG = 0.5  # the share of the steps after which stopping a trial saves less than its pause takes
LEAST_UPDATES = 2  # with a rate above 0, before trials of a cell differ in more than rounding
MAX_GPU_SHARES = 8  # into which `gpus: auto` divides one GPU


class SearchConfig(Frozen):
    """``trials`` in each cell, whose settings ``sampler`` proposes. They are first compared after ``grace_steps``, then
    each time they are ``reduction_factor`` times as far, and all but the best of them are stopped: by ``training``
    loss, on the ``validation`` rows, or (``auto``) by training loss where that is of rows that were not seen before.

    ``order``: in ``breadth`` all trials of all cells come as far as the first comparison before any goes on, and the
    best of a cell are known when all are compared (successive halving). In ``depth`` a trial goes on as long as it is
    among the best so far (ASHA). In both trials are first compared after half of their steps, if not said otherwise.

    ``score_stopped``: trials that were stopped are scored on the test rows and their memory is measured, too.
    ``early_exit``: for which reasons a trial ends by its own curve, once they have held for ``exit_reports`` reports in
    a row. ``prune_dominated``: a trial that is compared in depth is stopped, too, where a finished one of its cell was
    better there and is predicted to need no more memory.

    ``from``: the run whose searches this one goes on from: each cell begins with the best settings that the cell of its
    name found there, at most ``earlier_trials``, and as many in all cells.
    """

    trials: Annotated[int, limits.at_most(limits.TRIALS)] = Field(default=8, ge=1)
    sampler: Literal["auto", "tpe", "gp", "qmc", "random", "cmaes"] = "auto"
    scheduler: Literal["asha", "none"] = "asha"
    seed: int = Field(default=0, ge=0, lt=2**32)
    grace_steps: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    rungs_by: Literal["auto", "training", "validation"] = "auto"
    order: Literal["breadth", "depth"] = "breadth"
    score_stopped: bool = False
    early_exit: tuple[EarlyExitReason, ...] = ("diverged",)
    exit_reports: int = Field(default=3, ge=2)
    prune_dominated: bool = False
    earlier_run: str | None = Field(default=None, alias="from", min_length=1)
    earlier_trials: Annotated[int, limits.at_most(limits.TRIALS)] = Field(default=3, ge=1)

    @property
    def ending(self) -> EndingRules:
        """How trials may end early, for the trials themselves."""
        return EndingRules(**{name: getattr(self, name) for name in EndingRules.model_fields})

    @property
    def chosen_sampler(self) -> str:
        """The sampler that proposes: of ``auto``, by the number of trials a cell has."""
        if self.sampler != "auto":
            return self.sampler
        return "gp" if self.trials >= GP_TRIALS else "qmc"

    @property
    def steers_from(self) -> int | None:
        """The number of the first trial, from 1, whose settings depend on results; ``None`` where no trial's do.

        >>> SearchConfig().steers_from, SearchConfig(trials=5).steers_from, SearchConfig(sampler="qmc").steers_from
        (6, None, None)
        """
        steered = self.chosen_sampler in STEERED_BY_RESULTS
        return STARTUP + 1 if steered and self.trials > STARTUP else None

    def steers(self, number: int) -> bool:
        """Whether results steer the settings of the ``number``-th trial, from 0."""
        return self.steers_from is not None and number + 1 >= self.steers_from

    @property
    def breadth_first(self) -> bool:
        """Whether trials pause at a rung until their cell's others are there. What is scored when it is stopped, is
        stopped at once.
        """
        return self.scheduler == "asha" and self.order == "breadth" and not self.score_stopped

    def first_rung(self, steps: int, early: bool = False) -> int:
        """Where trials of ``steps`` steps are first compared; ``early``: in earlier runs."""
        earlier = EARLIER_FIRST_RUNGS["breadth" if self.breadth_first else "depth"]
        return self.grace_steps or max(1, steps // (earlier if early else FIRST_RUNG))

    def rungs(
        self, steps: int, trials: int | None = None, earliest: int = 1, early: bool = False
    ) -> tuple[int, ...]:
        """The steps at which a cell's trials of ``steps`` steps are compared. ``trials``: of a cell, by default as many
        as the search has. ``earliest``: the first step at which they can be compared (:func:`earliest_rung`); a first
        rung before it is moved there if that is not after half of the steps, else there is none. ``early``: as
        :meth:`first_rung` has it.

        >>> SearchConfig(order="depth", grace_steps=4).rungs(40), SearchConfig(grace_steps=4).rungs(40)
        ((4, 12, 36), (4, 12))
        >>> SearchConfig().rungs(40), SearchConfig().rungs(40, early=True)
        ((20,), (4, 12))
        """
        first = self.first_rung(steps, early)
        left = self.trials if trials is None else trials
        rung = max(first, earliest)
        too_short = rung > first and rung > LAST_RUNG * steps
        if self.scheduler != "asha" or left == 1 or too_short:
            return ()
        rungs: list[int] = []
        # A rung at the last step could stop nothing: the trial ends there anyway.
        while rung < steps and not (self.breadth_first and rungs and (left == 1 or rung > LAST_RUNG * steps)):
            rungs.append(rung)
            rung, left = rung * self.reduction_factor, going_on(left, self.reduction_factor)
        return tuple(rungs)


def going_on(trials: int, factor: int) -> int:
    """How many of ``trials`` go on after a rung."""
    return math.ceil(trials / factor)


def earliest_rung(compared_by: Comparison, warmup: int) -> int:
    """The first step at which trials of a cell can be compared, where the first ``warmup`` steps are its warm-up, which
    begins with an update of rate 0. The training loss of a step is that before its update, and is averaged over the
    later half of the steps, all of which have to lie after :data:`LEAST_UPDATES`.

    >>> earliest_rung("training", 0), earliest_rung("training", 3), earliest_rung("validation", 3)
    (4, 10, 5)
    """
    learned = warmup + LEAST_UPDATES
    return 2 * learned if compared_by == "training" else learned


class FinalistsConfig(Frozen):
    """When a cell's search has ended, its ``top`` best configs are trained again with each of ``seeds`` other seeds,
    the same in all cells and beside the budget of the search. The cell's quality is the mean over these trainings, so
    that methods are compared over seeds and not by one lucky training. With ``seeds: 1`` nothing is trained again.
    """

    seeds: Annotated[int, limits.at_most(limits.TRIALS)] = Field(default=3, ge=1)
    top: Annotated[int, limits.at_most(limits.TRIALS)] = Field(default=1, ge=1)

    @property
    def per_cell(self) -> int:
        """The number of trials that a cell with at least ``top`` finished configs has beside its search."""
        return self.seeds * self.top if self.seeds > 1 else 0

    def of(self, seed: int) -> range:
        """The seeds of the finalists of a config with this seed.

        >>> list(FinalistsConfig().of(0))
        [1, 2, 3]
        """
        return range(seed + 1, seed + 1 + self.seeds) if self.seeds > 1 else range(0)


class ReportConfig(Frozen):
    """``margin``: how much worse a cell may be and still be as good as another, in the quality's unit (0.02 is 2 points
    of a share). By default 2 points of a share, 0.02 of an AUC, and of other measures 2 % of what training gained.
    """

    margin: float | None = Field(default=None, gt=0)


class ResourcesConfig(Frozen):
    """The resources of one trial: ``workers``, each with ``cpus`` and ``gpus``. ``concurrent`` limits how many trials
    run at the same time.

    Where ``gpus``, ``cpus`` or ``concurrent`` are left out, a plan fills in what fits where its trials run
    (``planning.resources``); the defaults here are those of a run that an earlier version began.

    A stage or method entry may have its own ``workers``, ``cpus``, ``gpus`` and ``memory``. ``auto`` is decided for
    each trial by its predicted peak memory: ``gpus: auto`` takes the smallest share of a GPU (a half, a third, ...) in
    which it fits, ``workers: auto`` as many workers as it must be shared by to fit. ``memory`` ("24GiB") is how much
    memory training may use in a worker, by default all that a machine, or a GPU, has; a trial that is predicted to need
    more is not started. A worker that takes no step and reports nothing for ``stall_seconds`` is ended, and its trial
    continues from its last checkpoint in another. When no trial can be placed for ``wait_seconds`` and none is running,
    the sweep ends, and can be resumed. ``notice_seconds``: the time from SIGTERM to the end of all processes, where a
    scheduler or a cloud ends them (``planning.assessment.notice``).
    """

    workers: int | Literal["auto"] = 1
    cpus: Annotated[float, limits.at_most(limits.WORKERS)] = Field(default=1, gt=0)
    gpus: float | Literal["auto"] = 0
    memory: str | None = None
    concurrent: Annotated[int | None, limits.at_most(limits.WORKERS)] = Field(default=None, ge=1)
    stall_seconds: float | None = Field(default=3600, gt=0)
    wait_seconds: float | None = Field(default=3600, gt=0)
    notice_seconds: float | None = Field(default=None, gt=0)

    @property
    def min_workers(self) -> int:
        """The smallest number of workers that a trial may have."""
        return 1 if self.workers == "auto" else self.workers

    @property
    def min_gpus(self) -> float:
        """The smallest share of a GPU that a worker may take."""
        return 1 / MAX_GPU_SHARES if self.gpus == "auto" else self.gpus

    @field_validator("workers")
    @classmethod
    def _check_workers(cls, workers: int | str) -> int | str:
        if isinstance(workers, int) and not 1 <= workers <= limits.WORKERS:
            raise ValueError(f"got {workers}; a trial has 1 to {limits.WORKERS} workers, or auto")
        return workers

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, memory: str | None) -> str | None:
        if memory is not None:
            parse_memory(memory)
        return memory

    @field_validator("gpus")
    @classmethod
    def _check_gpus(cls, gpus: float | str) -> float | str:
        if isinstance(gpus, str):
            return gpus
        # Whole GPUs, or one divided into equal shares: workers of 0.3 or 0.75 would leave a rest that none
        # can use.
        share = 1 / gpus if 0 < gpus < 1 else gpus
        if not 0 <= gpus <= limits.WORKERS or abs(share - round(share)) > 1e-6:
            raise ValueError(
                f"got {gpus:g}; a worker takes whole GPUs, or a half, a third, a quarter, ... of one, or auto"
            )
        return gpus


class TrackingConfig(Frozen):
    """Where runs are recorded beside the run folder. ``wandb: auto`` means online where W&B is logged in and reachable,
    and offline elsewhere. ``mlflow`` is the address of a server or a database. ``project`` is W&B's project, and the
    same of other trackers, such as MLflow's experiment. ``log_model``: whose models W&B gets as artifacts, the best
    trial's of each cell or those of all trials.
    """

    wandb: Literal["auto", "offline", "online", "off"] = "auto"
    project: str = Field(default="paretune", min_length=1)
    entity: str | None = None
    log_model: Literal["best", "all"] | None = None
    tensorboard: bool = False
    mlflow: str | None = None
    swanlab: Literal["offline", "off"] = "off"
    trackio: Literal["local", "off"] = "off"

    @field_validator("mlflow")
    @classmethod
    def _check_mlflow(cls, uri: str | None) -> str | None:
        if uri is not None and (fault := mlflow_fault(uri)):
            raise ValueError(fault)
        return uri

    @field_validator("project", "entity")
    @classmethod
    def _check_name(cls, name: str | None, field: ValidationInfo) -> str | None:
        # With `off` nothing is sent. `wandb` is checked first, and is missing from the data if it is wrong.
        if name is not None and field.data.get("wandb") != "off":
            fault = name_fault("entity" if field.field_name == "entity" else "project", name)
            if fault is not None:
                raise ValueError(fault)
        return name
