"""The phases of a trial: load, train, save, and score once on the test rows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace

from transformers import PreTrainedTokenizerBase, set_seed

from trainables import templates
from trainables.data import loading
from trainables.memory.longest_batch import predict_peak
from trainables.methods.weight_shares import shares_of
from trainables.models import kernels, rope_scaling
from trainables.models.architecture.router_loss import router_settings
from trainables.quantizers.counts import count_parameters, count_quantized
from trainables.results import Status
from trainables.runner.scoring_phase import logprobs_before, score_trial
from trainables.runner.training_phase import train_policy
from trainables.runner.trial_state import Trial
from trainables.storage import files
from trainables.training import fsdp
from trainables.training.checkpoints import newest_complete
from trainables.training.device_settings import device_facts
from trainables.training.policy import Policy
from trainables.training.trainer_setup import clean_process
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
    policy = replace(policy, logprobs_before=logprobs_before(trial, policy, rows))
    status: Status = "done" if config.method is None else _train_and_free(trial, policy, rows, evaluate_at)
    trial.meter.share()
    # Sharded weights need all workers to be saved and scored; else the first worker continues alone.
    trial.in_lockstep = policy.blueprint is not None
    if status != "interrupted" and (is_first_worker() or policy.blueprint is not None):
        if config.method is not None:
            _save(trial, policy)
        if trial.is_scored(status) and config.data.holds_out:
            with trial.evaluating():
                score_trial(trial, policy, rows, metric.name)
    # A trial that pauses may be stopped meanwhile.
    may_stay_unscored = (status == "stopped" and not trial.is_scored(status)) or trial.paused
    if may_stay_unscored and is_first_worker() and not trial.meter.reads:
        trial.facts["predicted_peak_bytes"] = predict_peak(config, policy, rows.train)
    if policy.blueprint is not None:
        trial.meter.share()  # all workers have scored
    return status


def _train_and_free(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    with trial.meter.phase("train"):
        trial.meter.train_longest(policy, rows.train, trial.phases)
        status = train_policy(trial, policy, rows, evaluate_at)
    if trial.meter.reads or policy.device == "cuda":
        # The trainer is gone, but in a cycle: the optimizer's state would still be there while the model is scored.
        policy.model.zero_grad()
        clean_process(trial.config.train.precision)
    return status


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
