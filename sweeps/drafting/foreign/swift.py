"""How ms-swift's settings are carried over; its names and defaults are those of version 3.11, and older names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sweeps.drafting.foreign import swift_rewards
from sweeps.drafting.foreign.carry_over import (
    Dropped,
    Kept,
    Outcome,
    Rule,
    Table,
    Values,
    as_list,
    flag,
    is_on,
    names,
    no_counterpart,
    number,
    one_of,
    same,
)
from sweeps.drafting.foreign.llama_factory import BACKENDS, IMAGES, ROPE
from sweeps.drafting.foreign.template_names import template_rule
from sweeps.drafting.foreign.trainer_rules import ATTENTION, COMMON, COMPUTED, SPLIT_NOTE, patience

# What `swift rlhf` can be told to do; others have no counterpart.
RLHF = {
    **{kind: kind for kind in ("dpo", "orpo", "simpo", "kto", "ppo", "grpo")},
    "rm": "reward",
}
STAGES = {"sft": "sft", "pt": "pretrain"}
DTYPES = {
    **{name: name for name in ("bfloat16", "float16", "float32")},
    "bf16": "bfloat16", "fp16": "float16", "fp32": "float32",
}  # fmt: skip
INITS = {"true": None, "default": None, "gaussian": "gaussian", "pissa": "pissa", "olora": "olora"}
LOSSES = {"sigmoid": None, "hinge": "hinge", "ipo": "ipo", "robust": "robust"}
# The columns that it calls otherwise.
PARTS = {"query": "prompt", "rejected_response": "rejected", "response": "response", "label": "kto_tag"}
ROWS_PER_STEP = 16  # that it accumulates where a file doesn't say how many passes
METHOD_KEYS = ("tuner_type", "train_type", "sft_type")


def stage(values: Values, command: str | None) -> str | None:
    """The kind of stage, by the command (``swift rlhf``) and what that is told to do."""
    if command == "rlhf" or (command is None and "rlhf_type" in values):
        return RLHF.get(str(values.get("rlhf_type", "dpo")))
    return STAGES.get(command or "sft")


def _tuner(values: Values) -> str:
    return str(next((values[key] for key in METHOD_KEYS if key in values), "lora"))


def method(values: Values) -> str | None:
    """The kind of method; an adapter on a quantized base is one of its own."""
    kind = _tuner(values)
    if kind == "lora" and (values.get("quant_bits") or values.get("quantization_bit")):
        return "qlora"
    return kind if kind in ("lora", "full") else None


def defaults(values: Values, stage: str, method: str) -> Mapping[str, Any]:
    """What it does where a file doesn't say it, as far as a spec's own default is another."""
    rows = values.get("per_device_train_batch_size", 1)
    passes = math.ceil(ROWS_PER_STEP / rows) if isinstance(rows, int) and rows > 0 else 1
    found: dict[str, Any] = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": passes,
        "learning_rate": 1e-5 if method == "full" else 1e-4,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.1,
    }
    if not (isinstance(steps := values.get("max_steps"), int) and steps > 0):
        found["num_train_epochs"] = 3.0
    if method in ("lora", "qlora"):
        found |= {"lora_alpha": 32, "lora_dropout": 0.05}
    found |= swift_rewards.defaults(values, stage)
    return found


def _tuner_type(value: Any, values: Values) -> Iterator[Outcome]:
    if method(values) is None:
        yield Dropped("here there are full, freeze, lora and qlora")


def _rlhf_type(value: Any, values: Values) -> Iterator[Outcome]:
    if str(value) not in RLHF:
        yield Dropped(f"here there are {', '.join(dict.fromkeys(RLHF.values()))}")


def _backend(value: Any, values: Values) -> Iterator[Outcome]:
    if str(value) == "unsloth":
        yield Kept("model", "kernels", "unsloth")


def _loss_type(value: Any, values: Values) -> Iterator[Outcome]:
    rule: Rule = swift_rewards.loss if swift_rewards.is_grpo(values) else one_of("stage", "loss", LOSSES)
    yield from rule(value, values)


def _columns(value: Any, values: Values) -> Iterator[Outcome]:
    """Its columns are from the file's name to the part's, and a spec's the other way round."""
    try:
        given = value if isinstance(value, dict) else json.loads(str(value))
        columns = {PARTS.get(str(part), str(part)): str(column) for column, part in given.items()}
    except (ValueError, AttributeError):
        yield Dropped("not a JSON object of columns")
        return
    yield Kept("data", "columns", columns)


def _loss_scale(value: Any, values: Values) -> Iterator[Outcome]:
    if value == "last_round":
        yield Kept("stage", "mask_history", True)
    elif value == "all":
        yield Kept("stage", "train_on_prompt", True)
    elif value != "default":
        yield Dropped("all answers bear the same loss")


def _truncation(value: Any, values: Values) -> Iterator[Outcome]:
    yield Dropped(
        "rows that are too long are cut (data.cutoff): a prompt loses its middle, an answer its end"
    )


def _packing(value: Any, values: Values) -> Iterator[Outcome]:
    if is_on(value):
        yield Kept("train", "packing", True)


def _mix(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("data", "weights", [float(each) for each in as_list(value)])
    all_exhausted = values.get("stopping_strategy") == "all_exhausted"
    yield Kept("data", "mix", "interleave_over" if all_exhausted else "interleave_under")


def _system(value: Any, values: Values) -> Iterator[Outcome]:
    if str(value).endswith(".txt"):
        yield Dropped("put the text itself into data.default_system")
    else:
        yield Kept("data", "default_system", str(value))


def _split_ratio(value: Any, values: Values) -> Iterator[Outcome]:
    if isinstance(value, int | float) and 0 < value < 1:
        yield Kept("data", "eval_fraction", value, SPLIT_NOTE)


def _rope(value: Any, values: Values) -> Iterator[Outcome]:
    if isinstance(value, dict) and value.get("type") in ROPE:
        yield Kept("model", "rope", {"kind": value["type"], "factor": value.get("factor")})
    else:
        yield from one_of("model", "rope", ROPE)(value, values)


def _resolved(value: Any, values: Values) -> Iterator[Outcome]:
    yield from ()  # the names of the model and of the data are resolved where the folders are known


RULES: Mapping[str, Rule] = {
    **COMMON,
    **swift_rewards.RULES,
    **dict.fromkeys(METHOD_KEYS, _tuner_type),
    "rlhf_type": _rlhf_type,
    "tuner_backend": _backend,
    **dict.fromkeys(
        (
            "model",
            "model_id_or_path",
            "model_revision",
            "dataset",
            "val_dataset",
            "use_hf",
            "stopping_strategy",
        ),
        _resolved,
    ),
    "model_type": no_counterpart("the model's config.json says it"),
    "torch_dtype": one_of("model", "dtype", DTYPES),
    "attn_impl": one_of("model", "attention", ATTENTION),
    "rope_scaling": _rope,
    "max_model_len": no_counterpart("data.cutoff is what counts"),
    "use_liger_kernel": flag("model", "kernels", "liger"),
    "quant_method": one_of("method", "backend", BACKENDS),
    "quant_bits": number("method", "bits"),
    "quantization_bit": number("method", "bits"),
    "bnb_4bit_quant_type": same("method", "quant_type"),
    "bnb_4bit_use_double_quant": lambda value, _: [Kept("method", "double_quant", is_on(value))],
    "bnb_4bit_compute_dtype": no_counterpart("train.precision decides"),
    "router_aux_loss_coef": number("train", "router_aux_loss"),
    "split_dataset_ratio": _split_ratio,
    "data_seed": same("data", "sample_seed"),
    "interleave_prob": _mix,
    "columns": _columns,
    "strict": flag("data", "strict"),
    "template": template_rule,
    "system": _system,
    "max_length": number("data", "cutoff"),
    "truncation_strategy": _truncation,
    "packing": _packing,
    "padding_free": no_counterpart("train.packing joins rows without padding"),
    "agent_template": no_counterpart("the chat template writes tools, or data.tool_format"),
    "loss_scale": _loss_scale,
    "streaming": no_counterpart("rows are read from disk as they are needed"),
    "dataset_num_proc": no_counterpart(COMPUTED),
    "load_from_cache_file": no_counterpart(COMPUTED),
    "lazy_tokenize": no_counterpart(COMPUTED),
    "dataset_shuffle": no_counterpart("the order of rows is drawn by train.seed"),
    "model_author": no_counterpart("a row's placeholders are filled by data.variables"),
    "model_name": no_counterpart("a row's placeholders are filled by data.variables"),
    "max_pixels": no_counterpart(IMAGES),
    "freeze_vit": no_counterpart(IMAGES),
    "freeze_aligner": no_counterpart(IMAGES),
    "lora_rank": number("method", "rank"),
    "lora_alpha": number("method", "alpha"),
    "lora_dropout": number("method", "dropout"),
    "target_modules": names("method", "targets", ("all-linear", "ALL", "all"), "all-linear"),
    "target_regex": same("method", "targets"),
    "modules_to_save": names("method", "modules_to_save"),
    "use_dora": flag("method", "dora"),
    "use_rslora": flag("method", "rslora"),
    "lorap_lr_ratio": number("method", "loraplus_ratio"),
    "init_weights": one_of("method", "init", INITS),
    "lora_bias": no_counterpart("biases are trained by the method full alone"),
    "adapters": no_counterpart(
        "merge the adapter into its model first, or give a trial of Paretune in model.from"
    ),
    "beta": number("stage", "beta"),
    "label_smoothing": number("stage", "label_smoothing"),
    "loss_type": _loss_type,
    "simpo_gamma": number("stage", "gamma"),
    "cpo_alpha": no_counterpart("SimPO has no supervised loss beside its own"),
    "rpo_alpha": no_counterpart("DPO has no supervised loss beside its own"),
    "desirable_weight": number("stage", "desirable_weight"),
    "undesirable_weight": number("stage", "undesirable_weight"),
    "center_rewards_coefficient": number("stage", "center_rewards_coefficient"),
    "ref_model": no_counterpart("the reference is the policy before training, without a second model"),
    "early_stop_interval": patience,
    "logging_first_step": no_counterpart("curves begin with the first step"),
    "acc_strategy": no_counterpart("data.quality says by what answers are judged"),
    **dict.fromkeys(
        ("use_galore", "lisa_activated_layers", "enable_dft_loss", "llamapro_num_new_blocks"),
        no_counterpart("this way of training is not there"),
    ),
}
TABLE = Table(RULES, stage, method, defaults)
