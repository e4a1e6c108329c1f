"""Weights & Biases: one run per trial as it trains, and one summary run with the comparison.

The id of a trial's W&B run consists of the sweep's id and the trial's, so that the same trial of another sweep is
another run, and that of a resumed or longer sweep the same. ``group`` is the sweep's name, ``job_type`` the cell, and a
step is a training step. The mode is decided before the process starts: W&B has no opportunity to prompt the user.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from sweeps.planning.checks import wandb_variables
from sweeps.runs.layout import SENT
from sweeps.spec.settings import TrackingConfig
from sweeps.tracking.base import FollowedRun, TrackedRun, Tracker
from sweeps.tracking.connectivity import Mode, choose_mode, wandb_server
from trainables.storage.damaged_files import display_name


class WeightsAndBiases(Tracker):
    """Records in the run folder's ``wandb``, and where ``mode`` is ``online``, sends it at once."""

    name: ClassVar[str] = "wandb"
    label: ClassVar[str] = "W&B"

    mode: Mode
    reason: str  # of the mode
    project: str
    entity: str | None
    log_model: Literal["best", "all"] | None = None

    @classmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        if not wandb_variables.is_on(tracking) or tracking.wandb == "off":
            return None
        return cls.of(tracking, *choose_mode(tracking.wandb))

    @classmethod
    def of(cls, tracking: TrackingConfig, mode: Mode, reason: str) -> Self:
        """The tracker with a spec's settings in a mode that is chosen."""
        project = wandb_variables.project(tracking)
        sent = {"entity": tracking.entity, "log_model": tracking.log_model}
        return cls(mode=mode, reason=reason, project=project, **sent)

    @property
    def quiet(self) -> bool:
        return self.mode == "offline"

    def announcement(self, folder: Path) -> str:
        return f"{self.mode}, {self.reason}" + (f": {self.how_to_send(folder)}" if self.quiet else "")

    def notes(self) -> Iterable[str]:
        return wandb_variables.left_out(self.project)

    def environment(self, folder: Path, empty: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        # W&B writes nothing outside of the run folder.
        names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")
        variables = {name: str(folder / "own") for name in names}
        # W&B reads settings in its folder of configuration and in `wandb` of the working folder. Those in a run or
        # beside a data set may be somebody else's, and could have the API key sent to any server.
        variables |= {"WANDB_DIR": str(folder.parent), "WANDB_CONFIG_DIR": str(empty)}
        variables |= {"WANDB_ENTITY": self.entity} if self.entity else {}
        left_out = wandb_variables.of_another_run(inherited)
        kept = {name: value for name, value in inherited.items() if name not in left_out}
        return {
            "WANDB_START_METHOD": "thread",
            **kept,
            **variables,
            "WANDB_MODE": self.mode,
            "WANDB_SILENT": "true",
        }

    def how_to_send(self, folder: Path) -> str:
        if self.mode == "online":
            return f"paretune wandb {shlex.quote(display_name(folder.parent))}"
        # The pattern stays outside of the quotes, for the shell to expand.
        return f"wandb sync {shlex.quote(str(folder))}/offline-run-*"

    @property
    def destination(self) -> str:
        """The mode, and online the server, entity and project: what is sent to one is not yet sent to another."""
        if self.mode == "offline":
            return self.mode
        entity = self.entity or os.environ.get("WANDB_ENTITY") or ""
        return f"{wandb_server()}/{entity}/{self.project}"

    def open(self, run: FollowedRun) -> TrackedRun:
        from sweeps.tracking.trackers.wandb_runs import WandbRuns
        from sweeps.tracking.wandb_content.artifacts import Models

        models = Models(self.log_model, run.folder / self.name / SENT, self.destination)
        return WandbRuns(run, self.project, self.mode == "online", models)
