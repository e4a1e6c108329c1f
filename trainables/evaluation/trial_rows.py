"""The rows that a result was trained and scored on, where they are here."""

from __future__ import annotations

from trainables.data.loading import Data, load
from trainables.inference.result import Result
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import Given


def local_config(result: Result) -> TrialConfig:
    """A result's config with what was copied into its run in the place of what isn't on this machine."""
    return result.config if result.run is None else Given.of(result.run).config(result.config)


def load_rows(result: Result) -> Data:
    """Its data, cut as it was. Raises ``DataError`` where that isn't here, or isn't what it was."""
    config = local_config(result)
    return load(config.data, config.stage.row_type)
