"""The scoring of a trial's model: on the validation rows on its way, and once on the test rows and further sets."""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data import loading
from trainables.data.kept_together import group_names
from trainables.results import SetRecord, set_file
from trainables.runner.trial_state import Trial
from trainables.stages.base import Scores
from trainables.stages.set_scores import set_scorings
from trainables.storage import files
from trainables.training import fsdp, reference_policy
from trainables.training.checkpoints import LOGPROBS_BEFORE, newest_complete
from trainables.training.policy import Policy
from trainables.training.training_callback import require_finite
from trainables.training.worker_group import is_first_worker


def logprobs_before(trial: Trial, policy: Policy, rows: loading.Data) -> tuple[float, ...] | None:
    """The log-probabilities of the scored answers before the first step, in nats; ``None`` where no score needs them.

    A trial that goes on from a checkpoint has them in a file. They are unknown where workers shard the weights, and to
    a trial without that file (an earlier version began it) whose method has no reference policy any more.
    """
    config, path = trial.config, trial.folder / LOGPROBS_BEFORE
    if config.method is None or policy.blueprint is not None:
        return None
    if not (config.data.holds_out and is_first_worker()):
        return None
    if path.exists():
        return tuple(json.loads(path.read_text(encoding="utf-8")))
    has_begun = newest_complete(trial.folder) is not None
    if has_begun and not config.method.reference_stays:
        return None
    before = reference_policy.as_reference(policy) if has_begun else nullcontext()
    with trial.evaluating(), before:
        found = config.stage.scored_logprobs(policy, rows, config.data.scored_cutoff)
    if found is not None:
        files.write_json(path, found)
    return None if found is None else tuple(found)


def objective(trial: Trial, policy: Policy, rows: loading.Data) -> dict[str, float]:
    """What the policy is scored on the validation rows, its objective among it."""
    with trial.evaluating(), fsdp.scoring_policy(policy) as scored:
        return trial.config.stage.validation_scores(scored, rows.validation, trial.config.data.scored_cutoff)


def score_trial(trial: Trial, policy: Policy, rows: loading.Data, quality_name: str) -> None:
    """Scores the policy on the test rows and on further sets; facts and files have what comes of it."""
    started = time.perf_counter()
    config = trial.config
    if config.method is None:
        values = objective(trial, policy, rows)
        trial.facts["objective"] = require_finite("objective on the validation rows", values["objective"])
    testing = time.perf_counter()
    with fsdp.scoring_policy(policy) as scored:
        scores = config.stage.score(scored, rows, rows.test, config.data.scored_cutoff)
        if (generation := scored.known_generation) is not None:
            trial.facts["cached_generation"] = generation.cached
            trial.facts["padded_generation"] = generation.padded
    ended = time.perf_counter()
    _score_sets(trial, policy, rows)
    for name, value in scores.metrics.items():
        require_finite(f"{name} on the test rows", value)
    trial.facts["eval_seconds"] = trial.facts.get("eval_seconds", 0.0) + time.perf_counter() - started
    trial.facts["test_seconds"] = ended - testing
    trial.facts["quality"] = scores.metrics[quality_name]
    trial.facts["metrics"] = scores.metrics
    if is_first_worker():
        write_scored_rows(trial.folder, scores.in_groups(group_names(config.data, rows.test)))


def _score_sets(trial: Trial, policy: Policy, rows: loading.Data) -> None:
    """Scores the further evaluation sets. A set with a measure that is not finite is not measured: it steers nothing,
    and the trial goes on.
    """
    found: dict[str, SetRecord] = {}
    for scoring in set_scorings(trial.config.stage, rows):
        each, metric, started = scoring.each, scoring.metric, time.perf_counter()
        with fsdp.scoring_policy(policy) as scored:
            scores = scoring.scores(scored, trial.config.data.scored_cutoff)
        metrics = {name: value for name, value in scores.metrics.items() if math.isfinite(value)}
        infinite = [f"its {name} is {value}" for name, value in scores.metrics.items() if name not in metrics]
        found[each.name] = SetRecord(
            source=each.source,
            rows=len(each.rows),
            quality=None if infinite else metrics[metric.name],
            not_measured=", ".join(infinite) or None,
            quality_name=metric.name,
            quality_unit=metric.unit,
            quality_higher_is_better=metric.higher_is_better,
            metrics=metrics,
            seconds=time.perf_counter() - started,
            sha256=each.sha256,
        )
        if is_first_worker():
            grouped = scores.in_groups(group_names(trial.config.data, each.rows))
            write_scored_rows(trial.folder, grouped, set_file(each.name))
    trial.facts["sets"] = found


def write_scored_rows(folder: Path, scores: Scores, file: str = "predictions.parquet") -> None:
    """Writes ``file``, a row for each scored row; :class:`ScoredRow` says what its columns are."""
    table = pa.table(scores.columns())
    with files.atomic(folder / file) as temporary:
        pq.write_table(table, temporary)
