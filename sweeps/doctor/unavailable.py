"""Which values of a spec's settings can't work on a machine, by what the doctor found: a form shows them as such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.system.capabilities import Capability


@dataclass(frozen=True)
class Values:
    """Some values of a setting, ``None`` for all but its default; ``when``: beside which other settings."""

    setting: str
    values: tuple[Any, ...] | None
    when: Mapping[str, Any] = field(default_factory=dict)


# By the name of the capability that they need.
NEEDED_FOR: Mapping[str, tuple[Values, ...]] = {
    "bitsandbytes 4-bit": (Values("methods[].backend", ("bnb",), {"bits": 4}),),
    "bitsandbytes 8-bit": (Values("methods[].backend", ("bnb",), {"bits": 8}),),
    "hqq": (Values("methods[].backend", ("hqq",)),),
    "eetq": (Values("methods[].backend", ("eetq",)),),
    "sdpa": (Values("model.attention", ("sdpa",)),),
    "flash_attention_2": (Values("model.attention", ("flash_attention_2",)),),
    "flash_attention_3": (Values("model.attention", ("flash_attention_3",)),),
    "liger": (Values("model.kernels", ("liger",)),),
    "unsloth": (Values("model.kernels", ("unsloth",)),),
    "compiler": (Values("train.compile", ("on",)),),
    "bf16": (Values("train.precision", ("bf16", "pure_bf16")),),
    "fp16": (Values("train.precision", ("fp16",)),),
    "schedulefree": (Values("train.optimizer", ("schedule_free",)),),
    "torch-optimi": (Values("train.optimizer", ("stable_adamw",)),),
    "cmaes": (Values("search.sampler", ("cmaes",)),),
    "wandb": (Values("tracking.wandb", ("auto", "offline", "online")),),
    "W&B login": (Values("tracking.wandb", ("online",)),),
    "W&B server": (Values("tracking.wandb", ("online",)),),
    "mlflow": (Values("tracking.mlflow", None),),
    "swanlab": (Values("tracking.swanlab", ("offline",)),),
    "trackio": (Values("tracking.trackio", ("local",)),),
}


def unavailable_values(capabilities: Iterable[Capability]) -> Iterator[dict[str, Any]]:
    """The values that need what a machine lacks, each with the reason."""
    for capability in capabilities:
        for each in () if capability.works else NEEDED_FOR.get(capability.name, ()):
            values = None if each.values is None else list(each.values)
            where = {"setting": each.setting, "values": values, "when": dict(each.when)}
            yield {**where, "capability": capability.name, "reason": capability.detail}
