"""What a run's trials can be used for: whether their configurations can be trained again, and their models scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeps.execution.settling import further_rows
from sweeps.search.finalists import trained_again
from trainables import results
from trainables.data.errors import DataError
from trainables.inference.result import (
    Result,
    load_trusted_rewards,
    trial_result,
    untrained_result,
    with_trusted_method,
)
from trainables.methods.own_method import TRUST, OwnMethod
from trainables.models.folder import ModelError
from trainables.results import Record
from trainables.stages.rewards.stage import own_rewards
from trainables.storage import files
from trainables.trial.config import TrialConfig, read_config
from trainables.trial.staged_inputs import StagedInputs


class Means:
    """The trials of a run, by their ids. ``reasons`` collects why something can't be done.

    ``trust``: what models may do that run code of their own, and whether that of methods is run; a run folder may come
    from somebody else.
    """

    def __init__(self, run: Path, trust: Sequence[str]) -> None:
        self.run, self.trust = run, tuple(trust)
        self.reasons: dict[str, None] = {}

    def can_train(self, trial_id: str) -> bool:
        """Whether the trial's configuration can be trained again in this process."""
        try:
            self._refuse(trial_id)
            record = self._record(trial_id)
            if record.workers is not None and record.workers > 1:
                raise ModelError(
                    f"trials of {record.cell} are trained by {record.workers} workers, and this command by one process"
                )
            return True
        except (DataError, ModelError) as error:
            self.reasons[
                f"no more seeds: {error} (paretune run SPEC --resume --set finalists.seeds=N trains more of all cells)"
            ] = None
            return False

    def unused_rows(self, trial_id: str) -> int:
        """How many test rows beyond its own a trial could be scored on; 0 where its model isn't kept."""
        try:
            self._refuse(trial_id)
            return further_rows.count_further(self.result(trial_id))
        except (DataError, ModelError) as error:
            self.reasons[f"no more test rows: {error}"] = None
            return 0

    def result(self, trial_id: str) -> Result:
        """What the trial trained, or scored untrained. Raises ``ModelError`` where it kept no model."""
        folder = self.run / "trials" / trial_id
        if self._record(trial_id).role == "base":
            return untrained_result(folder / "config.json", self.trust)
        return trial_result(folder, self.trust)

    def config(self, trial_id: str, seed: int) -> TrialConfig:
        """The trial's configuration as a finalist with this seed."""
        return trained_again(self._config(trial_id), seed)

    def write_config(self, config: TrialConfig) -> None:
        """Writes ``config.json``: the run folder has it before the trial starts."""
        folder = self.run / "trials" / config.trial_id()
        files.write_json(folder / "config.json", config.model_dump(mode="json"))

    def local(self, config: TrialConfig) -> TrialConfig:
        """The config with the paths of this machine."""
        return StagedInputs.read(self.run).local_config(config)

    def _config(self, trial_id: str) -> TrialConfig:
        config = read_config(self.run / "trials" / trial_id)
        if TRUST not in self.trust:
            return config
        load_trusted_rewards(config, self.run)
        return with_trusted_method(config, self.run)

    def _record(self, trial_id: str) -> Record:
        record = results.read_record(self.run / "trials" / trial_id)
        assert record is not None
        return record

    def _refuse(self, trial_id: str) -> None:
        """Raises ``ModelError`` where code would run that the run folder brings along."""
        config = self._config(trial_id)
        untrusted = [what for what in config.model.unsafe if what not in self.trust]
        if untrusted:
            raise ModelError(f"{config.cell} needs {' and '.join(f'--trust {what}' for what in untrusted)}")
        if isinstance(config.method, OwnMethod):  # which it is no more, where its code is trusted
            raise ModelError(f"{config.cell}: {config.method.needed()}")
        if needed := next((each for reward in own_rewards(config.stage) if (each := reward.needed())), None):
            raise ModelError(f"{config.cell}: {needed}")
        quality = getattr(config.data, "quality", None)
        if quality is not None and ":" in quality:
            raise ModelError(
                f"answers of {config.cell} are judged by the function {quality}, which this command doesn't run"
            )
