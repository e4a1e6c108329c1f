"""How LLaMA-Factory's settings are carried over; its names and defaults are those of version 0.9.5 (``hparams``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
from sweeps.drafting.foreign.template_names import template_rule
from sweeps.drafting.foreign.trainer_rules import ATTENTION, COMMON, COMPUTED, SPLIT_NOTE, patience

STAGES = {"sft": "sft", "pt": "pretrain", "rm": "reward", "ppo": "ppo", "dpo": "dpo", "kto": "kto"}
LOSSES = {"sigmoid": None, "hinge": "hinge", "ipo": "ipo", "orpo": None, "simpo": None}
ROPE = {name: name for name in ("linear", "dynamic", "yarn", "llama3")}
BACKENDS = {"bnb": None, "bitsandbytes": None, "hqq": "hqq", "eetq": "eetq"}
IMAGES = "only texts are trained on"
REWARD = (
    "a reward model of LLaMA-Factory can't be read: train one here with a stage reward, and give it as reward: "
    "{from: reward} or {from: RUN:CELL}"
)


def stage(values: Values, _: str | None) -> str | None:
    """The kind of stage; preference losses without a reference policy are stages of their own."""
    kind = STAGES.get(str(values.get("stage", "sft")))
    loss = str(values.get("pref_loss", "sigmoid"))
    return loss if kind == "dpo" and loss in ("orpo", "simpo") else kind


def method(values: Values) -> str | None:
    """The kind of method; an adapter on a quantized base is one of its own."""
    kind = str(values.get("finetuning_type", "lora"))
    if kind == "lora" and values.get("quantization_bit"):
        return "qlora"
    return kind if kind in ("lora", "freeze", "full") else None


def defaults(values: Values, stage: str, method: str) -> Mapping[str, Any]:
    """What it does where a file doesn't say it, as far as a spec's own default is another."""
    common: dict[str, Any] = {"cutoff_len": 2048, "learning_rate": 5e-5}
    if not (isinstance(steps := values.get("max_steps"), int) and steps > 0):
        common["num_train_epochs"] = 3.0
    if stage == "pretrain":
        common["packing"] = True
    if stage == "simpo":
        common |= {"pref_beta": 0.1, "simpo_gamma": 0.5}
    if stage == "ppo":
        common |= {"max_new_tokens": 1024, "temperature": 0.95, "ppo_target": 6.0}
    return common


def _stage(value: Any, values: Values) -> Iterator[Outcome]:
    if str(value) not in STAGES:
        yield Dropped(f"here there are {', '.join(STAGES.values())}")


def _finetuning_type(value: Any, values: Values) -> Iterator[Outcome]:
    if method(values) is None:
        yield Dropped("here there are full, freeze, lora and qlora")


def _validation(value: Any, values: Values) -> Iterator[Outcome]:
    """A share, or a number of rows."""
    if not isinstance(value, int | float) or not value:
        return
    if value < 1:
        yield Kept("data", "eval_fraction", value, SPLIT_NOTE)
    else:
        yield Kept("data", "eval_count", max(2, int(value)), SPLIT_NOTE)


def _packing(value: Any, values: Values) -> Iterator[Outcome]:
    if not is_on(value):
        return
    if stage(values, None) == "pretrain":
        yield Kept("train", "packing", "stream", "texts are one stream of tokens")
    elif not is_on(values.get("neat_packing")):
        yield Kept("train", "packing", True, "rows of one pack don't see one another here")


def _freeze_layers(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("method", "layers", abs(int(value)))
    if int(value) < 0:
        yield Kept("method", "end", "first")


def _pissa(value: Any, values: Values) -> Iterator[Outcome]:
    if is_on(value):
        if method(values) == "qlora":
            yield Dropped(
                "PiSSA takes its start from the base's weights, which a quantized base doesn't have"
            )
        else:
            yield Kept("method", "init", "pissa")


def _trust(value: Any, values: Values) -> Iterator[Outcome]:
    if is_on(value):
        yield Kept(
            "model",
            "unsafe",
            ["remote_code"],
            "allows code of the model to run; few models need it",
            active=False,
        )


def _special_tokens(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("data", "special_tokens", "text" if is_on(value) else "keep")


def _weights(value: Any, values: Values) -> Iterator[Outcome]:
    yield Kept("data", "weights", [float(each) for each in as_list(value)])


def _folder(value: Any, values: Values) -> Iterator[Outcome]:
    yield from ()  # the data sets are looked for there


RULES: Mapping[str, Rule] = {
    **COMMON,
    "stage": _stage,
    "finetuning_type": _finetuning_type,
    # The names of the model and of the data are resolved where the folders are known.
    **dict.fromkeys(
        ("model_name_or_path", "model_revision", "dataset", "eval_dataset", "dataset_dir"), _folder
    ),
    "trust_remote_code": _trust,
    "rope_scaling": one_of("model", "rope", ROPE),
    "flash_attn": one_of("model", "attention", ATTENTION),
    "enable_liger_kernel": flag("model", "kernels", "liger"),
    "use_unsloth_gc": no_counterpart("train.gradient_checkpointing is transformers' own"),
    "moe_aux_loss_coef": number("train", "router_aux_loss"),
    "disable_gradient_checkpointing": lambda value, _: (
        [Kept("train", "gradient_checkpointing", False)] if is_on(value) else []
    ),
    "pure_bf16": flag("train", "precision", "pure_bf16"),
    "quantization_bit": number("method", "bits"),
    "quantization_method": one_of("method", "backend", BACKENDS),
    "quantization_type": same("method", "quant_type"),
    "double_quantization": lambda value, _: [Kept("method", "double_quant", is_on(value))],
    "split_special_tokens": _special_tokens,
    "resize_vocab": no_counterpart("tokens without an embedding get one by themselves"),
    "add_tokens": no_counterpart("add them to the model's tokenizer first"),
    "add_special_tokens": no_counterpart("add them to the model's tokenizer first"),
    "adapter_name_or_path": no_counterpart(
        "merge the adapter into its model first, or give a trial of Paretune in model.from"
    ),
    "shift_attn": no_counterpart("attention is as the model has it"),
    "mixture_of_depths": no_counterpart("layers are as the model has them"),
    "upcast_layernorm": no_counterpart("train.precision decides"),
    "template": template_rule,
    "cutoff_len": number("data", "cutoff"),
    "val_size": _validation,
    "max_samples": number("data", "max_samples"),
    "mix_strategy": one_of(
        "data",
        "mix",
        {"concat": None, "interleave_under": "interleave_under", "interleave_over": "interleave_over"},
    ),
    "interleave_probs": _weights,
    "packing": _packing,
    "neat_packing": flag("train", "packing", True),
    "tool_format": one_of(
        "data", "tool_format", {name: name for name in ("default", "qwen", "llama3", "mistral")}
    ),
    "default_system": same("data", "default_system"),
    "enable_thinking": no_counterpart(
        "data.thinking and data.template_arguments say how thoughts are written"
    ),
    "media_dir": no_counterpart(IMAGES),
    "image_max_pixels": no_counterpart(IMAGES),
    "video_max_pixels": no_counterpart(IMAGES),
    "streaming": no_counterpart("rows are read from disk as they are needed"),
    "overwrite_cache": no_counterpart(COMPUTED),
    "preprocessing_num_workers": no_counterpart(COMPUTED),
    "preprocessing_batch_size": no_counterpart(COMPUTED),
    "tokenized_path": no_counterpart(COMPUTED),
    "use_fast_tokenizer": no_counterpart(COMPUTED),
    "ignore_pad_token_for_loss": no_counterpart("padding never bears the loss"),
    "plot_loss": no_counterpart("the report has the curves"),
    "include_num_input_tokens_seen": no_counterpart("the record has the tokens"),
    "disable_shuffling": no_counterpart("the order of rows is drawn by train.seed"),
    "early_stopping_steps": patience,
    "train_on_prompt": flag("stage", "train_on_prompt"),
    "mask_history": flag("stage", "mask_history"),
    "pref_beta": number("stage", "beta"),
    "pref_loss": one_of("stage", "loss", LOSSES),
    "pref_ftx": no_counterpart("DPO has no supervised loss beside its own"),
    "ld_alpha": no_counterpart("LD-DPO is not there"),
    "dpo_label_smoothing": number("stage", "label_smoothing"),
    "simpo_gamma": number("stage", "gamma"),
    "kto_chosen_weight": number("stage", "desirable_weight"),
    "kto_rejected_weight": number("stage", "undesirable_weight"),
    "ref_model": no_counterpart("the reference is the policy before training, without a second model"),
    "reward_model": no_counterpart(REWARD),
    "reward_model_type": no_counterpart(REWARD),
    "ppo_epochs": number("stage", "epochs"),
    "ppo_target": number("stage", "kl_target"),
    "ppo_score_norm": flag("stage", "normalize_scores"),
    "ppo_whiten_rewards": flag("stage", "whiten_rewards"),
    "ppo_buffer_size": no_counterpart("a step's answers are one buffer"),
    "max_new_tokens": number("stage", "max_new_tokens"),
    "temperature": number("stage", "temperature"),
    "top_p": no_counterpart("answers are drawn from all tokens"),
    "top_k": no_counterpart("answers are drawn from all tokens"),
    "lora_rank": number("method", "rank"),
    "lora_alpha": number("method", "alpha"),
    "lora_dropout": number("method", "dropout"),
    "lora_target": names("method", "targets", ("all", "all-linear"), "all-linear"),
    "additional_target": names("method", "modules_to_save"),
    "loraplus_lr_ratio": number("method", "loraplus_ratio"),
    "use_rslora": flag("method", "rslora"),
    "use_dora": flag("method", "dora"),
    "pissa_init": _pissa,
    "pissa_iter": no_counterpart("the singular values are computed exactly"),
    "pissa_convert": no_counterpart("paretune export merges the adapter"),
    "freeze_trainable_layers": _freeze_layers,
    "freeze_trainable_modules": names("method", "modules", ("all",)),
    "freeze_extra_modules": names("method", "modules"),
    **dict.fromkeys(
        (
            "use_galore",
            "use_apollo",
            "use_badam",
            "use_adam_mini",
            "use_muon",
            "use_llama_pro",
            "use_dft_loss",
        ),
        no_counterpart("this way of training is not there"),
    ),
    "lora_bias": no_counterpart("biases are trained by the method full or freeze alone"),
}
TABLE = Table(RULES, stage, method, defaults)
