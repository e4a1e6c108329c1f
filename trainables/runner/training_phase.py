"""The training of a trial: its trainer and callback, where it resumes, how it ends, and which weights it keeps."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from trainables.data import loading
from trainables.results import Status, read_curve
from trainables.runner.scoring_phase import objective
from trainables.runner.trial_state import Trial
from trainables.training import fsdp_checkpoint, reference_policy
from trainables.training.best_validation import BestValidation
from trainables.training.checkpoints import Progress, checkpoint_at, last_checkpoint, newest_complete
from trainables.training.compiled_layers import layers_for
from trainables.training.early_exit import EarlyExit
from trainables.training.optimizers.averaged_weights import averaged_weights, load_averages, take_averages
from trainables.training.optimizers.build import use_optimizer
from trainables.training.policy import Policy
from trainables.training.stage_trainer import StageTrainer
from trainables.training.trainer_setup import training_arguments
from trainables.training.training_callback import TrialCallback
from trainables.training.worker_group import is_first_worker


def train_policy(trial: Trial, policy: Policy, rows: loading.Data, evaluate_at: frozenset[int]) -> Status:
    """Trains a policy to its end, or until it is stopped, paused or interrupted; it holds the kept weights then."""
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
    progress = resumed[1] if resumed else Progress()
    # Where nothing is held out, too: checkpoints are removed by it.
    chooses = train.early_stopping is not None or train.keep == "best"

    def evaluate() -> dict[str, float]:
        with averaged_weights(trainer.optimizer):
            return objective(trial, policy, rows)

    callback = TrialCallback(
        folder=trial.folder,
        progress=progress,
        control=trial.control,
        evaluate=evaluate,
        evaluate_at=train.validation_steps(steps) | evaluate_at if config.data.holds_out else frozenset(),
        on_first_step=lambda: _record_setup_time(trial),
        tokens_after=trainer.tokens_after,
        autosave=train.save_steps is None,
        resume_loss=trainer.resume_loss,
        logs=config.stage.logged_metrics,
        early_exit=_early_exit(trial, steps, progress.step),
        unlogged_loss=trainer.unlogged_loss,
        unlogged_metrics=trainer.unlogged_metrics,
        resume_metrics=trainer.resume_metrics,
        saves_stopped=trial.is_scored("stopped"),
        best=BestValidation(train, steps, progress) if chooses else None,
        save_steps=train.save_steps,
    )
    trainer.add_callback(callback)
    trial.phases.track(trainer)
    try:
        if resumed and progress.has_ended(steps):
            # Training had ended, and the trial died while it was scored. `train` would make one step too many.
            _load(trainer, resumed[0])
        else:
            with layers_for(trainer, policy, train, steps, config.compile_obstacle) as layers:
                trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
            trial.facts["compiled"] = layers.text
    finally:
        callback.close()
        # After an error, too: the record of a failed trial says how far it came.
        _record_progress(trial, progress, steps)
    trial.paused = callback.decision == "pause"
    if not progress.has_ended(steps):
        return "interrupted"
    # At the last step there is nothing left to stop or to interrupt.
    status: Status = "stopped" if progress.stopped and progress.step < steps else "done"
    _take_kept_weights(trial, policy, trainer, progress, status)
    take_averages(trainer.optimizer)
    return status


def _take_kept_weights(
    trial: Trial, policy: Policy, trainer: StageTrainer, progress: Progress, status: Status
) -> None:
    """Has the model of a trial that is done hold its best weights, if it keeps these; its objective is theirs, too.

    A trial that was stopped keeps its last ones, by which it was compared with others.
    """
    kept = progress.kept_step if status == "done" and progress.kept_step else progress.step
    trial.facts |= {"kept_step": kept, "best_step": progress.best_step or None}
    if kept == progress.step:
        return
    trial.facts |= {"objective": progress.best_objective, "compared_by": "validation"}
    # Others of workers that share no weights are done, and may be on a machine without the first one's checkpoints.
    if is_first_worker() or policy.blueprint is not None:
        _load(trainer, checkpoint_at(trial.folder, kept))


def _load(trainer: StageTrainer, checkpoint: Path) -> None:
    """Loads the weights of a checkpoint from which training does not go on."""
    trainer._load_from_checkpoint(str(checkpoint))
    load_averages(trainer, checkpoint)


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


def _record_setup_time(trial: Trial) -> None:
    if trial.context.handed_over_at is not None:
        trial.facts["setup_seconds"] = time.time() - trial.context.handed_over_at


def _record_progress(trial: Trial, progress: Progress, steps: int) -> None:
    trial.facts |= {
        "steps": progress.step,
        "tokens": progress.tokens,
        "train_seconds": progress.train_seconds,
        "eval_seconds": progress.eval_seconds,
        "tokens_per_second": progress.tokens / progress.train_seconds if progress.train_seconds else None,
        "objective": progress.values.get("objective"),
        "compared_by": progress.compared_by if "objective" in progress.values else None,
        # One that the search stops at its last step has run its full length.
        "stop_reason": progress.stop_reason if progress.step < steps else None,
        "stopped_by_hand": progress.stopped_by_hand,
    }
