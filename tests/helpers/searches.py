"""A sweep's searcher without Ray, on machines with capacity for everything unless a test says otherwise, and what Tune
and the workers do to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from sweeps.cluster.packing import Machine
from sweeps.planning.plan import Plan
from sweeps.planning.resources.sizes import Sizes
from sweeps.runs.mirror import NoMirror, RunMirror
from sweeps.search.admission import Admission
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.searcher import CellSearch
from sweeps.search.shutdown import Shutdown
from sweeps.search.trial_queue import TrialQueue
from trainables.results import Record, write_record
from trainables.trial.config import TrialConfig

LARGE = Machine("large", cpus=10_000, gpus=1_000)


def search_of(
    plan: Plan,
    run: Path,
    sizes: Sizes | None = None,
    admission: Admission | None = None,
    mirror: RunMirror | None = None,
) -> CellSearch:
    work = RemainingWork(plan, run)
    queue = TrialQueue(work, sizes or Sizes(()), admission or Admission(lambda: [LARGE], limit=10_000))
    return CellSearch(work, queue, mirror or NoMirror(), Shutdown())


class Tune:
    """Asks a searcher for trials, as Tune does, under ids of its own."""

    def __init__(self, search: CellSearch) -> None:
        self.search, self.count = search, 0
        self.ours: dict[str, str] = {}

    def next(self) -> dict[str, Any] | None:
        self.count += 1
        config = self.search.suggest(f"tune-{self.count}")
        if config is None or config == Searcher.FINISHED:
            return None
        self.ours[config["trial_id"]] = f"tune-{self.count}"
        return config

    def all(self) -> list[dict[str, Any]]:
        found = []
        while (config := self.next()) is not None:
            found.append(config)
        return found

    def complete(self, trial_id: str, error: bool = False) -> None:
        self.search.on_trial_complete(self.ours[trial_id], None, error)


def config_of(run: Path, trial_id: str) -> TrialConfig:
    return TrialConfig.model_validate_json((run / "trials" / trial_id / "config.json").read_text())


def end(run: Path, trial_id: str, status: Any, objective: float | None = None) -> None:
    """Writes the record that a worker would have."""
    record = Record(**config_of(run, trial_id).identity(), status=status, objective=objective)
    write_record(run / "trials" / trial_id, record)
