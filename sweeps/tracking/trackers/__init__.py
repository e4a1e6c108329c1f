"""A file for each tracker, and the list of them. None imports the tracker's package until its process runs."""

from __future__ import annotations

from sweeps.tracking.base import Tracker
from sweeps.tracking.trackers.mlflow import MLflow
from sweeps.tracking.trackers.swanlab import SwanLab
from sweeps.tracking.trackers.tensorboard import TensorBoard
from sweeps.tracking.trackers.trackio import Trackio
from sweeps.tracking.trackers.wandb import WeightsAndBiases

TRACKERS: tuple[type[Tracker], ...] = (WeightsAndBiases, TensorBoard, MLflow, SwanLab, Trackio)


def tracker_kind(name: str) -> type[Tracker]:
    """The tracker of that name."""
    return next(kind for kind in TRACKERS if kind.name == name)
