"""LoRA: low-rank adapters train beside a frozen base (Hu et al., 2021, arXiv:2106.09685), through PEFT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trainables.config import limits
from trainables.methods import (
    adapter_dtypes,
    adapter_scope,
    adapter_targets,
    adapter_update,
    eva,
    frozen_weights,
    inspection,
    lora_targets,
)
from trainables.methods.base import FineTuning, cast_trainable
from trainables.methods.footprint import Footprint
from trainables.methods.plain_lora import save_as_plain_lora
from trainables.methods.weight_shares import left_out
from trainables.models.folder import ends_in

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from trainables.config.train import TrainConfig
    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes

# These initializations take the adapter's start out of the base's weights, and change the base so that the sum stays.
INITS_FROM_BASE_WEIGHTS = ("pissa", "olora")
# Those of PEFT that can't be compared here, and why.
REFUSED_INITS = {
    "corda": "it inverts a matrix of inputs x inputs for each layer, in 32 bits, which takes several times the model's "
    "memory; take eva, which looks at the same inputs",
    "loftq": "PEFT computes it on GPUs alone and then holds the base in 16 bits, so that it takes the memory of lora; "
    "take method qlora, or pissa",
}


class LoRA(FineTuning):
    """Adapters of ``rank``, scaled by ``alpha`` / rank (``alpha`` / sqrt(rank) with ``rslora``).

    ``targets``: the modules with an adapter, as a list of names, or as a regular expression for their full names.
    ``layers``: the decoder layers that are adapted, by their numbers from 0, or ``{first: n}`` or ``{last: n}``;
    ``exclude``: names of modules that get no adapter, nor anything in them. ``alpha`` defaults to twice the rank, and
    may be written as ``{times_rank: 2}``. ``frozen_a``: A stays as it was drawn and B alone trains (LoRA-FA, Zhang
    et al., 2023, arXiv:2308.03303). ``loraplus_ratio``: the learning rate of B divided by that of A
    (LoRA+, Hayou et al., 2024, arXiv:2402.12354). ``dora``: Liu et al., 2024, arXiv:2402.09353. ``rslora``:
    Kalajdzievski, 2023, arXiv:2312.03732. ``pissa``: Meng et al., 2024, arXiv:2404.02948. ``olora``:
    Büyükakyüz, 2024, arXiv:2406.01775. ``eva``: ``methods/eva.py``.
    """

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, limits.at_most(limits.RANK)] = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | str | tuple[str, ...] = "all-linear"
    layers: tuple[Annotated[int, Field(ge=0)], ...] | adapter_scope.EndLayers | None = None
    exclude: tuple[str, ...] = ()
    rslora: bool = False
    dora: bool = False
    frozen_a: bool = False
    loraplus_ratio: float | None = Field(default=None, ge=1)
    init: Literal["default", "gaussian", "pissa", "olora", "eva"] = "default"
    modules_to_save: tuple[str, ...] = ()

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 2e-3, "method.rank": 8, "method.alpha": 16}
    saves_adapter: ClassVar[bool] = True

    @field_validator("alpha", mode="before")
    @classmethod
    def _alpha_of_rank(cls, value: Any, info: ValidationInfo) -> Any:
        return adapter_scope.alpha_of_rank(value, info.data.get("rank"))

    @field_validator("init", mode="before")
    @classmethod
    def _init_is_there(cls, value: Any) -> Any:
        if isinstance(value, str) and value in REFUSED_INITS:
            raise ValueError(f"{value} is not there: {REFUSED_INITS[value]}")
        return value

    @model_validator(mode="after")
    def _a_trains_or_stays(self) -> LoRA:
        if self.frozen_a and self.loraplus_ratio is not None:
            raise ValueError(
                "loraplus_ratio compares the learning rates of A and B, and with frozen_a A does not train; leave one "
                "of them out"
            )
        return self

    @property
    def reference_stays(self) -> bool:
        # Without PiSSA's or OLoRA's adapter the model isn't the base: part of its weights is in the adapter.
        return self.init not in INITS_FROM_BASE_WEIGHTS and not self.modules_to_save

    @property
    def keeps_base(self) -> bool:
        return self.init not in INITS_FROM_BASE_WEIGHTS

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        wrong = list(adapter_scope.problems(self, architecture))
        yield from wrong
        # Without these settings PEFT says nothing about them in words of its own.
        method = self.model_copy(update={"layers": None, "exclude": ()}) if wrong else self
        found = inspection.inspect(method, architecture)
        if found is None:
            for what in lora_targets.target_problems(self.targets, self.modules_to_save, architecture):
                yield "targets", what
        else:
            yield from self._problems_with_experts(found, architecture)
        for what in lora_targets.saved_problems(self.modules_to_save, architecture):
            yield "modules_to_save", what

    def _problems_with_experts(
        self, found: inspection.Inspection, architecture: Architecture
    ) -> Iterator[tuple[str, str]]:
        unknown = inspection.unknown_names(self, found)
        for name in unknown:
            beside = any(ends_in(module, name) for module in architecture.matrices)
            what = f"text never reaches {name}" if beside else f"no module {name!r} in the model"
            yield "targets", f"{what}; {lora_targets.advice(architecture)}"
        # Without a known name PEFT finds nothing, and says so in words of its own.
        yield from (problem for problem in found.problems if not (unknown and problem[0] == "targets"))

    def remarks(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        found = inspection.inspect(self, architecture)
        if found is not None and (without := left_out(found.shares, "adapted")) is not None:
            yield "targets", f"{without} gets no adapter"

    def footprint(self, shape: DecoderShape) -> Footprint:
        self._check_predictable(shape)
        adapted = (name for name in shape.linear if self._adapts(name) and name not in self.exclude)
        return Footprint(rank=self.rank, adapted=frozenset(adapted))

    def _check_predictable(self, shape: DecoderShape) -> None:
        from trainables.models.architecture.decoder_shape import MemoryNotPredictable

        if self.dora:
            raise MemoryNotPredictable("DoRA's copies of whole weights in each step can't be predicted yet")
        if self.layers is not None or any(name not in shape.linear for name in self.exclude):
            raise MemoryNotPredictable("no formula covers adapters on some of the decoder's layers")
        if self.frozen_a:
            raise MemoryNotPredictable("no formula covers adapters of which only a part trains")
        if self.modules_to_save:
            raise MemoryNotPredictable(
                f"copies of {', '.join(self.modules_to_save)} that train can't be predicted yet"
            )
        if isinstance(self.targets, str) and self.targets != lora_targets.ALL_LINEAR:
            raise MemoryNotPredictable("adapters on what a pattern matches can't be predicted yet")
        targets = () if isinstance(self.targets, str) else self.targets
        others = [target for target in targets if target.rpartition(".")[2] not in shape.linear]
        if others:
            raise MemoryNotPredictable(f"adapters on {', '.join(others)} can't be predicted yet")

    def _adapts(self, name: str) -> bool:
        return isinstance(self.targets, str) or any(ends_in(t, name) for t in self.targets)

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        from peft import get_peft_model_state_dict

        policy = self.attach_adapters(model, dtypes, begun)
        if self.init in INITS_FROM_BASE_WEIGHTS:
            start = get_peft_model_state_dict(policy)
            # For `save`, which writes an adapter for the unchanged base: its start has to be subtracted.
            policy.adapter_at_start = {name: tensor.clone() for name, tensor in start.items()}
        return policy

    def attach_adapters(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> Any:
        """The model with its adapters; they add nothing yet. Raises ``ValueError`` where PEFT refuses ``targets``."""
        from peft import get_peft_model

        config = self._peft_config(model)
        if begun is not None:
            adapter_targets.take_targets(config, begun)
        policy: Any = get_peft_model(model, config)
        if lost := adapter_targets.lost_modules(policy):
            config = adapter_targets.without(config, policy, lost)
            policy = get_peft_model(policy.unload(), config)
        cast_trainable(policy, dtypes.trainable)
        if self.frozen_a:
            frozen_weights.freeze_a(policy, dtypes.frozen)
        adapter_dtypes.leave_inputs(policy)
        adapter_update.join_updates(policy)
        return policy

    def _peft_config(self, model: nn.Module) -> Any:
        from peft import LoraConfig

        from trainables.models.architecture.text_path import beside_text, text_weights

        config = LoraConfig(
            r=self.rank,
            lora_alpha=2 * self.rank if self.alpha is None else self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            init_lora_weights=True if self.init == "default" or self.init == "eva" else self.init,
            modules_to_save=[
                *lora_targets.full_names(self.modules_to_save, [name for name, _ in model.named_modules()]),
                *lora_targets.head_beside_peft(model),
            ]
            or None,
            task_type=lora_targets.peft_task(model),
        )
        weights = text_weights(model, self._packed)
        targets = adapter_targets.adapter_targets(self.targets, weights, adapter_targets.refused_names(model))
        chosen = adapter_scope.within(self, targets, model)
        lasting = adapter_targets.lasting_targets(chosen, config, model)
        by_name = chosen != targets or self.targets == lora_targets.ALL_LINEAR or lasting.parameters
        if by_name or beside_text(model.config):
            modules: str | list[str] = list(lasting.modules)
        else:  # names and patterns that PEFT understands in the same way
            modules = self.targets if isinstance(self.targets, str) else list(self.targets)
        return replace(config, target_modules=modules, target_parameters=list(lasting.parameters) or None)

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        """The weights that a module's packed parameters stand for; none in a base that isn't quantized."""
        return {}

    @property
    def examples_at_start(self) -> int:
        return eva.EXAMPLES if self.init == eva.NAME else 0

    def start_from(self, model: nn.Module, texts: Sequence[Sequence[int]]) -> None:
        eva.start_from_inputs(model, texts)

    def training_obstacles(self, train: TrainConfig) -> Iterator[tuple[str, str]]:
        if self.init == eva.NAME and train.sharding != "none":
            yield (
                "sharding",
                "eva's start can't be set in weights that are shared among workers; use init: default",
            )

    @contextmanager
    def reference(self, model: Any) -> Iterator[nn.Module]:
        if not self.reference_stays:
            yield model
            return
        with frozen_weights.keeping_frozen(model), model.disable_adapter():
            yield model

    def optimizer(
        self, model: nn.Module, cls: type[torch.optim.Optimizer], options: dict[str, Any]
    ) -> torch.optim.Optimizer | None:
        if self.loraplus_ratio is None:
            return None
        from peft.optimizers import create_loraplus_optimizer

        return create_loraplus_optimizer(
            model,  # type: ignore[arg-type]
            cls,
            loraplus_lr_ratio=self.loraplus_ratio,
            # LoRA+ takes the weight decay under a name of its own and sets it by parameter group.
            loraplus_weight_decay=options.pop("weight_decay", 0.0),
            **options,
        )

    def save(self, model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
        if self.init in INITS_FROM_BASE_WEIGHTS:
            save_as_plain_lora(model, folder, dtype)
        else:
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
