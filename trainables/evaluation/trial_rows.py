"""The rows that a result's trial was trained and scored on, if they are on this machine."""

from __future__ import annotations

from dataclasses import replace

from trainables.data.loading import Data, load
from trainables.inference.result import Result
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs


def local_config(result: Result) -> TrialConfig:
    """The result's config; inputs that are not on this machine are replaced by the copies in the run folder."""
    return result.config if result.run is None else StagedInputs.read(result.run).local_config(result.config)


def load_rows(result: Result) -> Data:
    """The trial's data with the same split. Raises ``DataError`` if it is not on this machine or has changed.

    Without a function that answers were judged by: a run folder may be somebody else's, and runs no code by itself.
    """
    config = local_config(result)
    data = load(config.data, config.stage.row_type)
    return replace(data, quality=None) if config.data.is_judged_by_function else data
