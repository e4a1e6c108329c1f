"""The values of a trial's W&B run: its config, tags, notes and summary.

W&B shows the settings of nested configs as flat keys (``method.rank``), and its filters, groups and panels know them by
these. A key that itself has a period can't be filtered or grouped by, so the names of a trial's method, stage, model
and data, which stand beside their settings, are ``method_name``, ``stage_name``, ``model_name`` and ``data_name``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from sweeps.spec.wandb_names import MAX_TAG_LENGTH
from sweeps.tracking import run_report
from sweeps.tracking.base import FollowedRun, FollowedTrial
from sweeps.tracking.flat_values import set_values
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.results import Record
from trainables.system import redaction

GIB = 1024**3
SWEEP = "sweep_id"  # the config key by which the runs of one sweep are found; `sweep` is one of W&B's own
CELL = "cell"
METHOD = "method_name"
OBJECTIVE, LOSS = "objective", "train_loss"
# Summary rules of curves, by the parts of their names: the best value so far, and the last.
SUMMARY_RULES = ((OBJECTIVE, "max,last"), ("loss", "min,last"), ("accuracy", "max,last"))
# Peaks in GiB stand beside those in bytes, as axes show them.
PEAKS = {
    "peak_gib": "peak_bytes",
    "predicted_peak_gib": "predicted_peak_bytes",
    "peak_load_gib": "peak_load_bytes",
    "peak_train_gib": "peak_train_bytes",
    "peak_eval_gib": "peak_eval_bytes",
}


def sweep_key(run: FollowedRun) -> str:
    """The sweep in filters and groups of W&B: its name for people, its id because several have that name."""
    return f"{run.name}-{run.id}"


def config(trial: FollowedTrial) -> dict[str, Any]:
    """The trial's settings, and the names by which trials are grouped and filtered."""
    settings = dict(trial.config)
    stage = settings.get("stage")
    names = {
        SWEEP: sweep_key(trial.run),
        "run": trial.run.name,
        CELL: trial.cell,
        METHOD: settings.get("method_name"),
        "stage_name": stage.get("kind") if isinstance(stage, dict) else None,
        "model_name": _label(ModelConfig, settings.get("model")),
        "data_name": _label(DataConfig, settings.get("data")),
        "role": settings.get("role"),
    }
    known = {name: value for name, value in names.items() if value is not None}
    values: dict[str, Any] = redaction.redacted_values({**settings, **known})
    return values


def names_of(record: Record) -> dict[str, str]:
    """The same names by a record, which has those that the config of an earlier version doesn't tell."""
    names = {METHOD: record.method, "stage_name": record.stage, "model_name": record.model}
    return {**names, "data_name": record.data, "role": record.role}


def _label(kind: type[ModelConfig] | type[DataConfig], section: Any) -> str | None:
    # The config of another version may have keys that this one doesn't know; its record has the name.
    with suppress(ValidationError, TypeError):
        return kind.model_validate(section).label
    return None


def tags(values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The run's name and those of its stage, method, model and data; those that the user asks for come first."""
    own = [
        str(values[key]) for key in ("run", "stage_name", METHOD, "model_name", "data_name") if key in values
    ]
    asked = (environment.get("WANDB_TAGS") or "").split(",")
    cut = (tag.strip()[:MAX_TAG_LENGTH] for tag in (*asked, *own))
    return list(dict.fromkeys(tag for tag in cut if tag))


def notes(run: FollowedRun, environment: Mapping[str, str] = os.environ) -> str | None:
    """The question of the spec and the command that ran it; what the user notes comes first."""
    given = (run.environment.get(key) for key in ("question", "command"))
    texts = [environment.get("WANDB_NOTES"), *(redaction.redacted(str(text)) for text in given if text)]
    return "\n\n".join(filter(None, texts)) or None


def summary_rule(curve: str) -> str | None:
    """What the summary keeps of a curve, as parts of its name; ``None`` for the last value, under the name itself.

    >>> summary_rule("objective"), summary_rule("train_loss"), summary_rule("learning_rate")
    ('max,last', 'min,last', None)
    """
    return next((rule for part, rule in SUMMARY_RULES if part in curve), None)


def curve_summary(points: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the rules make of whole curves, by their names. ``points``: in the order of their steps.

    >>> curve_summary([{"name": "objective", "value": 0.9}, {"name": "objective", "value": 0.8}])
    {'objective': {'max': 0.9, 'last': 0.8}}
    >>> curve_summary([{"name": "learning_rate", "value": 0.1}])
    {'learning_rate': 0.1}
    """
    curves: dict[str, list[float]] = {}
    for point in points:
        curves.setdefault(point["name"], []).append(point["value"])
    rules: dict[str, Callable[[list[float]], float]] = {
        "max": max,
        "min": min,
        "last": lambda values: values[-1],
    }

    def summarized(rule: str | None, values: list[float]) -> Any:
        return values[-1] if rule is None else {part: rules[part](values) for part in rule.split(",")}

    return {name: summarized(summary_rule(name), values) for name, values in curves.items()}


def summary(trial: FollowedTrial, record: Record) -> dict[str, Any]:
    """The record's values, with peaks in GiB, the quality's interval, and how the trial ended."""
    values = record.model_dump(mode="json", exclude={"config", "packages", "metrics", "sets", OBJECTIVE})
    values |= {f"test/{name}": value for name, value in record.metrics.items()}
    values |= set_values(record)
    values["peak_bytes"] = record.peak_bytes
    values |= {name: values[source] / GIB for name, source in PEAKS.items() if values.get(source) is not None}
    values |= dict(_prediction_error(record))
    interval = run_report.quality_interval(trial.run.folder, record)
    if interval is not None:
        values["quality_low"], values["quality_high"] = interval
    values["ending"] = run_report.ending(record)
    if record.status == "stopped":
        values |= dict(_stop(record, _rungs(trial)))
    return {name: value for name, value in values.items() if value is not None}


def _prediction_error(record: Record) -> Iterator[tuple[str, float]]:
    """The predicted peak as a share of the measured one, minus 1."""
    if record.predicted_peak_bytes is not None and record.peak_bytes and record.longest_rows_measured:
        yield "predicted_peak_error", record.predicted_peak_bytes / record.peak_bytes - 1


def _stop(record: Record, rungs: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """The step at which a trial was stopped, and the number of the rung there, from 1."""
    if record.steps is not None:
        yield "stopped_at_step", record.steps
        if record.steps in rungs:
            yield "stopped_at_rung", rungs.index(record.steps) + 1


def _rungs(trial: FollowedTrial) -> tuple[int, ...]:
    """The steps at which the trials of a cell were compared; empty for a run of a version that did not keep them."""
    rungs = trial.run.environment.get("rungs")
    return tuple(rungs.get(trial.cell) or ()) if isinstance(rungs, dict) else ()
