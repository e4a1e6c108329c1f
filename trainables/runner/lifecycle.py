"""The phases of a trial: load, train, save, and score once on the test rows."""

from __future__ import annotations

import json
import math
import time
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase, set_seed

from trainables import templates
from trainables.config.train import TrainConfig
from trainables.data import loading
from trainables.data.kept_together import group_names
from trainables.memory.longest_batch import predict_peak
from trainables.methods.weight_shares import shares_of
from trainables.models import kernels, rope_scaling
from trainables.models.architecture.router_loss import router_settings
from trainables.quantizers.counts import count_parameters, count_quantized
from trainables.results import SetRecord, Status, read_curve, set_file
from trainables.runner.trial_state import Trial
from trainables.stages.base import Scores
from trainables.stages.set_scores import set_scorings
from trainables.storage import files
from trainables.training import fsdp, fsdp_checkpoint, reference_policy
from trainables.training.checkpoints import LOGPROBS_BEFORE, Progress, last_checkpoint, newest_complete
from trainables.training.compiled_layers import layers_for
from trainables.training.device_settings import device_facts
from trainables.training.early_exit import EarlyExit
from trainables.training.optimizers.averaged_weights import averaged_weights, load_averages, take_averages
from trainables.training.optimizers.build import use_optimizer
from trainables.training.policy import Policy
from trainables.training.trainer_setup import clean_process, training_arguments
from trainables.training.training_callback import TrialCallback, require_finite
from trainables.training.worker_group import is_first_worker
from trainables.trial.loading import attach
from trainables.trial.tokenizer import tokenizer_of


def run_phases(trial: Trial, evaluate_at: frozenset[int]) -> Status:
    """Runs all phases, and puts what the record will hold into ``trial.facts``. Raises whatever goes wrong.

    ``evaluate_at``: steps at which the validation result is reported, besides ``eval_steps`` and the last one.
    """
    config = trial.config
    clean_process(config.train.precision)
    # Before loading: new heads and adapters are initialized at random.
    set_seed(config.train.seed)
    rows = loading.load(config.data, config.stage.row_type)
    tokenizer = tokenizer_of(config)
    trial.meter.start(trial.context.run, trial.context.bases.bytes)
    with ExitStack() as lending:
        policy = _load_policy(trial, tokenizer, lending)
        status = _train_and_score(trial, policy, rows, evaluate_at)
        if status == "interrupted" and not trial.paused:
            trial.context.bases.drop()
    return status


def _load_policy(trial: Trial, tokenizer: PreTrainedTokenizerBase, lending: ExitStack) -> Policy:
    """The policy on a base that is lent until ``lending`` ends."""
    config, bases = trial.config, trial.context.bases
    with trial.meter.phase("load"):
        base = lending.enter_context(bases.lend(config, trial.context.run, trial.meter.restart_phase))
        policy = attach(base.model, tokenizer, config, newest_complete(trial.folder), prepared=True)
    trial.facts["base_origin"] = base.origin
    trial.meter.base_was_loaded(bases.peak_of_loading(trial.meter.load_peak))
    trial.meter.count_weights(policy)
    return policy


def _train_and_score(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    config = trial.config
    metric = config.stage.quality(rows)
    config.stage.check_scoring(rows)
    trial.facts |= {
        "quality_name": metric.name,
        "quality_higher_is_better": metric.higher_is_better,
        "quality_unit": metric.unit,
        "objective_name": config.stage.objective_name(),
        "test_rows": len(rows.test),
        "data_sha256": rows.sha256,
        "mixture": dict(rows.mixture),
        "template_sha256": templates.sha256(policy.tokenizer),
        "total_params": count_parameters(policy.model),
        "attention": policy.causal.config._attn_implementation,
        "kernels": kernels.choose_kernels(config.model.kernels, policy.causal.config),
        **device_facts(policy.device),
        "rope": rope_scaling.describe_scaling(policy.causal.config) if config.model.rope else None,
        "quantized_layers": count_quantized(policy.model) or None,
        "weight_shares": {} if config.method is None else shares_of(policy.model),
        **asdict(policy.behaviour),
    }
    policy = replace(policy, logprobs_before=_logprobs_before(trial, policy, rows))
    status: Status = "done" if config.method is None else _train_and_free(trial, policy, rows, evaluate_at)
    trial.meter.share()
    # Sharded weights need all workers to be saved and scored; else the first worker continues alone.
    trial.in_lockstep = policy.blueprint is not None
    if status != "interrupted" and (is_first_worker() or policy.blueprint is not None):
        if config.method is not None:
            _save(trial, policy)
        if trial.is_scored(status) and config.data.holds_out:
            with trial.evaluating():
                _score(trial, policy, rows, metric.name)
    # A trial that pauses may be stopped meanwhile.
    may_stay_unscored = (status == "stopped" and not trial.is_scored(status)) or trial.paused
    if may_stay_unscored and is_first_worker() and not trial.meter.reads:
        trial.facts["predicted_peak_bytes"] = predict_peak(config, policy, rows.train)
    if policy.blueprint is not None:
        trial.meter.share()  # all workers have scored
    return status


def _logprobs_before(trial: Trial, policy: Policy, rows: loading.Data) -> tuple[float, ...] | None:
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


def _train_and_free(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    with trial.meter.phase("train"):
        trial.meter.train_longest(policy, rows.train, trial.phases)
        status = _train(trial, policy, rows, evaluate_at)
    if trial.meter.reads or policy.device == "cuda":
        # The trainer is gone, but in a cycle: the optimizer's state would still be there while the model is scored.
        policy.model.zero_grad()
        clean_process(trial.config.train.precision)
    return status


def _train(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    config, train = trial.config, trial.config.train
    steps = config.stage.steps(policy.tokenizer, rows.train, train, config.data.cutoff)
    if newest_complete(trial.folder) is None:
        _start_from_rows(trial, policy, rows)
    options = training_arguments(train, steps, trial.folder, trial.context.workers, policy.device)
    trainer = config.stage.trainer(policy, rows.train, train, config.data.cutoff, options)
    trainable = [p for p in policy.model.parameters() if p.requires_grad]
    trial.facts["trainable_params"] = sum(p.numel() for p in trainable)
    trial.facts["padding_share"] = trainer.padding_share
    trial.facts["reference_bytes"] = reference_policy.reference_bytes(policy)
    use_optimizer(trainer, policy, train)
    resumed = last_checkpoint(trial.folder, partial(fsdp_checkpoint.can_resume, policy.blueprint is not None))

    def evaluate() -> dict[str, float]:
        with averaged_weights(trainer.optimizer):
            return _objective(trial, policy, rows)

    callback = TrialCallback(
        folder=trial.folder,
        progress=resumed[1] if resumed else Progress(),
        control=trial.control,
        evaluate=evaluate,
        evaluate_at=_evaluation_steps(train, steps, evaluate_at) if config.data.holds_out else frozenset(),
        on_first_step=lambda: _record_setup_time(trial),
        tokens_after=trainer.tokens_after,
        autosave=train.save_steps is None,
        resume_loss=trainer.resume_loss,
        logs=config.stage.logged_metrics,
        early_exit=_early_exit(trial, steps, resumed[1].step if resumed else 0),
        unlogged_loss=trainer.unlogged_loss,
        saves_stopped=trial.is_scored("stopped"),
    )
    trainer.add_callback(callback)
    trial.phases.track(trainer)
    try:
        if resumed and (resumed[1].stopped or resumed[1].step >= steps):
            # Training had ended, and the trial died while it was scored. `train` would make one step too many.
            trainer._load_from_checkpoint(str(resumed[0]))
            load_averages(trainer, resumed[0])
        else:
            with layers_for(trainer, policy, train, steps, config.compile_obstacle) as layers:
                trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
            trial.facts["compiled"] = layers.text
    finally:
        callback.close()
        # After an error, too: the record of a failed trial says how far it came.
        _record_progress(trial, callback.progress)
    trial.paused = callback.decision == "pause"
    if callback.progress.step >= steps or callback.progress.stopped:
        take_averages(trainer.optimizer)
    # At the last step there is nothing left to stop or to interrupt.
    if callback.progress.step >= steps:
        return "done"
    return "stopped" if callback.progress.stopped else "interrupted"


def _start_from_rows(trial: Trial, policy: Policy, rows: loading.Data) -> None:
    """Has the method look at the first training examples, in the order of the data, whatever the trial's seed."""
    config = trial.config
    if config.method is None or not config.method.examples_at_start:
        return
    tokens = config.stage.tokens(policy.tokenizer, rows.train, config.data.cutoff)
    count = min(len(tokens), config.method.examples_at_start)
    config.method.start_from(policy.model, [tokens[place].input_ids for place in range(count)])


def _early_exit(trial: Trial, steps: int, from_step: int) -> EarlyExit | None:
    """When the trial ends by its own curve, of which the part before ``from_step`` is there; ``None``: never."""
    train, rules = trial.config.train, trial.ending
    if not trial.config.stage.loss_falls:
        by_objective = tuple(reason for reason in rules.early_exit if reason != "diverged")
        rules = rules.model_copy(update={"early_exit": by_objective})
    if not rules.early_exit:
        return None
    curve = EarlyExit(rules, steps, train.total_warmup(steps), train.logging_steps)
    curve.replay(read_curve(trial.folder), until=from_step)
    return curve


def _evaluation_steps(train: TrainConfig, steps: int, others: frozenset[int]) -> frozenset[int]:
    # The range has step 0, at which no step ends.
    return others | {steps} | frozenset(range(0, steps, train.eval_steps or steps))


def _objective(trial: Trial, policy: Policy, rows: loading.Data) -> dict[str, float]:
    with trial.evaluating(), fsdp.scoring_policy(policy) as scored:
        return trial.config.stage.objective(scored, rows.validation, trial.config.data.scored_cutoff)


def _record_setup_time(trial: Trial) -> None:
    if trial.context.handed_over_at is not None:
        trial.facts["setup_seconds"] = time.time() - trial.context.handed_over_at


def _record_progress(trial: Trial, progress: Progress) -> None:
    trial.facts |= {
        "steps": progress.step,
        "tokens": progress.tokens,
        "train_seconds": progress.train_seconds,
        "eval_seconds": progress.eval_seconds,
        "tokens_per_second": progress.tokens / progress.train_seconds if progress.train_seconds else None,
        "objective": progress.values.get("objective"),
        "compared_by": progress.compared_by if "objective" in progress.values else None,
        "stop_reason": progress.stop_reason,
        "stopped_by_hand": progress.stopped_by_hand,
    }


def _score(trial: Trial, policy: Policy, rows: loading.Data, quality_name: str) -> None:
    started = time.perf_counter()
    config = trial.config
    if config.method is None:
        values = _objective(trial, policy, rows)
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


def _save(trial: Trial, policy: Policy) -> None:
    assert trial.config.method is not None
    # On all workers, as gathering is a collective operation; only the first gets a policy to write.
    saved = fsdp.gather_policy(policy)
    if saved is None:
        return
    router = router_settings(saved.causal.config, saved.base_router_settings)
    with saved.evaluating(), router, files.atomic_folder(trial.folder / "model") as folder:
        trial.config.method.save(saved.model, saved.tokenizer, folder, saved.dtypes.frozen)
    weights = (trial.folder / "model").glob("*.safetensors")
    trial.facts["artifact_bytes"] = sum(path.stat().st_size for path in weights)
