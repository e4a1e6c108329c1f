"""The panels of W&B that show a sweep, the same in its report and in the view of its project."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr

from sweeps.tracking.wandb_content.trial_values import CELL, LOSS, OBJECTIVE, PEAKS

# Of the summary rules of the objective, what the record of a trial has: the value at its end.
FINAL_OBJECTIVE = f"{OBJECTIVE}.last"
QUALITY, PEAK = "quality", "peak_gib"
SETTINGS = ("method.rank", "method.alpha", "train.learning_rate")  # that most sweeps search
LOGARITHMIC = ("learning_rate",)  # parts of the names of settings that are searched over magnitudes
PHASES = ("peak_load_gib", "peak_train_gib", "peak_eval_gib")
COMPARISON, SAMPLES, FAILURES, FRONT = "comparison", "sample_answers", "failures", "pareto"
WIDTH = 24  # columns of a grid of panels
HEIGHT = 10

assert {PEAK, *PHASES} <= PEAKS.keys()


def quality_against_memory() -> wr.ScatterPlot:
    """A point for each trial."""
    return wr.ScatterPlot(
        title="Quality against measured peak memory (GiB)",
        x=wr.SummaryMetric(PEAK),
        y=wr.SummaryMetric(QUALITY),
        layout=wr.Layout(w=WIDTH // 2, h=HEIGHT),
    )


def memory_by_phase() -> wr.BarPlot:
    """The peaks of loading, training and scoring, with the predicted one, by cell."""
    return wr.BarPlot(
        title="Peak memory by phase, and predicted (GiB)",
        metrics=[*PHASES, "predicted_peak_gib"],
        groupby=wr.Config(CELL),
        groupby_aggfunc="max",
        layout=wr.Layout(w=WIDTH // 2, h=HEIGHT),
    )


def settings_and_objective(searched: Iterable[str] = ()) -> wr.ParallelCoordinatesPlot:
    """Parallel coordinates of the searched settings and the objective."""
    settings = dict.fromkeys([*SETTINGS, *searched])
    columns: list[Any] = [
        wr.ParallelCoordinatesPlotColumn(
            metric=wr.Config(path), display_name=path, log=True if _is_logarithmic(path) else None
        )
        for path in settings
    ]
    objective = wr.ParallelCoordinatesPlotColumn(
        metric=wr.SummaryMetric(FINAL_OBJECTIVE), display_name=OBJECTIVE
    )
    return wr.ParallelCoordinatesPlot(
        title="Settings and objective", columns=[*columns, objective], layout=wr.Layout(w=WIDTH, h=HEIGHT)
    )


def _is_logarithmic(path: str) -> bool:
    return any(part in path for part in LOGARITHMIC)


def importance() -> wr.ParameterImportancePlot:
    return wr.ParameterImportancePlot(with_respect_to=FINAL_OBJECTIVE, layout=wr.Layout(w=WIDTH, h=HEIGHT))


def learning_curves() -> list[wr.LinePlot]:
    """The mean of each cell's trials with the range of all, by training step."""
    titles = {OBJECTIVE: "Objective on the validation rows", LOSS: "Training loss"}
    return [
        wr.LinePlot(
            title=title,
            x="Step",
            y=[name],
            groupby=wr.Config(CELL),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            layout=wr.Layout(w=WIDTH // 2, h=HEIGHT),
        )
        for name, title in titles.items()
    ]


def table(name: str) -> wr.WeavePanelSummaryTable:
    """A table of the summary run."""
    return wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=WIDTH, h=HEIGHT))


def pareto_front() -> wr.MediaBrowser:
    """The report's figure, from the summary run."""
    return wr.MediaBrowser(
        title="Pareto front", media_keys=[FRONT], num_columns=1, layout=wr.Layout(w=WIDTH // 2, h=HEIGHT)
    )


def by_subject(searched: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The panels that show trials, by what they show."""
    return {
        "Quality and memory": [quality_against_memory(), memory_by_phase()],
        "Settings and objective": [settings_and_objective(searched), importance()],
        "Learning curves": learning_curves(),
    }
