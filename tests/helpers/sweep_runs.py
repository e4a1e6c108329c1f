"""A run and the commands that made it, for tests that start the same sweep several times, and what it has to equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq

from sweeps.planning.plan import make
from sweeps.search.study import CellStudy
from sweeps.spec.spec import read
from tests.helpers.sweeps import Command, Home, curve_points, records, start
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.config import TrialConfig

CURVES = ("train_loss", "grad_norm", "learning_rate", "objective")


@dataclass
class Sweep:
    """A run and the commands that made it."""

    home: Home
    spec: Path
    run: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def command(self) -> Command:
        return self.commands[-1]

    def start(self, *options: str, **more: Any) -> Command:
        output = ("--output", self.run.parent)
        self.commands.append(start(self.home, "run", self.spec, *output, *options, **more))
        return self.command

    def carry_out(self, *options: str, **more: Any) -> Command:
        self.start(*options, **more).wait()
        return self.command

    def rows(self) -> list[dict[str, Any]]:
        return pq.read_table(self.run / "trials.parquet").to_pylist()


def study(run: Path, cell: str) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(run / f"study-{cell}.journal"))
    return optuna.load_study(study_name=cell, storage=optuna.storages.JournalStorage(backend))


def assert_proposed_as_if_undisturbed(run: Path, spec: Path, folder: Path) -> None:
    """Asserts that the run's studies proposed what new studies in ``folder`` do, and know how all trials ended.

    The spec's sampler must not depend on results.
    """
    folder.mkdir()
    found = records(run)
    for cell in make(read(str(spec))).cells:
        trials, fresh = study(run, cell.name).trials, CellStudy(folder, cell)
        ids = [trial.user_attrs["trial_id"] for trial in trials]
        asked = [fresh.ask() for _ in range(cell.trials)]
        assert ids[: cell.trials] == [config.trial_id() for config in asked if config is not None]
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * len(trials)
        assert [trial.value for trial in trials] == [found[trial_id].objective for trial_id in ids]


def assert_learned_as_if_undisturbed(run: Path, trial_id: str, folder: Path) -> None:
    """Asserts that a trial's results are, bit for bit, those that it has in this process, where nothing disturbs it."""
    config = TrialConfig.model_validate_json((run / "trials" / trial_id / "config.json").read_text())
    record, expected = records(run)[trial_id], run_trial(config, TrialContext(folder))
    for name in ("status", "quality", "objective", "tokens", "steps"):
        assert getattr(record, name) == getattr(expected, name), name
    for name in CURVES if record.role == "search" else ():
        points = dict(curve_points(folder, trial_id, name))
        assert points or name == "objective", name
        assert dict(curve_points(run, trial_id, name)) == points, name
