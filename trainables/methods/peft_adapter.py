"""Any other adapter of the installed PEFT, by the name of its type and its own options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from trainables.methods import (
    adalora,
    adapter_dtypes,
    adapter_targets,
    lora_targets,
    peft_inspection,
    peft_options,
    start_values,
    virtual_tokens,
)
from trainables.methods.base import cast_trainable
from trainables.methods.quantized_base import QuantizedBase
from trainables.methods.trained_weights import save_adapter
from trainables.quantizers.quantization import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from trainables.config.train import TrainConfig
    from trainables.methods.footprint import Footprint
    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes

DEFAULT = "default"
# Types that adapt something else than linear layers, which PEFT knows for each family of models.
NOT_OF_LINEAR_LAYERS = frozenset({"adaption_prompt", "ia3", "ln_tuning", "trainable_tokens"})
# Types with which the model is another one than the base before it is trained.
CHANGED_AT_START = peft_options.VIRTUAL_TOKENS | {"c3a", "fourierft", "unilora", "vblora"}
NORMS_ALONE = "ln_tuning"  # the type whose targets are norms; PEFT itself says which it can adapt
BIASES_ALONE = "beft"  # the type that adds to the biases of layers; where they have none, it can't be merged
QUANTIZING = frozenset(SETTINGS) - {"group_size"}  # settings; group_size is an option of road
# Types whose layers compute in 32 bits whatever the dtype of their weights.
IN_32_BITS = frozenset({"deft"})


class PeftAdapter(QuantizedBase):
    """An adapter of PEFT's ``type``: ``{kind: peft, type: ia3}``. All further keys are options of PEFT's config class
    for that type, by its names: ``{kind: peft, type: oft, oft_block_size: 32, r: 0}``.

    ``targets``: the modules with an adapter, as for ``lora``; by default all linear layers but the head, or what PEFT
    has for the model where the type adapts something else (``ia3``, ``ln_tuning``). ``bits``: the base's linear layers
    in 4 or 8 bits of bitsandbytes, with ``quant_type``, ``double_quant`` and ``int8_threshold`` as for ``qlora``; by
    default they are not quantized.
    """

    # The options are keys of their own, so that each can be searched and compared like any other setting.
    model_config = ConfigDict(extra="allow")

    kind: Literal["peft"] = "peft"
    type: str
    targets: Literal["default", "all-linear"] | str | tuple[str, ...] = DEFAULT
    backend: Literal["bnb"] = "bnb"
    bits: Literal[4, 8] | None = None
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    int8_threshold: float = Field(default=6.0, ge=0)

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 2e-3}
    saves_adapter: ClassVar[bool] = True

    @model_validator(mode="after")
    def _quantized_or_not(self) -> PeftAdapter:
        for name in sorted(QUANTIZING) if self.bits is None else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} says how a base is quantized: add bits: 4 or 8, or leave it out")
        return self

    @model_serializer(mode="wrap")
    def _without_what_quantizes_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Ids of trials whose base isn't quantized are those from before it could be."""
        written: dict[str, Any] = write(self)
        return {key: v for key, v in written.items() if self.bits is not None or key not in QUANTIZING}

    @property
    def label(self) -> str:
        quantized = f"-{self.quantization.quantizer.label(self.quantization)}" if self.quantization else ""
        return self.name or f"{self.type}{quantized}"

    @property
    def options(self) -> dict[str, Any]:
        """PEFT's own options."""
        return dict(self.model_extra or {})

    @property
    def adds_tokens(self) -> bool:
        return self.type in peft_options.VIRTUAL_TOKENS

    @property
    def added_tokens(self) -> int:
        count = self.options.get("num_virtual_tokens")
        return count if self.adds_tokens and isinstance(count, int) else 0

    @property
    def reference_stays(self) -> bool:
        return self.type not in CHANGED_AT_START and "modules_to_save" not in self.options

    @property
    def numbers_per_weight(self) -> int:
        return adalora.NUMBERS_PER_WEIGHT if self.type == adalora.NAME else 0

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        if (problem := peft_options.type_problem(self.type)) is not None:
            yield "type", problem
            return
        wrong = list(peft_options.option_problems(self.type, self.options))
        if not wrong:
            wrong = list(peft_options.missing_options(self.type, self.options))
        if not wrong and self.type == adalora.NAME:
            wrong = list(adalora.problems(self.options))
        yield from wrong
        if self.bits is not None and (problem := peft_options.bits_problem(self.type, self.bits)) is not None:
            yield "bits", problem
            return
        if self.targets != DEFAULT and self.adds_tokens:
            yield "targets", f"{self.type} adapts no modules; leave it out"
        elif self.targets != DEFAULT and self.type != NORMS_ALONE and not wrong:
            for what in lora_targets.target_problems(self.targets, self._trained_whole, architecture):
                wrong.append(("targets", what))
                yield "targets", what
        if not wrong:
            yield from self.quantization_problems(architecture, self._trained_whole)
            yield from self._attached(architecture).problems

    @property
    def _trained_whole(self) -> tuple[str, ...]:
        return tuple(self.options.get("modules_to_save") or ())

    def _attached(self, architecture: Architecture) -> peft_inspection.Attached:
        plain = self.model_copy(update={"name": None, "bits": None})
        return peft_inspection.attach_to_blueprint(plain, json.dumps(architecture.config), BIASES_ALONE)

    def merge_obstacle(self, architecture: Architecture | None) -> str | None:
        if self.type == BIASES_ALONE and architecture is not None:
            attached = self._attached(architecture)
            if attached.without_bias is not None:
                return f"{self.type} is merged into biases alone, and {attached.without_bias} has none"
        return peft_options.NOT_MERGED.get(self.type)

    @property
    def head_obstacle(self) -> str | None:
        return peft_options.head_obstacle(self.type)

    def training_obstacles(self, train: TrainConfig) -> Iterator[tuple[str, str]]:
        if self.bits is not None and train.sharding != "none":
            yield "sharding", "quantized weights can't be sharded; leave it out"
        if self.type == adalora.NAME:
            yield from adalora.obstacles(self.options, train)
        if not self.adds_tokens:
            return
        if train.packing is True:
            yield (
                "packing",
                f"each row begins with {self.type}'s virtual tokens, so rows can't be packed; leave it out",
            )
        if train.sharding != "none":
            yield "sharding", f"the virtual tokens of {self.type} can't be sharded; leave it out"
        if train.gradient_checkpointing and self.type == "prefix_tuning":
            what = "it computes layers again without the cache that prefix_tuning puts its virtual tokens in"
            yield "gradient_checkpointing", f"{what}; leave it out, or take prompt_tuning"

    def footprint(self, shape: DecoderShape) -> Footprint:
        from trainables.models.architecture.decoder_shape import MemoryNotPredictable

        raise MemoryNotPredictable(f"no formula covers {self.type}")

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        policy = self.attach_adapters(model)
        cast_trainable(policy, dtypes.trainable)
        adapter_dtypes.cast_buffers(policy, dtypes.frozen)
        if self.bits is not None:
            adapter_dtypes.keep_input_dtype(policy)
        if self.type not in IN_32_BITS:
            adapter_dtypes.leave_inputs(policy)
        return adalora.enter(policy, dtypes.frozen) if self.type == adalora.NAME else policy

    def attach_adapters(self, model: nn.Module) -> Any:
        """The model with its adapters. Raises ``ValueError`` and others of PEFT's for options that don't fit it."""
        from peft import get_peft_model

        options = adalora.with_unknown_steps(self.options) if self.type == adalora.NAME else self.options
        if head := lora_targets.head_beside_peft(model):
            options = {**options, "modules_to_save": [*self._trained_whole, *head]}
        task = lora_targets.peft_task(model)
        config = peft_options.config_class(self.type)(
            task_type=task, **self._target_modules(model), **options
        )
        start_values.stand_in(config, model)
        policy = get_peft_model(model, config)
        if self.type == "adaption_prompt":
            return virtual_tokens.follow_base(policy)
        return virtual_tokens.enter_decoder(policy) if self.adds_tokens else policy

    def _target_modules(self, model: nn.Module) -> dict[str, Any]:
        """PEFT's option ``target_modules``; nothing where PEFT shall take its own for the model."""
        from trainables.models.architecture.text_path import text_weights

        targets = self.targets
        if self.adds_tokens:
            return {}
        if targets == DEFAULT:
            if self.type in NOT_OF_LINEAR_LAYERS:
                return {}
            targets = lora_targets.ALL_LINEAR
        if targets != lora_targets.ALL_LINEAR:
            return {"target_modules": targets if isinstance(targets, str) else list(targets)}
        weights = text_weights(model, self._packed)
        modules = adapter_targets.adapter_targets(
            targets, weights, adapter_targets.refused_names(model)
        ).modules
        return {"target_modules": list(modules)}

    def callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        return [adalora.schedule(model, self.options)] if self.type == adalora.NAME else []

    def heaviest_callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        return [adalora.schedule(model, self.options, measured=True)] if self.type == adalora.NAME else []

    def add_gradients(self, model: nn.Module) -> None:
        if self.type == adalora.NAME:
            adalora.add_penalty_gradients(model)

    @contextmanager
    def reference(self, model: Any) -> Iterator[nn.Module]:
        with model.disable_adapter() if self.reference_stays else nullcontext():
            yield model

    def save(self, model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
        if self.adds_tokens:
            save_adapter(model, folder)
        elif self.type == adalora.NAME:
            adalora.save(model, folder, dtype)
        else:
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
