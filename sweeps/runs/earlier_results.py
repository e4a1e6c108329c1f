"""Models of earlier runs that a spec starts from: ``RUN``, ``RUN:CELL``, ``RUN:TRIAL``, ``RUN:TRIAL@STEP``.

Which trials these are is settled once, for as long as the run that starts from them exists: ``--resume`` continues from
the same ones, whatever is the best trial of the earlier run by then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.runs.layout import Settled
from trainables.models.folder import ModelError
from trainables.system.redaction import redacted

if TYPE_CHECKING:
    from sweeps.runs.artifacts import Artifact, BestTrials


class EarlierResults:
    """The models of earlier runs that one spec names, each looked up once.

    ``best_trials`` gives the best trials of a run, as its report has them; without it a run as a whole is refused.
    ``read_settled`` gives the trials that the run began with, and is called only if the spec names earlier runs.
    ``settled`` holds the trials that were looked up, by task and by name in the spec.
    """

    def __init__(
        self, best_trials: BestTrials | None = None, read_settled: Callable[[], Settled] = dict
    ) -> None:
        self.settled: dict[str, dict[str, str]] = {}
        self.notes: list[str] = []
        self._best_trials, self._read_settled = best_trials, read_settled
        self._settled_before: Settled | None = None
        self._is_run: dict[str, bool] = {}
        self._artifacts: dict[tuple[str, str], Artifact | ModelError | None] = {}

    def has(self, name: str) -> bool:
        """Whether ``name`` names a run, or a cell or trial of one."""
        from sweeps.runs.artifacts import names_run

        if name not in self._is_run:
            self._is_run[name] = names_run(name)
        return self._is_run[name]

    def folder(self, name: str, written: str, task: str) -> Path | None:
        """The folder of the weights or the adapter that ``name`` stands for, or ``None`` where it names no run.

        ``written`` is the name as in the spec, where its path may be relative; ``task`` the task of the model. Raises
        ``ModelError`` where there is no such model.
        """
        if not self.has(name):
            return None
        if (name, task) not in self._artifacts:
            # The name goes into the run's files, which must not hold the credentials that a URL may have.
            self._artifacts[name, task] = self._look_up(name, redacted(written), task)
        artifact = self._artifacts[name, task]
        if isinstance(artifact, ModelError):
            raise artifact
        return artifact.folder if artifact is not None else None

    def _look_up(self, name: str, written: str, task: str) -> Artifact | ModelError | None:
        from sweeps.runs.artifacts import find_artifact

        if self._settled_before is None:
            self._settled_before = self._read_settled()
        settled = self._settled_before.get(task, {}).get(written)
        try:
            artifact = find_artifact(name, self._best_trials, task, settled)
        # Kept instead of raised: other cells that use this name get the same error without another look.
        except ModelError as error:
            return error
        if artifact is not None:
            self.settled.setdefault(task, {})[written] = artifact.trial
            self._note(written, artifact, settled is not None)
        return artifact

    def _note(self, written: str, artifact: Artifact, settled: bool) -> None:
        cell = f" of {artifact.record.cell}" if artifact.record is not None else ""
        began = ", as when this run began" if settled else ""
        # A name that ends in the whole id says by itself which trial it is.
        if not written.endswith(f":{artifact.trial}"):
            self.notes.append(f"{written} is trial {artifact.trial}{cell}{began}")
