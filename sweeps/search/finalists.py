"""The finalists of a cell: the best configs of its search, to be trained again with other seeds."""

from __future__ import annotations

from pathlib import Path

from sweeps.search.study import CellStudy
from sweeps.spec.settings import FinalistsConfig
from trainables import results
from trainables.results import Record
from trainables.trial.config import TrialConfig


def finalists(study: CellStudy, settings: FinalistsConfig, run: Path) -> list[TrialConfig]:
    """The configs of the finalists of a cell whose search has ended, whether or not they have run already.

    The best configs are chosen by the objective on the validation rows, as the report chooses a cell's best. Empty
    without a finished trial, and where nothing is held out.
    """
    if not study.cell.holds_out:
        return []
    found = (results.read_record(run / "trials" / trial_id) for trial_id in study.proposed())
    records = [record for record in found if record is not None]
    chosen: list[Record] = []
    while len(chosen) < settings.top and (best := results.best(records)) is not None:
        chosen.append(best)
        records.remove(best)
    configs = [study.config_of(record.trial_id) for record in chosen]
    return [trained_again(config, seed) for config in configs for seed in settings.of(config.train.seed)]


def trained_again(config: TrialConfig, seed: int) -> TrialConfig:
    train = config.train.model_copy(update={"seed": seed})
    return config.model_copy(update={"role": "finalist", "train": train})
