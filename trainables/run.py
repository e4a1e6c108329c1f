"""One trial from config to record, with no Ray at all: what a slot's worker runs, and ``paretune try``.

Load, attach, train under watch, score once on the test rows, save, measure memory, write the record. Whatever
goes wrong becomes a record that says so.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import set_seed

from trainables import (
    data,
    files,
    kernels,
    provenance,
    redaction,
    reference,
    rope,
    sharded_checkpoint,
    sharding,
    starts,
    templates,
    trouble,
)
from trainables.config import TrialConfig
from trainables.group import GroupBroken, all_failed, first_rank, is_lost_worker, workers
from trainables.measuring import MeasuringFailed
from trainables.phases import Phases
from trainables.policy import Policy, attach, device, load_base, tokenizer_of
from trainables.quantizers import QUANTIZERS
from trainables.results import Record, Status, write_record
from trainables.stages.protocol import Scores
from trainables.training import arguments, clean_process, follow_quietly
from trainables.watch import Alone, Control, Tally, Watch, finite, last_checkpoint


class Measures(Protocol):
    """What can measure a config's memory: a ``MeasuringProcess``."""

    def measure(self, config: TrialConfig) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Place:
    """Where a trial runs: its run folder, its slot, since when the slot has had it (seconds since 1970)."""

    run: Path
    slot: str | None = None
    slot_trial: int | None = None
    given_at: float | None = None
    workers: int = 1

    def folder(self, config: TrialConfig) -> Path:
        return self.run / "trials" / config.trial_id()


@dataclass
class Trial:
    """A trial under way: what is known of it so far, which is what its record says if it ends here.

    ``asked`` is the config that it is known by; it runs with ``config``, which may take fewer rows at a time.
    """

    asked: TrialConfig
    config: TrialConfig
    place: Place
    control: Control
    facts: dict[str, Any] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    together: bool = field(
        default_factory=lambda: workers() > 1
    )  # whether workers may wait for one another now

    @property
    def folder(self) -> Path:
        return self.place.folder(self.asked)

    def record(self, status: Status, error: str | None = None) -> Record:
        return Record(
            **self.asked.identity(),
            status=status,
            error=error,
            slot=self.place.slot,
            slot_trial=self.place.slot_trial,
            workers=self.place.workers,
            host=socket.gethostname(),
            device=device(),
            ended_at=provenance.now(),
            commit=provenance.commit(),
            packages=provenance.packages(),
            **self.facts,
        )


def run_trial(
    config: TrialConfig,
    place: Place,
    control: Control | None = None,
    evaluate_at: frozenset[int] = frozenset(),
    measuring: Measures | None = None,
    halved: bool = False,
    here: TrialConfig | None = None,
) -> Record:
    """Runs a trial, or resumes it from its last complete checkpoint, and returns the record it wrote.

    ``evaluate_at``: steps at which the validation result is reported to ``control``, besides ``eval_steps``
    and the last. ``halved``: memory ran out before, so half the rows are taken at a time. ``here`` is the config with
    paths that are on this machine, where its own are not. Never raises for what goes wrong inside the trial: the
    record's status and error say it. Raises what it meets when the run folder can't be written to
    (``trouble.of_storage``): called again, it goes on. :class:`GroupBroken` leaves it where another worker is lost to
    this one.
    """
    trial = Trial(config, here or config, place, control or Alone(), {"started_at": provenance.now()})
    if first_rank():
        files.write_json(trial.folder / "config.json", config.model_dump(mode="json"))
    if halved:
        record = _ended(_smaller(trial) or trial, evaluate_at, measuring)
    else:
        record = _ended(trial, evaluate_at, measuring)
        if (smaller := _to_be_retried(trial, record)) is not None:
            record = _ended(smaller, evaluate_at, measuring)
    if first_rank():
        write_record(trial.folder, record)
        _clear_checkpoints(config, trial.folder, record)
    return record


def _ended(trial: Trial, evaluate_at: frozenset[int], measuring: Measures | None) -> Record:
    """Runs a trial to its end, whatever that is."""
    try:
        return _with_memory(trial, _run(trial, evaluate_at), measuring)
    except Exception as error:
        if trial.together and is_lost_worker(error):
            raise GroupBroken(str(error)) from error
        if trouble.of_storage(error, trial.folder) is not None:
            raise
        trace = redaction.redacted(traceback.format_exc())
        (trial.folder / "error.txt").write_text(trace, encoding="utf-8", errors="backslashreplace")
        record = _failed(trial, error)
        if trial.together and not all_failed(str(record.error)):
            raise GroupBroken(record.error, record) from error
        return record


def _failed(trial: Trial, error: Exception) -> Record:
    what = f"{type(error).__name__}: {error}"
    if not is_out_of_memory(error):
        return trial.record("failed", what)
    trial.facts["out_of_memory_in"] = trial.phases.now
    return trial.record("out_of_memory", what)


def _to_be_retried(trial: Trial, record: Record) -> Trial | None:
    """The trial with half the rows at a time, where the config allows it and fewer rows would help."""
    return _smaller(trial) if would_retry(trial.config, record, trial.place.workers) else None


def would_retry(config: TrialConfig, record: Record, workers: int) -> bool:
    """Whether a trial that ended so is to be tried once more with half the rows."""
    again = config.train.retry_out_of_memory and record.retried_batch_size is None
    return again and record.out_of_memory_in in ("forward", "backward") and config.halved(workers) is not None


def _smaller(trial: Trial) -> Trial | None:
    """The trial with half the rows at a time; ``None`` where that can't be."""
    halved = trial.config.halved(trial.place.workers)
    if halved is None:
        return None
    kept = ("started_at", "out_of_memory_in")
    facts = {name: value for name, value in trial.facts.items() if name in kept}
    facts["retried_batch_size"] = halved.train.batch_size
    return Trial(trial.asked, halved, trial.place, trial.control, facts)


def _clear_checkpoints(config: TrialConfig, folder: Path, record: Record) -> None:
    """Removes checkpoints that only served to resume, once there is nothing to resume."""
    if config.train.save_steps is None and record.status in ("done", "stopped"):
        for path in folder.glob("checkpoint-*"):
            shutil.rmtree(path)


def end_trial(config: TrialConfig, place: Place, status: Status, error: str) -> Record:
    """The record of a trial that could not even say what befell it; written and returned."""
    record = Trial(config, config, place, Alone()).record(status, error)
    write_record(place.folder(config), record)
    return record


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's own error on a GPU, an allocation that failed on a CPU."""
    said = ("can't allocate memory", "cannot allocate memory")  # torch's allocator, the system
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        s in str(error).lower() for s in said
    )


def _run(trial: Trial, evaluate_at: frozenset[int]) -> Status:
    config = trial.config
    clean_process()
    set_seed(config.train.seed)
    rows = data.load(config.data, config.stage.needs)
    tokenizer = tokenizer_of(config)
    policy = attach(load_base(config, starts.weights(config.model, trial.place.run)), tokenizer, config)
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
        "rope": rope.applied(policy.causal.config) if config.model.rope else None,
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


def _train(trial: Trial, policy: Policy, rows: data.Data, evaluate_at: frozenset[int]) -> Status:
    config, train = trial.config, trial.config.train
    steps = config.stage.steps(policy.tokenizer, rows.train, train, config.data.cutoff)
    options = arguments(train, steps, trial.folder, trial.place.workers, policy.device)
    trainer = config.stage.trainer(policy, rows.train, train, config.data.cutoff, options)
    trainable = [p for p in policy.model.parameters() if p.requires_grad]
    trial.facts["trainable_params"] = sum(p.numel() for p in trainable)
    trial.facts["padding_share"] = trainer.padding_share  # type: ignore[attr-defined]
    trial.facts["reference_bytes"] = reference.copied_bytes(policy)
    if policy.blueprint is not None:
        sharded_checkpoint.own(trainer, policy.model)
    _own_optimizer(trainer, config, policy)
    resumed = last_checkpoint(trial.folder, partial(sharded_checkpoint.is_ours, policy.blueprint is not None))
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


def _objective(trial: Trial, policy: Policy, rows: data.Data) -> dict[str, float]:
    with trial.phases.during("eval"), sharding.scored(policy) as scored:
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


def _score(trial: Trial, policy: Policy, rows: data.Data, quality_name: str) -> None:
    started = time.perf_counter()
    config = trial.config
    if config.method is None:
        values = _objective(trial, policy, rows)
        trial.facts["objective"] = finite("objective on the validation rows", values["objective"])
    with sharding.scored(policy) as scored:
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
    saved = sharding.whole(policy)
    if saved is None:
        return
    with saved.evaluating(), files.atomic_folder(trial.folder / "model") as folder:
        trial.config.method.save(saved.model, saved.tokenizer, folder, saved.dtypes.frozen)
    weights = (trial.folder / "model").glob("*.safetensors")
    trial.facts["artifact_bytes"] = sum(path.stat().st_size for path in weights)


def _with_memory(trial: Trial, status: Status, measuring: Measures | None) -> Record:
    if measuring is None or status == "interrupted" or not first_rank():
        return trial.record(status)
    shape = trial.config.memory_shape(trial.place.workers)
    trial.facts["memory_shape"] = shape
    try:
        found = once(trial.place.run / "memory" / f"{shape}.json", lambda: _measured(trial, measuring))
    except MeasuringFailed as error:
        if error.told_to_end:
            return trial.record("interrupted", "it was ended while its memory was measured")
        trial.facts |= {"out_of_memory_in": error.phase} if error.phase else {}
        return trial.record(
            "out_of_memory" if error.out_of_memory else "failed", f"measuring memory: {error}"
        )
    trial.facts |= {name: value for name, value in found.items() if name in Record.model_fields}
    return trial.record(status)


def _measured(trial: Trial, measuring: Measures) -> dict[str, Any]:
    return {"memory_trial": trial.asked.trial_id(), **measuring.measure(trial.config)}


def once(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON at ``path``; made and written first if it isn't there. The first to write it is believed."""
    if not path.exists():
        made = make()
        if not path.exists():
            files.write_json(path, made)
    return json.loads(path.read_text(encoding="utf-8"))


def count_quantized(model: torch.nn.Module) -> int:
    """How many layers are held in few bits, by any quantizer."""
    return sum(any(q.is_quantized(module) for q in QUANTIZERS.values()) for module in model.modules())


def count_parameters(model: torch.nn.Module) -> int:
    """All parameters; a quantized weight counts as what it stands for, a tied one once."""
    found = {id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        for quantizer in QUANTIZERS.values():
            if quantizer.is_quantized(module):
                found[id(next(module.parameters()))] = quantizer.weights(module)
    return sum(found.values())
