"""QLoRA: LoRA on a quantized base (Dettmers et al., 2023, arXiv:2305.14314), with any of the quantizers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from trainables.methods import inspection
from trainables.methods.footprint import Footprint
from trainables.methods.lora import INITS_FROM_BASE_WEIGHTS, LoRA
from trainables.methods.weight_shares import left_out, weight_shares
from trainables.models.architecture.blueprint import blueprint
from trainables.models.folder import ends_in
from trainables.quantizers import QUANTIZERS, Quantizer, check_quantized
from trainables.quantizers.base import QuantizationFailed, share_problem
from trainables.quantizers.kept_layers import kept_layers

if TYPE_CHECKING:
    from torch import nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes


class QLoRA(LoRA):
    """LoRA with the base's linear layers in ``bits``, by ``backend``: bitsandbytes (4, 8), HQQ (1 to 8) or EETQ (8).

    ``quant_type`` and ``double_quant`` belong to bitsandbytes with 4 bits, ``int8_threshold`` to bitsandbytes with 8:
    inputs beyond it are multiplied in 16 bits (6 in the paper, 0 for none). ``group_size``: weights per scale of HQQ.
    """

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    backend: Literal["bnb", "hqq", "eetq"] = "bnb"
    bits: Literal[1, 2, 3, 4, 5, 6, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    int8_threshold: float = Field(default=6.0, ge=0)
    group_size: int = Field(default=64, ge=8, multiple_of=8)

    sharding_obstacle: ClassVar[str | None] = "quantized weights can't be sharded"
    base_form_settings: ClassVar[tuple[str, ...]] = (
        "backend", "bits", "quant_type", "double_quant", "int8_threshold", "group_size",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_settings(self) -> QLoRA:
        if self.init in INITS_FROM_BASE_WEIGHTS:
            raise ValueError(
                f"init: {self.init} takes the adapter's start out of the base's weights, which isn't possible with a "
                "quantized base; use init: default or method lora"
            )
        if self.bits not in self.quantizer.bits:
            supported = " or ".join(map(str, self.quantizer.bits))
            raise ValueError(
                f"bits: {self.backend} has {supported} bits, not {self.bits}. Write backend: hqq, which has 1 to "
                "6 and 8"
            )
        for name, other in QUANTIZERS.items():
            for key in other.exclusive_settings if name != self.backend else ():
                # The backend would ignore such a setting, and two trials would differ in their ids alone.
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is a setting of {name}, and the backend is {self.backend}")
        return self

    @property
    def quantizer(self) -> Quantizer:
        return QUANTIZERS[self.backend]

    @property
    def label(self) -> str:
        return self.name or f"qlora-{self.quantizer.label(self)}"

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        yield from super().problems(architecture)
        if (problem := self._share_problem(architecture)) is not None:
            yield "bits", problem
        # What stands in a numbered layer is quantized; embeddings and heads aren't.
        quantized = [module for module in architecture.matrices if any(map(str.isdigit, module.split(".")))]
        for name in self.modules_to_save:
            if any(ends_in(module, name) for module in quantized):
                yield (
                    "modules_to_save",
                    f"{name} is quantized, so it can't train itself; give it an adapter (targets)",
                )

    def _share_problem(self, architecture: Architecture) -> str | None:
        """Why the model can't be called quantized; ``None`` where it can."""
        if architecture.plain:
            return None
        form = {name: getattr(self, name) for name in self.base_form_settings}
        return _quantization_problem(QLoRA(**form), json.dumps(architecture.config))

    def remarks(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        yield from super().remarks(architecture)
        found = inspection.inspect(self, architecture)
        if found is None or self._share_problem(architecture) is not None:
            return
        shares = weight_shares(inspection.quantizable(found.weights))
        if (whole := left_out(shares, "quantized")) is not None:
            yield "bits", f"{whole} stays in 16 bits"

    def footprint(self, shape: DecoderShape) -> Footprint:
        return replace(
            super().footprint(shape),
            linear_bytes=self.quantizer.bytes_per_weight(self, shape),
            constant_bytes=self.quantizer.constants_per_weight(self, shape),
            holds_inputs=self.quantizer.holds_inputs(self),
        )

    def without_effect(self) -> Iterator[tuple[str, str]]:
        for key in self.quantizer.unused_settings(self):
            yield key, f"{self.backend} doesn't use it with {self.bits} bits"

    def needs(self) -> Iterator[tuple[str, str]]:
        yield "backend", self.quantizer.capability(self)

    def load_options(self, dtypes: Dtypes, config: Any = None) -> dict[str, Any]:
        return self.quantizer.load_options(self, dtypes, () if config is None else kept_layers(config))

    def prepare(self, model: nn.Module, dtypes: Dtypes) -> None:
        self.quantizer.quantize(self, model, dtypes)
        check_quantized(self.quantizer, model)

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        return self.quantizer.packed(module)


@lru_cache(maxsize=64)
def _quantization_problem(method: QLoRA, config: str) -> str | None:
    """Why a model with this ``config.json`` can't be quantized, found on one without values; ``None`` where it can."""
    from trainables.models.architecture.weight_reader import model_weights
    from trainables.models.precision import choose_dtypes

    model = blueprint(json.loads(config))
    if model is None:
        return None
    kept = kept_layers(model.config)
    try:
        if method.quantizer.replace_layers(method, model, choose_dtypes("bf16", "bfloat16"), kept):
            check_quantized(method.quantizer, model)
            return None
    except QuantizationFailed as error:
        return str(error)
    weights = inspection.quantizable(model_weights(model))
    return share_problem(weights, [weight for weight in weights if weight.packed])
