"""QLoRA: LoRA on a base held in 4 or 8 bits, by bitsandbytes (Dettmers et al., 2023, arXiv:2305.14314)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from trainables.methods.lora import TAKES_FROM_BASE, LoRA

if TYPE_CHECKING:
    from torch import nn

    from trainables.precision import Dtypes


class QLoRA(LoRA):
    """LoRA with the base's linear layers in ``bits``: 4 (``quant_type``, ``double_quant``) or 8."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    bits: Literal[4, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True

    @model_validator(mode="after")
    def _makes_sense(self) -> QLoRA:
        if self.init in TAKES_FROM_BASE:
            raise ValueError(
                f"init: {self.init} takes the adapter's start out of the base's weights, which a quantized "
                "base can't give; use init: default or method lora"
            )
        return self

    @property
    def label(self) -> str:
        return self.name or f"qlora-{self.bits}bit"

    def load_options(self, dtypes: Dtypes) -> dict[str, Any]:
        from transformers import BitsAndBytesConfig

        if self.bits == 8:
            return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=self.quant_type,
                bnb_4bit_use_double_quant=self.double_quant,
                bnb_4bit_compute_dtype=dtypes.compute,
            )
        }

    def attach(self, model: nn.Module, dtypes: Dtypes) -> nn.Module:
        keep_gradients_right_on_cpu(model)
        let_go_of_the_file(model)
        return super().attach(model, dtypes)


def keep_gradients_right_on_cpu(model: nn.Module) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights for its AVX512-BF16 kernel.

    That kernel has no backward pass: after the first forward without gradients (an evaluation, a generation)
    later gradients would be silently wrong.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def let_go_of_the_file(model: nn.Module) -> None:
    """Copies what was not quantized into memory of its own.

    On a CPU it is a view into the mapped weights file, and would keep all pages that were read to be
    quantized, the 16-bit weights themselves, resident.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()
