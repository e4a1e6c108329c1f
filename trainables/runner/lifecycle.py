"""A trial's course: load, attach, train under watch, save, and score once on the test rows."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import set_seed

from trainables import templates
from trainables.data import loading
from trainables.models import kernels, rope_scaling
from trainables.quantizers.counts import count_parameters, count_quantized
from trainables.results import Status
from trainables.runner.trial_state import Trial
from trainables.stages.base import Scores
from trainables.storage import files
from trainables.training import fsdp, fsdp_checkpoint, reference_policy
from trainables.training.policy import Policy
from trainables.training.trainer_setup import arguments, clean_process, follow_quietly
from trainables.training.training_callback import Tally, Watch, finite, last_checkpoint
from trainables.training.worker_group import first_rank
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base, tokenizer_of


def follow(trial: Trial, evaluate_at: frozenset[int]) -> Status:
    """Goes all of it; what the trial comes to know is in its facts. Raises whatever goes wrong."""
    config = trial.config
    clean_process()
    set_seed(config.train.seed)
    rows = loading.load(config.data, config.stage.needs)
    tokenizer = tokenizer_of(config)
    policy = attach(
        load_base(config, starting_weights.weights(config.model, trial.place.run)), tokenizer, config
    )
    metric = config.stage.quality(rows)
    trial.facts |= {
        "quality_name": metric.name,
        "quality_higher_is_better": metric.higher_is_better,
        "quality_unit": metric.unit,
        "objective_name": config.stage.objective_name(),
        "test_rows": len(rows.test),
        "data_sha256": rows.sha256,
        "template_sha256": templates.sha256(policy.tokenizer),
        "total_params": count_parameters(policy.model),
        "attention": policy.causal.config._attn_implementation,
        "kernels": kernels.chosen(config.model.kernels),
        "rope": rope_scaling.applied(policy.causal.config) if config.model.rope else None,
        "quantized_layers": count_quantized(policy.model) or None,
    }
    status: Status = "done" if config.method is None else _train(trial, policy, rows, evaluate_at)
    # Where the workers share the weights, all of them have to take part; else the first goes on alone.
    trial.together = policy.blueprint is not None
    if status != "interrupted" and (first_rank() or policy.blueprint is not None):
        if config.method is not None:
            _save(trial, policy)
        with trial.phases.during("eval"):
            _score(trial, policy, rows, metric.name)
    return status


def _train(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    config, train = trial.config, trial.config.train
    steps = config.stage.steps(policy.tokenizer, rows.train, train, config.data.cutoff)
    options = arguments(train, steps, trial.folder, trial.place.workers, policy.device)
    trainer = config.stage.trainer(policy, rows.train, train, config.data.cutoff, options)
    trainable = [p for p in policy.model.parameters() if p.requires_grad]
    trial.facts["trainable_params"] = sum(p.numel() for p in trainable)
    trial.facts["padding_share"] = trainer.padding_share  # type: ignore[attr-defined]
    trial.facts["reference_bytes"] = reference_policy.copied_bytes(policy)
    if policy.blueprint is not None:
        fsdp_checkpoint.own(trainer, policy.model)
    _own_optimizer(trainer, config, policy)
    resumed = last_checkpoint(trial.folder, partial(fsdp_checkpoint.is_ours, policy.blueprint is not None))
    watch = Watch(
        folder=trial.folder,
        tally=resumed[1] if resumed else Tally(),
        control=trial.control,
        evaluate=lambda: _objective(trial, policy, rows),
        evaluate_at=evaluate_at | {steps} | frozenset(range(0, steps, train.eval_steps or steps)),
        on_first_step=lambda: _note_setup(trial),
        tokens_after=trainer.tokens_after,  # type: ignore[attr-defined]
        autosave=train.save_steps is None,
        logs=config.stage.logs,
    )
    follow_quietly(trainer, watch)
    trial.phases.follow(trainer)
    try:
        if resumed and (resumed[1].stopped or resumed[1].step >= steps):
            # It was being scored when it died. `train` would take a step more before it looks.
            trainer._load_from_checkpoint(str(resumed[0]))
        else:
            trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    finally:
        watch.close()
        _note_tally(trial, watch.tally)
    if watch.tally.step >= steps:
        return "done"
    return "stopped" if watch.tally.stopped else "interrupted"


def _objective(trial: Trial, policy: Policy, rows: loading.Data) -> dict[str, float]:
    with trial.phases.during("eval"), fsdp.scored(policy) as scored:
        return trial.config.stage.objective(scored, rows.validation, trial.config.data.cutoff)


def _own_optimizer(trainer: Any, config: TrialConfig, policy: Policy) -> None:
    cls, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, policy.model)
    options = {**options, "weight_decay": config.train.weight_decay}
    assert config.method is not None
    own = config.method.optimizer(policy.model, cls, options)
    if own is not None:
        trainer.optimizer = own


def _note_setup(trial: Trial) -> None:
    if trial.place.given_at is not None:
        trial.facts["setup_seconds"] = time.time() - trial.place.given_at


def _note_tally(trial: Trial, tally: Tally) -> None:
    trial.facts |= {
        "steps": tally.step,
        "tokens": tally.tokens,
        "train_seconds": tally.train_seconds,
        "eval_seconds": tally.eval_seconds,
        "tokens_per_second": tally.tokens / tally.train_seconds if tally.train_seconds else None,
        "objective": tally.values.get("objective"),
    }


def _score(trial: Trial, policy: Policy, rows: loading.Data, quality_name: str) -> None:
    started = time.perf_counter()
    config = trial.config
    if config.method is None:
        values = _objective(trial, policy, rows)
        trial.facts["objective"] = finite("objective on the validation rows", values["objective"])
    with fsdp.scored(policy) as scored:
        scores = config.stage.score(scored, rows, rows.test, config.data.cutoff)
    seconds = time.perf_counter() - started
    for name, value in scores.metrics.items():
        finite(f"{name} on the test rows", value)
    trial.facts["eval_seconds"] = trial.facts.get("eval_seconds", 0.0) + seconds
    trial.facts["quality"] = scores.metrics[quality_name]
    trial.facts["metrics"] = scores.metrics
    if first_rank():
        write_predictions(trial.folder, scores)


def write_predictions(folder: Path, scores: Scores) -> None:
    """``predictions.parquet``: row, prompt (JSON messages), reference, prediction, score; what good and bad answers are
    worth, where rows have such."""
    table = pa.table(scores.columns())
    with files.atomic(folder / "predictions.parquet") as temporary:
        pq.write_table(table, temporary)


def _save(trial: Trial, policy: Policy) -> None:
    assert trial.config.method is not None
    saved = fsdp.whole(policy)
    if saved is None:
        return
    with saved.evaluating(), files.atomic_folder(trial.folder / "model") as folder:
        trial.config.method.save(saved.model, saved.tokenizer, folder, saved.dtypes.frozen)
    weights = (trial.folder / "model").glob("*.safetensors")
    trial.facts["artifact_bytes"] = sum(path.stat().st_size for path in weights)
