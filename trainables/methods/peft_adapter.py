"""Any other adapter of the installed PEFT, by the name of its type and its own options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict

from trainables.methods import adapter_dtypes, adapter_targets, lora_targets, peft_options, virtual_tokens
from trainables.methods.base import FineTuning, cast_trainable, reward_head

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
NOT_OF_LINEAR_LAYERS = frozenset({"ia3", "ln_tuning", "trainable_tokens"})
# Types with which the model is another one than the base before it is trained.
CHANGED_AT_START = peft_options.VIRTUAL_TOKENS | {"c3a", "fourierft", "unilora", "vblora"}
BIASES_ALONE = "beft"  # the type that adds to the biases of layers; where they have none, it can't be merged
# Types whose layers compute in 32 bits whatever the dtype of their weights.
IN_32_BITS = frozenset({"deft"})


class PeftAdapter(FineTuning):
    """An adapter of PEFT's ``type``: ``{kind: peft, type: ia3}``. All further keys are options of PEFT's config class
    for that type, by its names: ``{kind: peft, type: oft, oft_block_size: 32, r: 0}``.

    ``targets``: the modules with an adapter, as for ``lora``; by default all linear layers but the head, or what PEFT
    has for the model where the type adapts something else (``ia3``, ``ln_tuning``).
    """

    # The options are keys of their own, so that each can be searched and compared like any other setting.
    model_config = ConfigDict(extra="allow")

    kind: Literal["peft"] = "peft"
    type: str
    targets: Literal["default", "all-linear"] | str | tuple[str, ...] = DEFAULT

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 2e-3}
    saves_adapter: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return self.name or self.type

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

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        if (problem := peft_options.type_problem(self.type)) is not None:
            yield "type", problem
            return
        wrong = list(peft_options.option_problems(self.type, self.options))
        yield from wrong
        if self.targets != DEFAULT and self.adds_tokens:
            yield "targets", f"{self.type} adapts no modules; leave it out"
        elif self.targets != DEFAULT and not wrong:
            trained_whole = tuple(self.options.get("modules_to_save") or ())
            for what in lora_targets.target_problems(self.targets, trained_whole, architecture):
                wrong.append(("targets", what))
                yield "targets", what
        if not wrong:
            yield from _attached(
                self.model_copy(update={"name": None}), json.dumps(architecture.config)
            ).problems

    def merge_obstacle(self, architecture: Architecture | None) -> str | None:
        if self.type == BIASES_ALONE and architecture is not None:
            attached = _attached(self.model_copy(update={"name": None}), json.dumps(architecture.config))
            if attached.without_bias is not None:
                return f"{self.type} is merged into biases alone, and {attached.without_bias} has none"
        return peft_options.NOT_MERGED.get(self.type)

    def training_obstacles(self, train: TrainConfig) -> Iterator[tuple[str, str]]:
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
        if self.type not in IN_32_BITS:
            adapter_dtypes.leave_inputs(policy)
        return policy

    def attach_adapters(self, model: nn.Module) -> Any:
        """The model with its adapters. Raises ``ValueError`` and others of PEFT's for options that don't fit it."""
        from peft import get_peft_model

        # With SEQ_CLS, PEFT trains and saves the reward head as it does `modules_to_save`.
        task = "CAUSAL_LM" if reward_head(model) is None else "SEQ_CLS"
        config = peft_options.config_class(self.type)(
            task_type=task, **self._target_modules(model), **self.options
        )
        policy = get_peft_model(model, config)
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
        weights = text_weights(model)
        modules = adapter_targets.adapter_targets(
            targets, weights, adapter_targets.refused_names(model)
        ).modules
        return {"target_modules": list(modules)}

    @contextmanager
    def reference(self, model: Any) -> Iterator[nn.Module]:
        if not self.reference_stays:
            yield model
            return
        with model.disable_adapter():
            yield model

    def save(self, model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
        if self.adds_tokens:
            virtual_tokens.save_adapter(model, folder)
        else:
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Attached:
    """What PEFT says against a method's options for a model, by the setting. ``without_bias``: of the type that adapts
    biases, the first module with an adapter that has none.
    """

    problems: tuple[tuple[str, str], ...] = ()
    without_bias: str | None = None


def _attached(method: PeftAdapter, config: str) -> Attached:
    return _attach_to_blueprint(method.model_dump_json(), config)


@lru_cache(maxsize=256)
def _attach_to_blueprint(method: str, config: str) -> Attached:
    """Attaches the adapters to a model without values: block sizes, for one, have to divide those of its layers."""
    import torch

    from trainables.models.architecture.blueprint import blueprint

    adapter = PeftAdapter.model_validate_json(method)
    model = blueprint(json.loads(config))
    if model is None:
        return Attached()
    try:
        with torch.device("meta"):
            policy = adapter.attach_adapters(model)
            return Attached(without_bias=_without_bias(policy) if adapter.type == BIASES_ALONE else None)
    except (ValueError, TypeError, AssertionError, ArithmeticError, LookupError, AttributeError) as error:
        return Attached((("type", f"PEFT refuses these options for this model: {_first_line(error)}"),))
    except (
        NotImplementedError,
        RuntimeError,
    ):  # it computes its start from the base's values, which are not there
        return Attached()


def _without_bias(model: nn.Module) -> str | None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    return next((name for name, layer in layers.items() if layer.get_base_layer().bias is None), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
