"""Problems with what the user wrote: where each one is, what is wrong, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.system.suggestions import nearest

# LLaMA-Factory's setting names, and where each setting stands in a spec.
LLAMA_FACTORY_KEYS = {
    "model_name_or_path": "model.name or model.path",
    "quantization_bit": "methods[].bits (of qlora)",
    "quantization_method": "methods[].backend (of qlora)",
    "rope_scaling": "model.rope",
    "flash_attn": "model.attention",
    "attn_impl": "model.attention",
    "enable_liger_kernel": "model.kernels: liger",
    "use_liger_kernel": "model.kernels: liger",
    "use_unsloth": "model.kernels: unsloth",
    "trust_remote_code": "model.unsafe: [remote_code]",
    "quantization_type": "methods[].quant_type (of qlora)",
    "double_quantization": "methods[].double_quant (of qlora)",
    "dataset": "data.train",
    "dataset_dir": "data.folder",
    "eval_dataset": "data.eval",
    "mix_strategy": "data.mix",
    "interleave_probs": "data.weights",
    "enable_thinking": "data.template_arguments: {enable_thinking: ...}",
    "cutoff_len": "data.cutoff",
    "val_size": "data.eval_fraction",
    "max_samples": "data.max_samples",
    "finetuning_type": "methods[].kind",
    "lora_rank": "methods[].rank",
    "lora_alpha": "methods[].alpha",
    "lora_dropout": "methods[].dropout",
    "lora_target": "methods[].targets",
    "use_rslora": "methods[].rslora",
    "use_dora": "methods[].dora",
    "loraplus_lr_ratio": "methods[].loraplus_ratio",
    "pissa_init": "methods[].init: pissa",
    "additional_target": "methods[].modules_to_save",
    "freeze_trainable_layers": "methods[].layers",
    "freeze_trainable_modules": "methods[].modules",
    "adapter_name_or_path": "model.from",
    "stage": "stages[].kind",
    "pref_loss": "stages[].kind (dpo, orpo, simpo) or stages[].loss (of dpo)",
    "pref_beta": "stages[].beta",
    "dpo_label_smoothing": "stages[].label_smoothing",
    "simpo_gamma": "stages[].gamma (of simpo)",
    "kto_chosen_weight": "stages[].desirable_weight (of kto)",
    "kto_rejected_weight": "stages[].undesirable_weight (of kto)",
    "reward_model": "stages[].reward (of ppo)",
    "ppo_epochs": "stages[].epochs (of ppo)",
    "per_device_eval_batch_size": "stages[].eval_batch",
    "max_steps": "train.steps",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "lr": "train.learning_rate",
    "neat_packing": "train.packing",
    "disable_gradient_checkpointing": "train.gradient_checkpointing: false",
    "deepspeed": "train.sharding: fsdp",
    "fsdp": "train.sharding: fsdp",
    "lr_scheduler_type": "train.scheduler",
    "optim": "train.optimizer",
    "bf16": "train.precision: bf16",
    "fp16": "train.precision: fp16",
    "pure_bf16": "train.precision: pure_bf16",
    "output_dir": "the option --output",
    "report_to": "tracking.wandb",
    "run_name": "name",
}

# What YAML 1.2 (core schema) reads as a finite number, and as null, a boolean or another number.
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|0x[0-9a-fA-F]+")
OTHER = re.compile(r"~|null|Null|NULL|true|True|TRUE|false|False|FALSE|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; ``error=False`` makes it a warning.

    >>> print(Problem("methods.yaml:9", "methods[1].rank", "int needs low < high, got low=64, high=8"))
    methods.yaml:9 methods[1].rank: int needs low < high, got low=64, high=8
    """

    where: str  # file:line, or the command-line option that the value came from
    path: str
    what: str
    error: bool = True
    line: int = field(default=0, compare=False)  # to list problems in the order of the file

    def __str__(self) -> str:
        # `--set methods[1].rank` already names the path.
        named = not self.path or self.where.endswith(f" {self.path}")
        return f"{self.where}: {self.what}" if named else f"{self.where} {self.path}: {self.what}"


class SpecError(Exception):
    """What the user wrote can't be used; ``problems`` holds every reason."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.args

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def unknown_key_message(key: str, allowed: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """The message for an unknown key. ``elsewhere`` maps keys to the parts of a spec where they belong."""
    allowed = list(allowed)
    # A key that is known elsewhere in full says more than one that is merely similar to an allowed key.
    place = LLAMA_FACTORY_KEYS.get(key) or (elsewhere or {}).get(key) or nearest(key, allowed)
    suggestion = f". Did you mean {place}?" if place else ""
    return f"unknown key; allowed: {', '.join(allowed)}{suggestion}"


def unique(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, in the order of the file: one mistake in a spec shows up in many cells."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def format_value(value: Any) -> str:
    """A value in YAML's flow style; a text is in quotes where it would be read as something else without them.

    >>> format_value({"choice": [True, None, "all-linear", 8, "8"]})
    '{choice: [true, null, all-linear, 8, "8"]}'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format_item, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_format_item(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and (reads_as_other(value) or value != value.strip()):
        return f'"{value}"'
    return str(value) or "''"


def _format_item(value: Any) -> str:
    # Inside a list "a, b" would look like two texts.
    return f'"{value}"' if isinstance(value, str) and set(value) & set(",[]{}") else format_value(value)


def reads_as_other(text: str) -> bool:
    """Whether YAML reads a text as a number, a boolean or null if it isn't in quotes."""
    return reads_as_number(text) or OTHER.fullmatch(text) is not None


def reads_as_number(text: str) -> bool:
    """Whether YAML reads a text as a finite number if it isn't in quotes."""
    return NUMBER.fullmatch(text) is not None
