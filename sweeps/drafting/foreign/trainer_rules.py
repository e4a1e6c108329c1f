"""How settings are carried over that both tools have from transformers' training arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from sweeps.drafting.foreign.carry_over import (
    Dropped,
    Kept,
    Outcome,
    Rule,
    Values,
    finite_number,
    flag,
    is_on,
    no_counterpart,
    number,
    one_of,
    same,
)
from sweeps.planning.checks.tracking import PACKAGES

SCHEDULERS = {name: name for name in ("linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt")}
OPTIMIZERS = {
    **dict.fromkeys(("adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf"), "adamw"),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit"), "adamw_8bit"),
    **dict.fromkeys(("paged_adamw", "paged_adamw_32bit"), "paged_adamw"),
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}
ATTENTION = {
    "auto": None,
    "sdpa": "sdpa",
    "eager": "eager",
    "disabled": "eager",
    **dict.fromkeys(("fa2", "flash_attn", "flash_attention_2", "flash_attn2"), "flash_attention_2"),
    **dict.fromkeys(("fa3", "flash_attention_3", "flash_attn3"), "flash_attention_3"),
}
# What each tracker beside W&B is set to. MLflow's address is in no configuration: a variable has it.
TRACKERS: Mapping[str, Any] = {
    "tensorboard": True,
    "mlflow": "http://127.0.0.1:5000",
    "swanlab": "offline",
    "trackio": "local",
}
ALWAYS = "a sweep always does that"
SAVED = "a trial keeps its last checkpoint and its model"
SPLIT_NOTE = "split into validation rows, which steer the search, and test rows"
COMPUTED = "rows are prepared once and kept; nothing has to be set"


def learning_rate(value: Any, values: Values) -> Iterator[Outcome]:
    """A range around the rate, since a sweep searches it; the first trial takes the rate itself."""
    rate = finite_number(value)
    low, high = (float(f"{rate * factor:.3g}") for factor in (0.1, 10))
    note = f"{rate:g} first; a tenth to ten times of it are searched"
    yield Kept("rate", "learning_rate", {"log": [low, high], "start": rate}, note)


def _steps(value: Any, values: Values) -> Iterator[Outcome]:
    if isinstance(value, int | float) and value > 0:
        yield Kept("train", "steps", int(value))


def _epochs(value: Any, values: Values) -> Iterator[Outcome]:
    steps = values.get("max_steps", -1)
    if isinstance(steps, int | float) and steps > 0:
        yield Dropped("max_steps says how long a trial is")
        return
    yield from number("train", "epochs")(value, values)


def _embedding_noise(value: Any, values: Values) -> Iterator[Outcome]:
    if value:
        yield from number("stage", "neftune_noise_alpha")(value, values)


def _norm(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("train", "max_grad_norm", value or None)


def _warmup_ratio(value: Any, values: Values) -> Iterator[Outcome]:
    if value and not values.get("warmup_steps"):
        yield from number("train", "warmup_ratio")(value, values)


def _warmup_steps(value: Any, values: Values) -> Iterator[Outcome]:
    if value:
        yield from number("train", "warmup_steps")(value, values)


def _report_to(value: Any, values: Values) -> Iterator[Outcome]:
    listed = [str(name).lower() for name in (value if isinstance(value, list) else [value])]
    others = [name for name in listed if name not in ("wandb", "all", "none", *TRACKERS)]
    if "wandb" in listed or "all" in listed:
        yield Kept("tracking", "wandb", "auto")
    elif not others:
        yield Kept("tracking", "wandb", "off")
    yield from (_tracker(name) for name in TRACKERS if name in listed)
    if others:
        yield Dropped(
            f"{', '.join(others)}: here there are W&B, TensorBoard, MLflow, SwanLab and Trackio (tracking), and the "
            "run's own report"
        )


def _tracker(name: str) -> Kept:
    """A tracker beside W&B; as a comment where its package is missing, or its address has to be filled in."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        return Kept("tracking", name, TRACKERS[name], f"pip install 'paretune[{name}]'", active=False)
    if name == "mlflow":
        return Kept("tracking", name, TRACKERS[name], "put your server's address here", active=False)
    return Kept("tracking", name, TRACKERS[name])


def _run_name(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("", "name", str(value))


def _sharding(value: Any, values: Values) -> Iterator[Outcome]:
    if value not in ("", "none", False, []):
        yield Kept("train", "sharding", "fsdp", "with several workers: resources: {workers: 2}", active=False)


def _save_steps(value: Any, values: Values) -> Iterator[Outcome]:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        yield Kept("train", "save_steps", value)
    else:
        yield Dropped("here it is a number of steps")


def _eval_steps(value: Any, values: Values) -> Iterator[Outcome]:
    strategy = str(values.get("eval_strategy", values.get("evaluation_strategy", ""))).lower()
    if strategy in ("no", "epoch"):
        return
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        yield Kept("train", "eval_steps", value)
    else:
        yield Dropped("here it is a number of steps")


def _validates(values: Values) -> bool:
    """Whether the number of steps between validations is carried over."""
    return any(isinstance(outcome, Kept) for outcome in _eval_steps(values.get("eval_steps"), values))


def patience(value: Any, values: Values) -> Iterator[Outcome]:
    """Early stopping after so many validations that are not better."""
    if not _validates(values):
        yield Dropped("train.early_stopping counts validations, and there is no number of steps between them")
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        yield Kept("train", "early_stopping", {"patience": value}, "validations in a row that are not better")
    else:
        yield Dropped("here it is a number of validations")


def _load_best(value: Any, values: Values) -> Iterator[Outcome]:
    if not is_on(value):
        return
    if _validates(values):
        yield Kept("train", "keep", "best", "by the objective on the validation rows")
    else:
        yield Dropped("train.keep: best needs validations, and there is no number of steps between them")


def _checkpointing(value: Any, values: Values) -> Iterable[Outcome]:
    return [Kept("train", "gradient_checkpointing", is_on(value))]


COMMON: Mapping[str, Rule] = {
    "learning_rate": learning_rate,
    "max_steps": _steps,
    "num_train_epochs": _epochs,
    "per_device_train_batch_size": number(
        "train", "batch_size", "of one device there, of all workers together here"
    ),
    "per_device_eval_batch_size": number("stage", "eval_batch"),
    "gradient_accumulation_steps": number("train", "gradient_accumulation"),
    "gradient_checkpointing": _checkpointing,
    "lr_scheduler_type": one_of("train", "scheduler", SCHEDULERS),
    "warmup_ratio": _warmup_ratio,
    "warmup_steps": _warmup_steps,
    "weight_decay": number("train", "weight_decay"),
    "max_grad_norm": _norm,
    "optim": one_of("train", "optimizer", OPTIMIZERS),
    "bf16": flag("train", "precision", "bf16"),
    "fp16": flag("train", "precision", "fp16"),
    "logging_steps": number("train", "logging_steps"),
    "save_steps": _save_steps,
    "eval_steps": _eval_steps,
    "seed": same("train", "seed"),
    "group_by_length": flag("train", "group_by_length"),
    "predict_with_generate": flag("stage", "predict_with_generate"),
    "report_to": _report_to,
    "run_name": _run_name,
    "deepspeed": _sharding,
    "fsdp": _sharding,
    "output_dir": no_counterpart("a run's folder is runs/NAME; --output of paretune run puts it elsewhere"),
    "logging_dir": no_counterpart("curves are in the run's folder"),
    "overwrite_output_dir": no_counterpart("nothing is overwritten: --resume goes on with a run"),
    "resume_from_checkpoint": no_counterpart("paretune run --resume goes on with a run"),
    "save_strategy": no_counterpart(SAVED),
    "save_total_limit": no_counterpart(SAVED),
    "save_only_model": no_counterpart(SAVED),
    "save_on_each_node": no_counterpart(SAVED),
    "load_best_model_at_end": _load_best,
    "metric_for_best_model": no_counterpart("data.quality and the validation rows decide"),
    "greater_is_better": no_counterpart("data.quality and the validation rows decide"),
    "eval_strategy": no_counterpart("train.eval_steps says when; every trial is scored at its end"),
    "evaluation_strategy": no_counterpart("train.eval_steps says when; every trial is scored at its end"),
    "do_eval": no_counterpart(ALWAYS),
    "do_predict": no_counterpart(ALWAYS),
    "do_train": no_counterpart(ALWAYS),
    "dataloader_num_workers": no_counterpart(COMPUTED),
    "dataloader_pin_memory": no_counterpart(COMPUTED),
    "dataloader_persistent_workers": no_counterpart(COMPUTED),
    "dataloader_prefetch_factor": no_counterpart(COMPUTED),
    "ddp_timeout": no_counterpart("resources.stall_seconds ends a worker that stands still"),
    "ddp_find_unused_parameters": no_counterpart("nothing has to be set for several workers"),
    "ddp_backend": no_counterpart("chosen by the devices"),
    "neftune_noise_alpha": _embedding_noise,
    "adam_beta1": no_counterpart("AdamW has its usual betas, 0.9 and 0.999"),
    "adam_beta2": no_counterpart("AdamW has its usual betas, 0.9 and 0.999"),
    "push_to_hub": no_counterpart("paretune export --push uploads a result"),
    "hub_model_id": no_counterpart("paretune export --push uploads a result"),
    "use_unsloth": flag("model", "kernels", "unsloth"),
    "tf32": no_counterpart("chosen by torch"),
    "remove_unused_columns": no_counterpart("columns that a stage doesn't read are never used"),
}
